"""What a run says of itself: its title, the claims it speaks to, the figures expected of it.

It is stored as about.json when the run is written. A run of before has none; what its setting says now stands in.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tangentlens.errors import StoreError
from tangentlens.paper import SETTINGS, Setting
from tangentlens.paper.experiments import Expectation, expectations_for
from tangentlens.statistics.claims import Claim
from tangentlens.store import StoredRun
from tangentlens.store.atomic import write_text


@dataclass(frozen=True)
class About:
    """What a page says of a run beyond its figures.

    Attributes:
        title: of the page.
        claims: evaluated from the run's figures.
        expected: of the run's figures.
    """

    title: str
    claims: tuple[Claim, ...]
    expected: tuple[Expectation, ...]


_FORM = TypeAdapter(About)


def describe(config: Mapping[str, Any], setting: Setting | None) -> About:
    """What a setting says of a run with this config."""
    if setting is None:
        return About(str(config.get("setting", "unknown")), (), expectations_for(config))
    return About(setting.title(config), setting.claims, expectations_for(config))


def write_about(folder: Path, about: About) -> None:
    """Store it in a run's folder.

    Raises:
        StoreError: the folder cannot be written.
    """
    write_text(folder / "about.json", json.dumps(_FORM.dump_python(about, mode="json"), indent=2) + "\n")


def about(run: StoredRun) -> About:
    """What a run says of itself.

    Raises:
        StoreError: its about.json is damaged.
    """
    path = run.folder / "about.json"
    if not path.is_file():
        return describe(run.config, SETTINGS.get(run.setting))
    try:
        return _FORM.validate_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:  # pydantic's errors are ValueErrors
        raise StoreError(
            f"what the run says of itself cannot be read: {error}",
            where=str(path),
            remedy="Delete this file; the page then says what the setting says now.",
        ) from error
