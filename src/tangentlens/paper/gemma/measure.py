"""Measurement of the paper's third setting: that of any language model, with figures at the layer of its table."""

from tangentlens.language.analysis import measure as language
from tangentlens.language.analysis.windows import Prepared
from tangentlens.paper.gemma.config import Config
from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement

_BLOCKS = {"paper_layer": 16}


def measure(config: Config, seed: int, progress: Progress = silent, *, prepared: Prepared) -> Measurement:
    """Sweep the kernels in every geometry and compare their modes with grammar; experiments/gemma/README.md."""
    return language.measure(config, seed, progress, prepared=prepared, blocks=_BLOCKS)
