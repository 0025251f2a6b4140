"""The settings of the paper: a config and a measurement each."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from tangentlens.evidence.claims import Claim
from tangentlens.records import Measurement
from tangentlens.settings import (
    gemma,
    gemma_claims,
    gemma_evidence,
    gemma_windows,
    mlp,
    mlp_claims,
    mlp_evidence,
    superposition,
    transformer,
    transformer_claims,
    transformer_evidence,
)
from tangentlens.settings.gemma_config import Config as GemmaConfig
from tangentlens.settings.transformer_config import Config as TransformerConfig


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
        claims: what is evaluated from the figures of measurement and evidence over the seeds.
        title: of a run's page, from its config as TOML holds it.
    """

    config: type[BaseModel]
    measure: Callable[..., Measurement]
    prepare: Callable[..., Any] | None = None
    evidence: Callable[..., Measurement] | None = None
    claims: tuple[Claim, ...] = ()
    title: Callable[[Mapping[str, Any]], str] = lambda config: str(config["setting"])


def _language_title(config: Mapping[str, Any]) -> str:
    """The model by the last part of its name."""
    name = str(config.get("model", {}).get("name", "A language model"))
    return f"{name.rstrip('/').rpartition('/')[2]} on windows of stories"


# The key is the value of `setting` in a config file.
SETTINGS: Mapping[str, Setting] = {
    "mlp": Setting(
        mlp.Config,
        mlp.measure,
        evidence=mlp_evidence.evidence,
        claims=mlp_claims.CLAIMS,
        title=lambda _: "One hidden layer on modular addition",
    ),
    "language": Setting(
        GemmaConfig,
        gemma.measure,
        gemma_windows.prepare,
        evidence=gemma_evidence.evidence,
        claims=gemma_claims.CLAIMS,
        title=_language_title,
    ),
    "superposition": Setting(
        superposition.Config, superposition.measure, title=lambda _: "Toy models of superposition"
    ),
    "transformer": Setting(
        TransformerConfig,
        transformer.measure,
        transformer.prepare,
        evidence=transformer_evidence.evidence,
        claims=transformer_claims.CLAIMS,
        title=lambda _: "A one-layer Transformer on modular addition",
    ),
}
