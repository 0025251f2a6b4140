"""Whether `memory_budget` is kept: the growth of the process beyond what it had before the call.

Each case runs in a process of its own, after small calls that load what torch loads on first use. Growth is the
peak resident memory of the process (VmHWM) during the call and a solve for 25 eigenpairs, less the resident memory
before it. Asked: at most 1.2 times the budget where the budget is above 100 MB.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch

import tangentlens as tl
from check_cost import MODELS

CASES = [
    ("MLP 64-512-512-10", 3000, "trace", "module"),
    ("MLP 64-512-512-10", 1000, "full", "all"),
    ("encoder, class token", 300, "trace", "module"),
    ("CNN 28 x 28", 512, "trace", "module"),
    ("LSTM", 300, "trace", "all"),
]
BUDGETS = (100, 200, 500)


def resident(field: str) -> int:
    """VmRSS or VmHWM of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def measure(model: str, size: int, outputs: str, groups: str, method: str, budget: int) -> str:
    """One case in this process: growth over budget, method and seconds, or the refusal."""
    build, shape, _ = MODELS[model]
    torch.manual_seed(0)
    net, x = build().eval(), torch.randn(size, *shape)
    tl.top_eigenpairs(tl.entk(net, x[:30], outputs=outputs, groups=groups).total, k=3)
    tl.entk(net, x[:8], outputs=outputs, groups=groups, method="matrix_free").total.dense()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, start = resident("VmRSS"), time.perf_counter()
    try:
        ntk = tl.entk(net, x, outputs=outputs, groups=groups, method=method, memory_budget=budget * 10**6)
        formed = ntk.method
        if formed != "matrix_free":
            tl.top_eigenpairs(ntk.total, k=25)
        else:
            ntk.total @ torch.randn(ntk.total.shape[1], 25)
    except tl.OutOfMemoryError as refusal:
        return f"refused in {time.perf_counter() - start:.2f} s: needs {refusal.needed / 1e6:.0f} MB"
    growth = (resident("VmHWM") - before) / 1e6
    return f"{growth:.0f} MB, {growth / budget:.2f} of the budget ({formed}, {time.perf_counter() - start:.1f} s)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs=6)
    chosen = parser.parse_args().case
    if chosen:
        model, size, outputs, groups, method, budget = chosen
        print(measure(model, int(size), outputs, groups, method, int(budget)))
        return
    print("| model | inputs | outputs | method | budget (MB) | growth |")
    print("|---|---|---|---|---|---|")
    for model, size, outputs, groups in CASES:
        for method in ("factored", "matrix_free"):
            for budget in BUDGETS:
                case = [model, str(size), outputs, groups, method, str(budget)]
                done = subprocess.run(
                    [sys.executable, __file__, "--case", *case], capture_output=True, text=True, check=False
                )
                found = done.stdout.strip() or done.stderr.strip().splitlines()[-1]
                print(f"| {model} | {size} | {outputs} | {method} | {budget} | {found} |", flush=True)


if __name__ == "__main__":
    main()
