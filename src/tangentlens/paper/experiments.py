"""The experiments that come with tangentlens: their configs and the figures expected of them."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from tangentlens.errors import InvalidInputError
from tangentlens.records import Figure

Verdict = Literal["meets", "falls short", "not measured"]

_UNSET = "not set"  # in a config, as by a version that had no such key

# In an installed package the folder lies inside it, in a checkout at the root.
_PLACES = (Path(__file__).parents[1] / "_experiments", Path(__file__).parents[3] / "experiments")


@dataclass(config=ConfigDict(extra="forbid", strict=True), frozen=True)
class Expectation:
    """What is expected of one figure of results.json.

    Attributes:
        key: the figure.
        source: where the bound comes from.
        at_least: lower bound on the mean, None where there is none.
        at_most: upper bound on the mean, None where there is none.
        paper: the paper's own number, for the reader; None where it gives none.
    """

    key: str
    source: str
    at_least: float | None = None
    at_most: float | None = None
    paper: float | None = None

    @property
    def bounded(self) -> bool:
        """Whether there is a bound to meet."""
        return self.at_least is not None or self.at_most is not None

    @property
    def bound(self) -> str:
        """The bound in words: "at least 93", "80 to 90"."""
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:g} to {self.at_most:g}"
        sides = (("at least", self.at_least), ("at most", self.at_most))
        return next((f"{word} {side:g}" for word, side in sides if side is not None), "reported, no bound")

    def verdict(self, figure: Figure | None) -> Verdict:
        """Whether the figure's value lies within the bound; a figure without value is not measured."""
        if figure is None or figure.value is None:
            return "not measured"
        low = self.at_least is None or figure.value >= self.at_least
        high = self.at_most is None or figure.value <= self.at_most
        return "meets" if low and high else "falls short"

    def undecided(self, figure: Figure | None) -> bool:
        """Whether the figure's interval reaches to both sides of a bound."""
        if figure is None or figure.interval is None:
            return False
        low, high = figure.interval
        return any(side is not None and low < side < high for side in (self.at_least, self.at_most))


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
    """What the experiment of a config's setting expects; nothing of a run on another model than the experiment's."""
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
    """Where a config leaves that of its setting's experiment, for which the expectations were stated."""
    experiment = experiment_of(config["setting"], places)
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


def flat_config(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flat_config(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def _root(places: tuple[Path, ...] | None) -> Path:
    candidates = places or _PLACES
    return next((place for place in candidates if place.is_dir()), candidates[-1])
