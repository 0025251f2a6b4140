"""Kernels of models drawn from a grammar against a plain loop of torch.autograd.grad in float64.

    python benchmarks/conformance.py --models 3000 --out docs/conformance.md
    python benchmarks/conformance.py --models 3000 --seed 1 --shrink      # other models, each failure made small
    python benchmarks/conformance.py --spec "Spec(pieces=('nn.LSTM',), T=12)"

Every model is named by one line that rebuilds it, its inputs and the question asked.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.model_grammar.draws import drawn
from tests.support.model_grammar.oracle import judge
from tests.support.model_grammar.shrinking import shrunk
from tests.support.model_grammar.specs import parse
from tests.support.model_grammar.table import table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--spec", help="judge this one spec")
    parser.add_argument("--shrink", action="store_true", help="print the simplest model that fails in the same way")
    parser.add_argument("--out", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.spec:
        print(judge(parse(arguments.spec)))
        return 0
    start, verdicts, classes = time.perf_counter(), [], Counter()
    for spec in drawn(arguments.models, arguments.seed):
        verdict = judge(spec)
        verdicts.append(verdict)
        if verdict.outcome != "agreed":
            small = shrunk(verdict) if arguments.shrink else verdict
            print(f"{verdict.outcome}: {small.reason[:300]} | {small.spec}", flush=True)
            classes[small.kind, small.spec.pieces] += 1
    for (kind, pieces), count in classes.most_common():
        print(count, kind, *pieces)
    text = table(verdicts, time.perf_counter() - start)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)
    return any(verdict.outcome == "failed" for verdict in verdicts)


if __name__ == "__main__":
    sys.exit(main())
