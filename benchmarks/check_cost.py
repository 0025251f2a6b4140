"""What proving a plan and checking the finished kernels cost, beside the kernels themselves, on ordinary models.

For each model and batch: the whole call with and without the check at the end, and the planning alone (the pilot
passes, the probes of single examples and the proof of every factored form). Medians of some repetitions, in one
process. Asked: check and probes together at most 5 % of the call, or 40 ms where the call takes less than 0.8 s.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

import tangentlens as tl
from tangentlens.kernels.tracing.plan import make_plan
from tangentlens.models.functional import functional_model


class Encoder(nn.Module):
    """Two layers of width 64 over 16 positions, read at the first."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, 4, 256, batch_first=True)
        self.layers, self.readout = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.layers(x)[:, 0])


class Recurrent(nn.Module):
    """An LSTM of 64 units over 16 steps, read at the last."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.readout = nn.LSTM(32, 64, batch_first=True), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.lstm(x)[0][:, -1])


def mlp() -> nn.Module:
    """64-512-512-10 with ReLU."""
    return nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))


def cnn() -> nn.Module:
    """Two convolutions of 16 and 32 channels on 28 x 28."""
    first, second = nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.Conv2d(16, 32, 3, stride=2, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(32 * 49, 10))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, ...]]] = {
    "MLP 64-512-512-10": (mlp, (64,), (100, 1000, 3000)),
    "encoder, class token": (Encoder, (16, 64), (50, 200, 400)),
    "CNN 28 x 28": (cnn, (1, 28, 28), (100, 512)),
    "LSTM": (Recurrent, (16, 32), (100, 400)),
}


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Median time of a call."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    print("| model | inputs | call (s) | planning (ms) | check (ms) | check, share of the call |")
    print("|---|---|---|---|---|---|")
    for name, (build, shape, sizes) in MODELS.items():
        torch.manual_seed(0)
        model = build().eval()
        for size in sizes:
            x = torch.randn(size, *shape)
            tl.entk(model, x)
            checked = seconds(partial(tl.entk, model, x), repeats)
            unchecked = seconds(partial(tl.entk, model, x, check=False), repeats)
            view = functional_model(model)
            planning = seconds(partial(make_plan, view, x), repeats)
            check = checked - unchecked
            share = check / checked
            print(f"| {name} | {size} | {checked:.2f} | {1e3 * planning:.0f} | {1e3 * check:.0f} | {share:.1%} |")


if __name__ == "__main__":
    main()
