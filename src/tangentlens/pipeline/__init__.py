"""The one path from a config to a stored run."""

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tangentlens.config import config_text, parse_config
from tangentlens.errors import InvalidInputError
from tangentlens.paper import SETTINGS, Setting, about
from tangentlens.pipeline.summary import figure_values, summarise
from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement
from tangentlens.report import build_report
from tangentlens.statistics.claims import Evidence, evaluate, evidence_figures
from tangentlens.store import Draft, SeedRecord, StoredRun, begin, complete, open_run
from tangentlens.store.about import Claim, write_about
from tangentlens.store.arrays import (
    evidence_path,
    read_measurement,
    read_seed,
    read_seeds,
    seed_path,
    write_evidence,
    write_measurement,
)
from tangentlens.store.atomic import storing
from tangentlens.store.environment import describe_environment, differences, write_environment
from tangentlens.store.results import write_results

_log = logging.getLogger(__name__)


def run(
    config: BaseModel,
    folder: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    evidence: bool = True,
    progress: Progress = silent,
    settings: Mapping[str, Setting] = SETTINGS,
) -> Path:
    """Measure every seed of a config and store the run; the folder appears under its name only when complete.

    Args:
        config: a config of any setting.
        folder: where the run goes; it is built in the sibling `<name>.partial`.
        overwrite: replace a complete run, once the new one is complete.
        resume: go on from an interrupted run of the same config, keeping its finished seeds.
        evidence: also nulls, interventions, baselines and the verdicts on the paper's claims, where the setting has
            them; `add_evidence` can do it later.
        progress: receives the stage and how far it is.
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
        if evidence and setting.evidence:
            _examine_once(setting.evidence, config, seed, draft.partial, progress)
        progress("seeds", done, len(seeds))
    _write_findings(draft.partial, config, setting, draft.environment)
    shutil.rmtree(_shared(draft), ignore_errors=True)
    return complete(draft)


def add_evidence(
    folder: Path,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
    settings: Mapping[str, Setting] = SETTINGS,
) -> Path:
    """Add nulls, interventions, baselines and verdicts to a complete run, from the arrays it holds: no kernel of its
    own is computed again.

    The run stays readable throughout: a seed's evidence appears in one step, figures and report are replaced last. An
    interrupted call is taken up where it stopped.

    Args:
        folder: a complete run.
        overwrite: compute evidence again that is there already.
        progress: receives the stage and how far it is.
        settings: the settings that a run may be of.

    Returns:
        The run folder.

    Raises:
        InvalidInputError: the folder is no run, its setting has no evidence, or evidence there was made with other
            versions.
        StoreError: the folder cannot be written, or lacks arrays that the evidence needs.
    """
    run = open_run(folder)
    config = parse_config(run.config_text, where=str(folder / "config.toml"), settings=settings)
    setting = _setting(config, settings)
    if setting.evidence is None:
        raise InvalidInputError(f"there is no evidence for the setting {run.setting}", where=str(folder))
    seeds = [record.seed for record in run.seeds]
    environment = _examined_environment(run, overwrite)
    if overwrite:
        for seed in seeds:
            evidence_path(folder, seed).unlink(missing_ok=True)
    write_environment(folder, environment)
    progress("seeds", 0, len(seeds))
    for done, seed in enumerate(seeds, start=1):
        _examine_once(setting.evidence, config, seed, folder, progress)
        progress("seeds", done, len(seeds))
    _write_findings(folder, config, setting, environment)
    return folder


def _examined_environment(run: StoredRun, overwrite: bool) -> dict[str, Any]:
    """The run's environment with that of its evidence, which must not be made of two."""
    now = describe_environment()
    before = run.environment.get("evidence", now)
    changed = () if overwrite else differences(before, now)
    if changed:
        raise InvalidInputError(
            f"the evidence there was made with other versions: {'; '.join(changed)}",
            where=str(run.folder),
            remedy="Give --overwrite to compute all of it again.",
        )
    return {**run.environment, "evidence": now}


def _write_findings(folder: Path, config: BaseModel, setting: Setting, environment: Mapping[str, Any]) -> None:
    """Figures, verdicts, environment and report from what the run's arrays hold."""
    records = read_seeds(folder)
    evaluated = evidence_figures(_evaluated(setting.claims, records)) if _examined(folder, records) else {}
    write_results(folder / "results.json", {**summarise(records), **evaluated})
    write_environment(folder, {**environment, "seconds": sum(record.seconds for record in records)})
    tree = config.model_dump(mode="json", exclude_none=True)
    write_about(folder, about(tree, {str(tree.get("setting")): setting}))
    build_report(folder)


def _examined(folder: Path, records: Sequence[SeedRecord]) -> bool:
    return all(evidence_path(folder, record.seed).exists() for record in records)


def _evaluated(claims: Sequence[Claim], records: Sequence[SeedRecord]) -> tuple[Evidence, ...]:
    keys = dict.fromkeys(key for record in records for key in record.figures)
    units = {key: unit for record in records for key, unit in record.units.items()}
    inside = records[0].intervals if len(records) == 1 else {}
    values = {key: figure_values(key, records) for key in keys}
    return evaluate(claims, values, [record.seed for record in records], units, inside)


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


def _examine_once(
    evidence: Callable[..., Measurement], config: BaseModel, seed: int, folder: Path, progress: Progress
) -> None:
    """Store the evidence on a seed, unless it is there already."""
    if evidence_path(folder, seed).exists():
        _log.info("the evidence on seed %d is kept from before", seed)
        return
    start = time.perf_counter()
    found = evidence(config, read_measurement(seed_path(folder, seed)), progress)
    write_evidence(folder, found, time.perf_counter() - start)


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
