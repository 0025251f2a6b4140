"""Memory and seconds of a sweep in a folder, stage by stage from the last block, on random tokens.

Anonymous memory is what a process cannot do without; the pages of mapped files count as resident, and the system may
drop them. Both are read from /proc every fifth of a second. --free says how much memory the sweep is to believe free:
with little the factors of a stage go to files, with much they stay in memory.

    python benchmarks/sweep_memory.py --windows 256 --groups weights --geometry fisher --stages 3 [--free 8]
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import torch

import tangentlens as tl
from tangentlens.language.analysis.config import KernelConfig
from tangentlens.language.sweep import scratch

_EVERY = 0.2  # seconds


class Enough(Exception):  # noqa: N818 - no error: as many stages as asked are done
    """Ends the sweep."""


def resident() -> dict[str, float]:
    """GB of this process in memory: anonymous, and mapped from files."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(status[name].split()[0]) / 2**20 for name in ("RssAnon", "RssFile")}


class Watch(threading.Thread):
    """The most memory since it was last asked."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._most = resident()

    def run(self) -> None:
        while True:
            now = resident()
            self._most = {name: max(most, now[name]) for name, most in self._most.items()}
            time.sleep(_EVERY)

    def most(self) -> dict[str, float]:
        found, self._most = self._most, resident()
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="google/gemma-3-270m")
    parser.add_argument("--windows", type=int, default=256)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--groups", default="weights")
    parser.add_argument("--geometry", choices=("raw", "centred", "fisher"), default="fisher")
    parser.add_argument("--stages", type=int, default=3)
    parser.add_argument("--free", type=float, help="GB; what the machine says where this is left out")
    options = parser.parse_args()
    if options.free is not None:
        scratch.free_memory = lambda _device: int(options.free * 2**30)
    lm = tl.language_model(options.model)
    generator = torch.Generator().manual_seed(0)
    batch = {"input_ids": torch.randint(1000, 50_000, (options.windows, options.length), generator=generator)}
    watch, began = Watch(), time.perf_counter()
    watch.start()

    def stage(what: str, done: int, _total: int) -> None:  # called when a stage's factors are there
        most = watch.most()
        seconds = time.perf_counter() - began
        print(
            f"{seconds:6.0f} s  {what} {done}: {most['RssAnon']:.1f} GB, and {most['RssFile']:.1f} GB of files",
            flush=True,
        )
        if what == "sweep" and done > options.stages:
            raise Enough

    how = {**KernelConfig().sweep_options, "groups": options.groups}
    with tempfile.TemporaryDirectory() as work:
        try:
            tl.sweep(lm, batch, geometry=options.geometry, work=Path(work), progress=stage, **how)
        except Enough:
            print("enough")


if __name__ == "__main__":
    main()
