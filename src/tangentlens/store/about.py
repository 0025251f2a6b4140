"""Record of what a page says of a run beyond its figures: title, claims, expectations.

It is stored as about.json when the run is written. What a run of an older version does not store, whoever opens the run
may describe from its config.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass as checked_dataclass

from tangentlens.errors import StoreError
from tangentlens.records import Figure
from tangentlens.store.atomic import write_text

Comparison = Literal["meets", "falls short", "not measured"]


@checked_dataclass(config=ConfigDict(extra="forbid", strict=True), frozen=True)
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

    def verdict(self, figure: Figure | None) -> Comparison:
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
class Claim:
    """One claim that is evaluated from a run's figures.

    Attributes:
        name: what results.json calls it.
        statement: the claim in words.
        metric: key of the figure that it is about.
        null: key of the figure, or the number, that the metric is compared with.
        null_words: what the null is, in words.
        side: whether the claim says that the metric lies above the null or below it.
        p: key of a figure: the p of a test over the inputs of one seed, for a null that is a number.
    """

    name: str
    statement: str
    metric: str
    null: str | float
    null_words: str
    side: Literal["above", "below"] = "above"
    p: str | None = None


@dataclass(frozen=True)
class About:
    """What a page says of a run beyond its figures.

    Attributes:
        title: of the page.
        claims: evaluated from the run's figures.
        expected: of the run's figures.
        experiment: name of the experiment that the expectations belong to; empty where there is none.
        departures: where the run's config differs from that of the experiment.
    """

    title: str
    claims: tuple[Claim, ...] = ()
    expected: tuple[Expectation, ...] = ()
    experiment: str = ""
    departures: tuple[str, ...] = ()


# the config of a run, as TOML holds it -> what is known of such a run now
Describe = Callable[[Mapping[str, Any]], About]

_FORM = TypeAdapter(About)


def setting_alone(config: Mapping[str, Any]) -> About:
    """The name of the setting as the title, and nothing else."""
    return About(str(config.get("setting", "unknown")))


def write_about(folder: Path, about: About) -> None:
    """Store the record in a run's folder.

    Raises:
        StoreError: the folder cannot be written.
    """
    write_text(folder / "about.json", json.dumps(_FORM.dump_python(about, mode="json"), indent=2) + "\n")


def read_about(folder: Path, described: About) -> About:
    """The stored record of a run, completed by a description of it where an older version stored less.

    Raises:
        StoreError: about.json is damaged.
    """
    path = folder / "about.json"
    if not path.is_file():
        return described
    known = _FORM.dump_python(described, mode="json")
    try:
        stored = json.loads(path.read_text("utf-8"))
        return _FORM.validate_json(json.dumps({**known, **stored}))
    except (OSError, ValueError, TypeError) as error:  # pydantic's errors are ValueErrors
        raise StoreError(
            f"the title, claims and expectations of the run cannot be read: {error}",
            where=str(path),
            remedy="Delete this file; the page then shows those of the setting now.",
        ) from error
