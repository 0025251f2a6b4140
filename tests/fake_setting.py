"""A setting that measures nothing, quickly."""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict

from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement
from tangentlens.settings import Setting


class FakeConfig(BaseModel):
    """Seeds and a scale."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    setting: Literal["fake"] = "fake"
    seeds: tuple[int, ...] = (0, 1, 2)
    scale: float = 1.0


def measure(config: FakeConfig, seed: int, progress: Progress = silent) -> Measurement:
    """The figure `x` is scale * seed; odd seeds have no figure `sometimes`."""
    progress("work", 0, 1)
    figures = {"x": config.scale * seed, "sometimes": float("nan") if seed % 2 else 1.0}
    progress("work", 1, 1)
    notes = ("eigenpairs of 1 kernels did not all converge",) if seed == 1 else ()
    return Measurement(seed, figures, {"x": "count"}, {"a": torch.full((2,), float(seed))}, notes)


def fake(measure: Callable[..., Measurement] = measure) -> dict[str, Setting]:
    """The registry with this setting alone."""
    return {"fake": Setting(FakeConfig, measure)}
