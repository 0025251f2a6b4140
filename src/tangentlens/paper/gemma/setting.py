"""The language-model setting, as the registry lists it: the general analysis of a language model, with the claims."""

from collections.abc import Mapping
from typing import Any

from tangentlens.language.analysis.evidence import evidence
from tangentlens.language.analysis.windows import prepare
from tangentlens.paper.gemma.claims import CLAIMS
from tangentlens.paper.gemma.config import Config
from tangentlens.paper.gemma.measure import measure
from tangentlens.paper.setting import Setting


def _title(config: Mapping[str, Any]) -> str:
    """The model by the last part of its name."""
    name = str(config.get("model", {}).get("name", "A language model"))
    return f"{name.rstrip('/').rpartition('/')[2]} on windows of stories"


SETTING = Setting(Config, measure, prepare, evidence, CLAIMS, _title)
