"""The MLP setting, as the registry lists it."""

from tangentlens.paper.mlp.claims import CLAIMS
from tangentlens.paper.mlp.config import Config
from tangentlens.paper.mlp.evidence import evidence
from tangentlens.paper.mlp.measure import measure
from tangentlens.paper.setting import Setting

SETTING = Setting(
    Config, measure, evidence=evidence, claims=CLAIMS, title=lambda _: "One hidden layer on modular addition"
)
