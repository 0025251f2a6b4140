"""A setting that measures nothing, quickly."""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict

from tangentlens.paper import Setting
from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement
from tangentlens.store.about import Claim


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


def evidence(_config: FakeConfig, measured: Measurement, progress: Progress = silent) -> Measurement:
    """The figure `twice`, from what was measured and nothing else."""
    progress("evidence", 1, 1)
    doubled = 2 * measured.arrays["a"]
    return Measurement(measured.seed, {"twice": float(doubled[0])}, {"twice": "count"}, {"b": doubled}, ("doubled",))


CLAIMS = (Claim("grows", "twice x is more than x", "twice", "x", "x itself"),)


def fake(
    measure: Callable[..., Measurement] = measure, evidence: Callable[..., Measurement] | None = None
) -> dict[str, Setting]:
    """The registry with this setting alone; without evidence unless some is given."""
    return {"fake": Setting(FakeConfig, measure, evidence=evidence, claims=CLAIMS if evidence else ())}
