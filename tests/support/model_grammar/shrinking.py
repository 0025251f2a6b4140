"""Make a failing spec small: step to simpler specs for as long as they fail in the same way."""

from dataclasses import replace

from tests.support.model_grammar.oracle import Verdict, judge
from tests.support.model_grammar.specs import AGAIN, RESIDUAL, Spec

_FIELDS = (
    "stem",
    "head",
    "reader",
    "frozen",
    "outputs",
    "M",
    "data",
    "dtype",
    "C",
    "N",
    "T",
    "groups",
    "method",
    "returns",
    "d",
)


def shrunk(verdict: Verdict) -> Verdict:
    """The verdict on a simplest spec that has the same kind of reason."""
    for spec in simpler(verdict.spec):
        other = judge(spec)
        if other.kind == verdict.kind:
            return shrunk(other)
    return verdict


def simpler(spec: Spec) -> list[Spec]:
    """Specs one step simpler than this one."""
    parts = spec.pieces
    steps = [replace(spec, pieces=parts[:i] + parts[i + 1 :]) for i in range(len(parts))]
    steps += [
        replace(spec, pieces=(*parts[:i], name.removeprefix(RESIDUAL), *parts[i + 1 :])) for i, name in enumerate(parts)
    ]
    steps += [replace(spec, **{field: getattr(Spec(), field)}) for field in _FIELDS]
    return [s for s in dict.fromkeys(steps) if _size(s) < _size(spec) and s.pieces[:1] != (AGAIN,)]


def _size(spec: Spec) -> tuple[int, int]:
    base = vars(Spec())
    changed = sum(value != base[field] for field, value in vars(spec).items() if field not in ("pieces", "seed"))
    return len(spec.pieces), changed + sum(name.startswith(RESIDUAL) for name in spec.pieces)
