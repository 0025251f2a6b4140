"""Runs of small models of one's own, one for each way in which inputs are shown."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from tangentlens.analysis.case import Options
from tangentlens.analysis.subject import Subject
from tangentlens.pipeline.own_model import analyse_model

N = 48
FEATURES = {"middle": torch.arange(N) % 3 == 1, "luck": torch.rand(N, generator=torch.Generator().manual_seed(5))}
HOSTILE = ("</script><script>window.pwned = 1</script>", "<img src=x onerror='window.pwned = 1'>", "\u202egnp.exe",
           "&lt;b&gt;", "x" * 2_000)  # fmt: skip


def mode_run(folder: Path, kind: str, features: Any = None, **given: Any) -> Path:
    """The run of an untrained model on images, rows, series, texts, or inputs without a look ("")."""
    torch.manual_seed(0)
    inputs, model, show = _SUBJECTS[kind]()
    targets = torch.arange(N) % 3
    subject = Subject(model.eval(), inputs, targets=targets, features=features, show=show, **given)
    options = Options(modes=5, permutations=19, resamples=50, untrained=1, controls=5)
    return analyse_model(subject, options, folder, title=f"a model of {kind}")


class Shift(nn.Module):
    """Adds one vector to all outputs: its kernel has a single mode."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.zeros(3))

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs + self.by


def _images() -> tuple[torch.Tensor, nn.Module, Any]:
    model = nn.Sequential()
    for name, part in (
        ("conv", nn.Conv2d(1, 4, 3)), ("relu", nn.ReLU()), ("flat", nn.Flatten()), ("head", nn.Linear(144, 3)),
        ("shift", Shift()),
    ):  # fmt: skip
        model.add_module(name, part)
    inputs = torch.rand(N, 1, 8, 8) * 0.2
    for i in range(N):
        inputs[i, 0, 2 * (i % 3) : 2 * (i % 3) + 3] += 0.8  # a bar where its class says
    return inputs, model, None


def _rows() -> tuple[torch.Tensor, nn.Module, Any]:
    return torch.randn(N, 6), nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), "table"


def _series() -> tuple[torch.Tensor, nn.Module, Any]:
    return torch.randn(N, 40).cumsum(1), nn.Sequential(nn.Linear(40, 8), nn.Tanh(), nn.Linear(8, 3)), None


def _texts() -> tuple[torch.Tensor, nn.Module, Any]:
    texts = [HOSTILE[i % 5] if i % 4 == 0 else f"sentence number {i}" for i in range(N)]
    return torch.randn(N, 6), nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), texts


def _nothing() -> tuple[torch.Tensor, nn.Module, Any]:
    return torch.randn(N, 5, 4, 4), nn.Sequential(nn.Flatten(), nn.Linear(80, 3)), None


_SUBJECTS = {"image": _images, "table": _rows, "series": _series, "text": _texts, "": _nothing}
