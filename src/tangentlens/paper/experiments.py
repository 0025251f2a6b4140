"""The experiments that come with tangentlens: their configs and the figures expected of them."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tangentlens.errors import InvalidInputError
from tangentlens.store.about import Expectation
from tangentlens.store.flat_config import flat_config

_UNSET = "not set"  # in a config, as by a version that had no such key

# In an installed package the folder lies inside it, in a checkout at the root.
_PLACES = (Path(__file__).parents[1] / "_experiments", Path(__file__).parents[3] / "experiments")


@dataclass(frozen=True)
class Experiment:
    """The files of one experiment.

    Attributes:
        name: of its folder.
        setting: of its config.
        config: path of config.toml.
        expectations: the rows of expected.toml; empty where there is no such file.
    """

    name: str
    setting: str
    config: Path
    expectations: tuple[Expectation, ...]


def names(places: tuple[Path, ...] | None = None) -> tuple[str, ...]:
    """The experiments, sorted."""
    return tuple(sorted(path.parent.name for path in _root(places).glob("*/config.toml")))


def find(name: str, places: tuple[Path, ...] | None = None) -> Experiment:
    """The experiment of that name.

    Raises:
        InvalidInputError: there is none, or its expected.toml cannot be used.
    """
    folder = _root(places) / name
    if name not in names(places):
        raise InvalidInputError(
            f"there is no experiment for {name!r}", remedy=f"Choose one of: {', '.join(names(places))}."
        )
    setting = str(_config(folder / "config.toml").get("setting", name))
    return Experiment(name, setting, folder / "config.toml", read_expectations(folder / "expected.toml"))


def _config(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text("utf-8"))


def experiment_of(setting: str, places: tuple[Path, ...] | None = None) -> Experiment | None:
    """The experiment whose config is of this setting; None where there is none."""
    return next((each for name in names(places) if (each := find(name, places)).setting == setting), None)


def expectations_for(config: Mapping[str, Any], places: tuple[Path, ...] | None = None) -> tuple[Expectation, ...]:
    """Expectations of the experiment of a config's setting; none for a run on another model than the experiment's."""
    experiment = experiment_of(str(config.get("setting")), places)
    if experiment is None or _model(config) != _model(_config(experiment.config)):
        return ()
    return experiment.expectations


def _model(config: Mapping[str, Any]) -> str | None:
    """The name of a model that was trained elsewhere; None where the setting trains its own."""
    section = config.get("model")
    return section.get("name") if isinstance(section, Mapping) else None


def read_expectations(path: Path) -> tuple[Expectation, ...]:
    """The rows of an expected.toml: one [[figure]] a row with key, source and at_least or at_most.

    Raises:
        InvalidInputError: the file is not TOML or a row cannot be used.
    """
    if not path.is_file():
        return ()
    try:
        rows = tomllib.loads(path.read_text("utf-8")).get("figure", [])
        return TypeAdapter(tuple[Expectation, ...]).validate_json(json.dumps(rows, default=str))
    except (OSError, ValueError, TypeError) as error:  # pydantic's errors are ValueErrors
        raise InvalidInputError(
            f"the expectations cannot be read: {error}",
            where=str(path),
            remedy="A row is [[figure]] with key, source and at_least, at_most or paper.",
        ) from error


def departures(config: Mapping[str, Any], places: tuple[Path, ...] | None = None) -> tuple[str, ...]:
    """Differences of a config from that of its setting's experiment, for which the expectations were stated."""
    experiment = experiment_of(str(config.get("setting")), places)
    return config_differences(config, _config(experiment.config)) if experiment else ()


def config_differences(config: Mapping[str, Any], reference: Mapping[str, Any]) -> tuple[str, ...]:
    """Dotted keys in which two configs differ, with both values; the seeds do not count."""
    ours, theirs = flat_config(config), flat_config(reference)
    keys = sorted((ours.keys() | theirs.keys()) - {"seeds"})
    return tuple(
        f"{key} = {ours.get(key, _UNSET)} (there {theirs.get(key, _UNSET)})"
        for key in keys
        if ours.get(key) != theirs.get(key)
    )


def _root(places: tuple[Path, ...] | None) -> Path:
    candidates = places or _PLACES
    return next((place for place in candidates if place.is_dir()), candidates[-1])
