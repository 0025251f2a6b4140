"""The sweep of all layers of a language model against the paper's procedure, in forward passes of the whole model.

Both sides run in one process on the same windows. The paper solves one layer after another: 50 steps of Lanczos, each
a forward and a backward pass and a forward-mode product through the whole model; one step is timed at a low, a middle
and a high layer (medians), and the other layers are interpolated. The sweep is timed as it is: pilot, backward passes,
modes. For other numbers of windows its pilot is counted, the rest grows in proportion.

    python benchmarks/language_sweep.py [--model google/gemma-3-270m] [--windows 64] [--directions 24] [--repeats 3]
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import tangentlens as tl
from tangentlens.language.analysis.config import KernelConfig
from tangentlens.language.model import LanguageModel, working_copy
from tangentlens.language.sweep.pilot import pilot_passes

_PAPER_STEPS = 50


def timed(work: Callable[[], object], repeats: int) -> float:
    """Median wall time in seconds, after one call that is not counted."""
    work()
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def last_hidden(lm: LanguageModel, batch: dict[str, Tensor]) -> Tensor:
    return lm.final_hidden(batch)[:, -1]


def paper_step(lm: LanguageModel, batch: dict[str, Tensor], name: str) -> Callable[[], object]:
    """K v by a forward and a backward pass and a forward-mode product through the whole model."""
    parameters = dict(lm.model.named_parameters())
    weight = parameters[name]
    v = torch.randn(len(batch["input_ids"]), lm.d_model, generator=torch.Generator().manual_seed(0))

    def outputs(value: Tensor) -> Tensor:
        replaced = {key: value if key == name else p.detach() for key, p in parameters.items()}
        arguments = {**batch, "use_cache": False, "output_hidden_states": True, "logits_to_keep": 1}
        found = torch.func.functional_call(lm.model, replaced, args=(), kwargs=arguments)
        hidden: Tensor = found.hidden_states[-1][:, -1]
        return hidden

    def step() -> object:
        value = weight.detach().requires_grad_()
        (u,) = torch.autograd.grad(outputs(value), value, v)
        with torch.no_grad():
            return torch.func.jvp(outputs, (weight.detach(),), (u,))[1]

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="google/gemma-3-270m")
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--directions", type=int, default=KernelConfig().directions)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--text", type=Path, help="stories; random tokens where there are none, which take as long")
    options = parser.parse_args()
    lm = working_copy(tl.language_model(options.model))
    batch = {"input_ids": windows(lm, options.text, options.windows, options.length)}
    blocks = len(lm.blocks)
    layers = [0, blocks // 2 - 1, blocks - 2]
    names = [f"{lm.blocks[i][0]}.mlp.down_proj.weight" for i in layers]
    with torch.no_grad():
        forward = timed(lambda: last_hidden(lm, batch), options.repeats)
    steps = [timed(paper_step(lm, batch, name), options.repeats) / forward for name in names]
    paper = _PAPER_STEPS * float(np.interp(np.arange(blocks), layers, steps).sum())
    marks: dict[str, float] = {}

    def note(stage: str, done: int, total: int) -> None:
        if done == total:
            marks[stage] = time.perf_counter()

    began, kernel = time.perf_counter(), KernelConfig(directions=options.directions)
    tl.sweep(lm, batch, geometry="raw", progress=note, **kernel.sweep_options)
    whole = time.perf_counter() - began
    pilot = marks["pilot"] - began
    windows_share = (whole - pilot) / forward
    print(f"{options.windows} windows of {options.length} tokens, {blocks} layers, {torch.get_num_threads()} threads")
    print(f"one forward pass of all windows: {forward:.2f} s = {1000 * forward / options.windows:.0f} ms a window")
    for layer, step in zip(layers, steps, strict=True):
        print(f"one step of the paper's procedure, layer {layer:2d}: {step:.1f} forward passes")
    print(f"the paper's procedure, {_PAPER_STEPS} steps for each of {blocks} layers: {paper:.0f} forward passes")
    print(f"the sweep without its pilot: {windows_share:.1f} forward passes; the pilot: {pilot:.0f} s")
    counted = pilot_passes(options.windows, options.directions, kernel.pilot_windows)
    for count in (256, 1024):
        longer = pilot_passes(count, options.directions, kernel.pilot_windows) / counted
        total = windows_share + pilot * longer / (forward * count / options.windows)
        print(f"  at N = {count}: {total:.0f} forward passes, {paper / total:.0f} times cheaper")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB")


def windows(lm: LanguageModel, text: Path | None, count: int, length: int) -> Tensor:
    if text is None:
        return torch.randint(1000, 50_000, (count, length), generator=torch.Generator().manual_seed(0))
    ids = lm.tokenizer(text.read_text("utf-8")[: 20 * count * length], add_special_tokens=False)["input_ids"]
    return torch.tensor(ids[: count * length]).reshape(count, length)


if __name__ == "__main__":
    main()
