"""A run as it lies on disk, for whoever reads it."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tangentlens.errors import InvalidInputError, NotStoredError, StoreError
from tangentlens.records import Figure
from tangentlens.store.about import About, Describe, read_about, setting_alone
from tangentlens.store.aliases import current_config
from tangentlens.store.arrays import SeedRecord, read_seeds
from tangentlens.store.environment import read_environment
from tangentlens.store.results import read_results


@dataclass(frozen=True)
class StoredRun:
    """What a run folder holds; arrays are read when asked for.

    Attributes:
        folder: the run folder.
        config: config.toml, parsed but not validated, the setting by its name now.
        config_text: config.toml as written.
        environment: environment.json.
        figures: results.json.
        seeds: the stored seeds, ascending.
        lacking: field of a figure -> how many figures an older version stored without it.
        about: title, claims and expectations.
    """

    folder: Path
    config: Mapping[str, Any]
    config_text: str
    environment: Mapping[str, Any]
    figures: Mapping[str, Figure]
    seeds: tuple[SeedRecord, ...]
    lacking: Mapping[str, int] = field(default_factory=dict)
    about: About = field(default_factory=lambda: setting_alone({}))

    @property
    def setting(self) -> str:
        """Name of the setting that was run."""
        return str(self.config.get("setting", "unknown"))

    @property
    def notes(self) -> tuple[tuple[int, str], ...]:
        """(seed, sentence) for every note of every seed."""
        return tuple((record.seed, note) for record in self.seeds for note in record.notes)

    def has(self, *names: str) -> bool:
        """Whether there is a seed and every seed holds all these arrays."""
        return bool(self.seeds) and all(record.names.issuperset(names) for record in self.seeds)

    def arrays(self, name: str) -> list[np.ndarray]:
        """The array `name` of every seed, in the order of `seeds`.

        Raises:
            NotStoredError: a seed holds no such array.
            StoreError: a file of arrays is damaged.
        """
        return [record.array(name) for record in self.seeds]

    def figure(self, key: str) -> Figure:
        """The figure `key`.

        Raises:
            NotStoredError: results.json holds no such figure.
        """
        if key not in self.figures:
            raise NotStoredError(f"the figure {key}")
        return self.figures[key]

    def option(self, *path: str) -> Any:
        """What the config says at a path of keys: option("kernel", "taus").

        Raises:
            NotStoredError: the config has no such key.
        """
        tree: Any = self.config
        for key in path:
            if not isinstance(tree, Mapping) or key not in tree:
                raise NotStoredError(f"{'.'.join(path)} of the config")
            tree = tree[key]
        return tree


def open_run(folder: Path, describe: Describe = setting_alone) -> StoredRun:
    """Read a run folder.

    Args:
        folder: the run folder.
        describe: gives the title, claims and expectations that an older version did not store.

    Raises:
        InvalidInputError: the folder is not a run.
        StoreError: a file of the run is damaged.
    """
    folder = Path(folder)
    path = folder / "config.toml"
    if not path.is_file():
        raise InvalidInputError(
            "this is not a run: it has no config.toml",
            where=str(folder),
            remedy="Give the folder that `tangentlens run` made.",
        )
    try:
        text = path.read_text("utf-8")
        config = current_config(tomllib.loads(text))
    except (OSError, ValueError) as error:
        raise StoreError(f"the config of the run cannot be read: {error}", where=str(path)) from error
    results = read_results(folder / "results.json")
    return StoredRun(
        folder=folder,
        config=config,
        config_text=text,
        environment=read_environment(folder),
        figures=results.figures,
        seeds=read_seeds(folder),
        lacking=results.lacking,
        about=read_about(folder, describe(config)),
    )
