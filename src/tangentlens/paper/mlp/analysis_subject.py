"""The MLP of a stored seed as the subject of `tangentlens.analyse`."""

from tangentlens.alignment.cliffs import paper_blocks
from tangentlens.analysis.modes.kernel_modes import TOTAL
from tangentlens.analysis.subject import Subject
from tangentlens.paper.mlp.config import Config
from tangentlens.paper.mlp.evidence import trained_network
from tangentlens.paper.mlp.subject import draw, family_bases
from tangentlens.paper.modular_addition.by_analysis import Block, subject_of
from tangentlens.records import Measurement
from tangentlens.store.figure_keys import GroupOverlap, Overlap

_BLOCKS = {"first_cliff": ("input", 0), "sum": ("sum", 1), "difference": ("difference", 1)}  # the family, the block
_OF_GROUPS = ("n", "m", "sum", "difference")


def analysis_subject(config: Config, measured: Measurement) -> Subject:
    """The trained network with the Fourier families and its initial state."""
    bases = family_bases(config.data.p)
    features = {name: bases[name] for name in (*_OF_GROUPS, "input")}
    untrained = draw(config, measured.seed).model.state_dict()
    return subject_of(trained_network(config, measured), "trace", features=features, untrained=untrained)


def stored_blocks(config: Config, measured: Measurement) -> dict[str, Block]:
    """Key of a stored overlap -> its block: the paper's two of the whole kernel, both together of a parameter's."""
    first, second = blocks = paper_blocks(config.data.p)
    whole = {
        str(Overlap(name)): Block(family, TOTAL, blocks[place].start, blocks[place].stop)
        for name, (family, place) in _BLOCKS.items()
    }
    groups = [name.removeprefix("parameter.") for name in measured.arrays if name.startswith("parameter.")]
    return whole | {
        str(GroupOverlap(group, family)): Block(family, group, first.start, second.stop)
        for group in groups
        for family in _OF_GROUPS
    }
