"""The settings of the paper, by the value of `setting` in a config file."""

from collections.abc import Mapping
from typing import Any

from tangentlens.paper import experiments
from tangentlens.paper.gemma.setting import SETTING as LANGUAGE
from tangentlens.paper.mlp.setting import SETTING as MLP
from tangentlens.paper.setting import Setting
from tangentlens.paper.superposition.setting import SETTING as SUPERPOSITION
from tangentlens.paper.transformer.setting import SETTING as TRANSFORMER
from tangentlens.store.about import About

__all__ = ["SETTINGS", "Setting", "about"]

SETTINGS: Mapping[str, Setting] = {
    "mlp": MLP,
    "language": LANGUAGE,
    "superposition": SUPERPOSITION,
    "transformer": TRANSFORMER,
}


def about(config: Mapping[str, Any], settings: Mapping[str, Setting] = SETTINGS) -> About:
    """Title, claims and expectations of a run with this config, as TOML holds it."""
    name = str(config.get("setting", "unknown"))
    setting, experiment = settings.get(name), experiments.experiment_of(name)
    return About(
        title=setting.title(config) if setting else name,
        claims=setting.claims if setting else (),
        expected=experiments.expectations_for(config),
        experiment=experiment.name if experiment else "",
        departures=experiments.departures(config),
    )
