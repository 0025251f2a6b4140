"""The settings of the paper: a config and a measurement each."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pydantic import BaseModel

from tangentlens.records import Measurement
from tangentlens.settings import mlp, superposition


class Setting(NamedTuple):
    """One setting: its config class, and measure(config, seed, progress) -> Measurement."""

    config: type[BaseModel]
    measure: Callable[..., Measurement]


# The key is the value of `setting` in a config file.
SETTINGS: Mapping[str, Setting] = {
    "mlp": Setting(mlp.Config, mlp.measure),
    "superposition": Setting(superposition.Config, superposition.measure),
}
