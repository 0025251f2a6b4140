"""The superposition setting, as the registry lists it."""

from tangentlens.paper.setting import Setting
from tangentlens.paper.superposition.config import Config
from tangentlens.paper.superposition.measure import measure

SETTING = Setting(Config, measure, title=lambda _: "Toy models of superposition")
