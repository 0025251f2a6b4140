"""Table of verdicts, as the documentation shows it."""

from collections import Counter
from collections.abc import Iterable, Sequence

from tests.support.model_grammar.oracle import Verdict

_HEAD = """# Conformance

Models drawn from a grammar of torch architectures: stems, layers of every kind, readers of positions and heads, with
ties, parametrisations, frozen parts and raw parameters, asked for every reduction, group, precision and batch size.
Each kernel is compared with a plain loop of `torch.autograd.grad` in float64, one example and one output at a time.
An error is relative to the group's own kernel, by Frobenius norm and by the largest entry, whichever is larger; at
most 1e-9 in float64 and 1e-4 in float32 agree, or three times what the plain loop itself errs in float32 (sums that
cancel); Llama's norms round to float32 in float64 models, so 1e-4 there. A bfloat16 model is compared with the kernel
of its parameters.

"""


def table(verdicts: Sequence[Verdict], seconds: float) -> str:
    """Markdown: how many models agreed, were refused and failed; by precision, family of layers and reason."""
    rows = [("all", verdicts)]
    rows += [(d, [v for v in verdicts if v.spec.dtype == d]) for d in ("float64", "float32", "bfloat16")]
    families = sorted({word.family for v in verdicts for word in v.spec.words()})
    by_family = [(f, [v for v in verdicts if any(w.family == f for w in v.spec.words())]) for f in families]
    command = f"python benchmarks/conformance.py --models {len(verdicts)} --out docs/conformance.md"
    return (
        f"{_HEAD}{_grid('models', rows)}\n## By family of layers\n\nA model counts for every family that it holds.\n\n"
        f"{_grid('family', by_family)}\n## Refused\n\n{_refusals(verdicts)}\n"
        f"`{command}` writes this page; {seconds:.0f} s on one thread.\n"
    )


def _grid(name: str, rows: Iterable[tuple[str, Sequence[Verdict]]]) -> str:
    lines = [f"| {name} | drawn | agreed | refused | failed | largest error |", "|---|---|---|---|---|---|"]
    for label, held in rows:
        counts = Counter(v.outcome for v in held)
        worst = max((v.error for v in held if v.outcome == "agreed"), default=0.0)
        cells = [len(held), counts["agreed"], counts["refused"], counts["failed"], f"{worst:.0e}"]
        lines.append(f"| {label} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _refusals(verdicts: Sequence[Verdict]) -> str:
    reasons = Counter(v.kind for v in verdicts if v.outcome == "refused")
    if not reasons:
        return "None.\n"
    return "| reason | models |\n|---|---|\n" + "".join(f"| {r} | {n} |\n" for r, n in reasons.most_common())
