"""What a setting of the paper consists of."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from tangentlens.records import Measurement
from tangentlens.store.about import Claim


class Setting(NamedTuple):
    """One setting.

    Attributes:
        config: its config class.
        measure: (config, seed, progress) -> Measurement.
        prepare: (config, folder, progress) -> anything, for what all seeds share: done once, before any seed is
            measured, and handed to measure as `prepared`. The folder is the run's own, kept until the run is complete;
            called again with it after an interruption, prepare goes on from what it finds there.
        evidence: (config, what measure found of a seed, progress) -> Measurement: nulls, interventions, baselines. It
            needs nothing else, so that it can be added to a complete run.
        claims: evaluated from the figures of measurement and evidence over the seeds.
        title: of a run's page, from its config as TOML holds it.
    """

    config: type[BaseModel]
    measure: Callable[..., Measurement]
    prepare: Callable[..., Any] | None = None
    evidence: Callable[..., Measurement] | None = None
    claims: tuple[Claim, ...] = ()
    title: Callable[[Mapping[str, Any]], str] = lambda config: str(config["setting"])
