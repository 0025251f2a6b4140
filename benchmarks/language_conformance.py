"""Compare sweeps of tiny random models of every causal family of transformers with autograd, as a page.

    python benchmarks/language_conformance.py --out docs/conformance-language-models.md

tests/support/language_oracle.py says what is compared.
"""

import argparse
import logging
import re
import sys
import warnings
from pathlib import Path

import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.language_families import DENSE, EXPERTS, FAMILIES, FLOAT32
from tests.support.language_oracle import GEOMETRIES, LIMIT, PADDINGS, Outcome, Outcomes, conform, forget


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="a Markdown page; else it goes to the screen")
    parser.add_argument("--families", nargs="*", default=FAMILIES)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    found = {family: _outcomes(family) for family in options.families}
    page = "\n".join([*_heading(found), *_table(found), *_refusals(found)]) + "\n"
    if options.out:
        options.out.write_text(page, "utf-8")
    else:
        print(page)
    if any(outcome.verdict == "WRONG" for outcomes in found.values() for outcome in outcomes.values()):
        raise SystemExit(1)


def _outcomes(family: str) -> Outcomes:
    found = {(padding, geometry): conform(family, geometry, padding) for padding in PADDINGS for geometry in GEOMETRIES}
    print(family, *sorted({outcome.verdict for outcome in found.values()}), flush=True, file=sys.stderr)
    forget()
    return found


def _heading(found: dict[str, Outcomes]) -> list[str]:
    every = [outcome for outcomes in found.values() for outcome in outcomes.values()]
    dense = [family for family in found if family in DENSE]
    whole = [f for f in dense if all(outcome.verdict == "agree" for outcome in found[f].values())]
    worst = max((outcome.error for outcome in every if outcome.error is not None), default=0.0)
    return [
        "# Conformance of sweeps: language models",
        "",
        "Every causal family below, as a tiny random model with two blocks, swept in all output directions and",
        "compared with autograd: each window alone, one backward pass for each of its logits, entry by entry of every",
        "parameter's kernel (of every weight matrix of the blocks, where another parameter has no factors).",
        f"A family agrees where the largest error of all its kernels, relative to each kernel, is below {LIMIT:g};",
        "norms and softmax of transformers round to float32 inside. Models are float64, but for",
        f"{', '.join(FLOAT32)}.",
        "",
        f"{len(whole)} of {len(dense)} dense families agree in all nine combinations; of all {len(every)} comparisons",
        f"{sum(o.verdict == 'agree' for o in every)} agree (worst error {worst:.1e}), "
        f"{sum(o.verdict == 'refused' for o in every)} are refused by name, "
        f"{sum(o.verdict == 'WRONG' for o in every)} are wrong.",
        f"transformers {transformers.__version__}, torch {torch.__version__.partition('+')[0]}.",
        "",
        "    python benchmarks/language_conformance.py --out docs/conformance-language-models.md",
        "",
    ]


def _table(found: dict[str, Outcomes]) -> list[str]:
    head = ["| family | kernels | no padding | left | right |", "|---|---|---|---|---|"]
    return [*head, *(_row(family, outcomes) for family, outcomes in found.items())]


def _row(family: str, outcomes: Outcomes) -> str:
    compared = max(outcome.parameters for outcome in outcomes.values())
    cells = [_cell([outcomes[padding, geometry] for geometry in GEOMETRIES]) for padding in PADDINGS]
    kind = " (experts)" if family in EXPERTS else ""
    return f"| {family}{kind} | {compared or ''} | {' | '.join(cells)} |"


def _cell(outcomes: list[Outcome]) -> str:
    """Of the three geometries."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    verdicts = " / ".join(dict.fromkeys(outcome.verdict for outcome in outcomes))
    return f"{verdicts}, {max(errors):.0e}" if errors else verdicts


def _refusals(found: dict[str, Outcomes]) -> list[str]:
    lines = ["", "Refused, and why:", ""]
    for family, outcomes in found.items():
        for reason in dict.fromkeys(_named(outcome.reason) for outcome in outcomes.values() if outcome.reason):
            lines.append(f"- {family}: {reason}")
    return lines


def _named(reason: str) -> str:
    """The reason without this machine's paths and with one digit of every number."""
    short = re.sub(r" at /\S*/(modeling_\w+\.py:\d+)", r" at \1", reason)
    return re.sub(r"\d\.\d+e[-+]?\d+", lambda number: f"{float(number[0]):.0e}", short)


if __name__ == "__main__":
    main()
