"""The settings of the paper: a config and a measurement each."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from tangentlens.language.analysis import evidence as language_evidence
from tangentlens.language.analysis import windows as language_windows
from tangentlens.paper.gemma import claims as gemma_claims
from tangentlens.paper.gemma import measure as gemma
from tangentlens.paper.gemma.config import Config as GemmaConfig
from tangentlens.paper.mlp import claims as mlp_claims
from tangentlens.paper.mlp import evidence as mlp_evidence
from tangentlens.paper.mlp import measure as mlp
from tangentlens.paper.superposition import measure as superposition
from tangentlens.paper.transformer import claims as transformer_claims
from tangentlens.paper.transformer import evidence as transformer_evidence
from tangentlens.paper.transformer import measure as transformer
from tangentlens.paper.transformer.config import Config as TransformerConfig
from tangentlens.records import Measurement
from tangentlens.statistics.claims import Claim


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
        language_windows.prepare,
        evidence=language_evidence.evidence,
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
