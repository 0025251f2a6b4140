"""The Transformer setting, as the registry lists it."""

from tangentlens.paper.setting import Setting
from tangentlens.paper.transformer.claims import CLAIMS
from tangentlens.paper.transformer.config import Config
from tangentlens.paper.transformer.evidence import evidence
from tangentlens.paper.transformer.measure import measure
from tangentlens.paper.transformer.training import train_together

SETTING = Setting(
    Config,
    measure,
    prepare=train_together,
    evidence=evidence,
    claims=CLAIMS,
    title=lambda _: "A one-layer Transformer on modular addition",
)
