"""Strategies of hypothesis that draw specs."""

from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.support.model_grammar.registry import HEADS, PIECES, READERS, STEMS
from tests.support.model_grammar.specs import AGAIN, RESIDUAL, RETURNS, Spec
from tests.support.model_grammar.whole_models import TRANSFORMERS

_STEMS = [name for name in STEMS if name not in TRANSFORMERS]


DRAWING = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def specs() -> st.SearchStrategy[Spec]:
    """Any spec: what is read, asked and held varies on its own, transformers' models have a small share."""
    word = st.builds(
        lambda plus, name: (RESIDUAL if plus else "") + name, st.booleans(), st.sampled_from(sorted(PIECES))
    )
    again = st.one_of(word, word, word, word, st.just(AGAIN))
    pieces = st.builds(
        lambda first, rest: tuple(p for p in [first, *rest] if p), st.one_of(word), st.lists(again, max_size=3)
    )
    stems = st.one_of(*(st.sampled_from(_STEMS) for _ in range(9)), st.sampled_from(TRANSFORMERS))
    return st.builds(
        _spec,
        stem=stems,
        pieces=pieces,
        reader=st.sampled_from(sorted(READERS)),
        head=st.sampled_from(sorted(HEADS)),
        d=st.sampled_from([4, 4, 6, 8]),
        T=st.one_of(st.integers(1, 6), st.sampled_from([7, 8, 9, 12, 16, 24])),
        C=st.integers(1, 4),
        N=st.sampled_from([5, 1, 2, 3, 4, 7, 8, 12, 20]),
        M=st.sampled_from([0, 0, 0, 1, 3, 6]),
        data=st.sampled_from([*["random"] * 6, "repeated", "zeros"]),
        dtype=st.sampled_from(["float64", "float64", "float32", "bfloat16"]),
        outputs=st.sampled_from(["trace", "full", "mean", "index", "weighted", "weighted trace"]),
        groups=st.sampled_from(["parameter", "module", "all", "patterns"]),
        method=st.sampled_from(["auto", "auto", "auto", "factored", "matrix_free", "dense"]),
        returns=st.sampled_from(["tensor", "tensor", "tensor", *RETURNS]),
        frozen=st.sampled_from([0.0, 0.0, 0.0, 0.3]),
        seed=st.integers(0, 10**6),
    )


def _spec(**fields: Any) -> Spec:
    """Products of every group would take long: matrix-free kernels are asked for all parameters together."""
    return Spec(**(fields | {"groups": "all"} if fields["method"] == "matrix_free" else fields))


def drawn(count: int, start: int = 0) -> list[Spec]:
    """So many specs of different architectures, the same for the same start."""
    found: dict[tuple[str, ...], Spec] = {}

    @seed(start)
    @settings(DRAWING, derandomize=False, max_examples=2 * count + 50)
    @given(specs())
    def collect(spec: Spec) -> None:
        found.setdefault((spec.stem, *spec.pieces), spec)

    collect()
    return list(found.values())[:count]
