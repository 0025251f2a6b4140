"""The one path from a config to a stored run."""

import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from tangentlens.config import config_text
from tangentlens.errors import InvalidInputError
from tangentlens.evidence.intervals import mean_interval, share_interval
from tangentlens.progress import Progress, silent
from tangentlens.records import Figure, Measurement
from tangentlens.report import build_report
from tangentlens.settings import SETTINGS, Setting
from tangentlens.store import Draft, SeedRecord, begin, complete
from tangentlens.store.arrays import read_seed, seed_path, write_measurement
from tangentlens.store.atomic import storing
from tangentlens.store.environment import write_environment
from tangentlens.store.results import write_results

_log = logging.getLogger(__name__)


def run(
    config: BaseModel,
    folder: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = silent,
    settings: Mapping[str, Setting] = SETTINGS,
) -> Path:
    """Measure every seed of a config and store the run; the folder appears under its name only when complete.

    Args:
        config: a config of any setting.
        folder: where the run goes; it is built in the sibling `<name>.partial`.
        overwrite: replace a complete run, once the new one is complete.
        resume: go on from an interrupted run of the same config, keeping its finished seeds.
        progress: told the stage and how far it is.
        settings: the settings that a config may name.

    Returns:
        The run folder.

    Raises:
        InvalidInputError: the config cannot be run, or the folder is taken.
        StoreError: the folder cannot be written.
        NumericalError: a seed met NaN or infinity.
    """
    setting, seeds = _setting(config, settings), _seeds(config)
    draft = begin(folder, config_text(config), overwrite=overwrite, resume=resume)
    measure = _prepared(setting, config, seeds, draft, progress)
    progress("seeds", 0, len(seeds))
    for done, seed in enumerate(seeds, start=1):
        _measure_once(measure, config, seed, draft, progress)
        progress("seeds", done, len(seeds))
    records = [read_seed(seed_path(draft.partial, seed)) for seed in seeds]
    write_results(draft.partial / "results.json", summarise(records))
    write_environment(draft.partial, {**draft.environment, "seconds": sum(record.seconds for record in records)})
    build_report(draft.partial)
    shutil.rmtree(_shared(draft), ignore_errors=True)
    return complete(draft)


def summarise(records: Sequence[SeedRecord]) -> dict[str, Figure]:
    """Mean and 95 % interval of every figure over the seeds that have it: Student's t, or Wilson's for a share."""
    keys = dict.fromkeys(key for record in records for key in record.figures)
    return {key: _summary(key, records) for key in keys}


def _summary(key: str, records: Sequence[SeedRecord]) -> Figure:
    """A seed without the figure counts as NaN, which the mean leaves out."""
    values = [math.nan if (value := record.figures.get(key)) is None else value for record in records]
    unit = next((record.units[key] for record in records if key in record.units), "")
    interval = share_interval if unit == "share" else mean_interval
    return interval(values, seeds=[record.seed for record in records], unit=unit)


def _prepared(
    setting: Setting, config: BaseModel, seeds: tuple[int, ...], draft: Draft, progress: Progress
) -> Callable[..., Measurement]:
    """The setting's measure, what all seeds share made and bound to it; nothing is made when no seed is left."""
    if setting.prepare is None or all(seed_path(draft.partial, seed).exists() for seed in seeds):
        return setting.measure
    with storing(_shared(draft)):
        _shared(draft).mkdir(exist_ok=True)
        shared = setting.prepare(config, _shared(draft), progress)
    return partial(setting.measure, prepared=shared)


def _shared(draft: Draft) -> Path:
    """Where what the seeds share lies until the run is complete."""
    return draft.partial / "shared"


def _measure_once(
    measure: Callable[..., Measurement], config: BaseModel, seed: int, draft: Draft, progress: Progress
) -> None:
    """Measure and store a seed, unless the draft holds it already."""
    path = seed_path(draft.partial, seed)
    if path.exists():
        _log.info("seed %d is kept from the interrupted run", read_seed(path).seed)
        return
    start = time.perf_counter()
    measurement = measure(config, seed, progress)
    write_measurement(draft.partial, measurement, time.perf_counter() - start)


def _setting(config: BaseModel, settings: Mapping[str, Setting]) -> Setting:
    for setting in settings.values():
        if isinstance(config, setting.config):
            return setting
    raise InvalidInputError(
        f"a {type(config).__qualname__} is the config of no setting", remedy=f"Settings: {', '.join(settings)}."
    )


def _seeds(config: BaseModel) -> tuple[int, ...]:
    seeds: tuple[int, ...] = getattr(config, "seeds", ())
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise InvalidInputError(
            f"seeds = {list(seeds)} must be one or more different numbers, none negative", where="seeds"
        )
    return seeds
