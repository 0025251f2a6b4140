"""The Transformer of a stored seed as the subject of `tangentlens.analyse`."""

from tangentlens.analysis.subject import Subject
from tangentlens.paper.modular_addition.by_analysis import Block, subject_of
from tangentlens.paper.transformer.config import Config
from tangentlens.paper.transformer.evidence import trained_network
from tangentlens.paper.transformer.network import OneLayerTransformer
from tangentlens.paper.transformer.subject import LAYER_FAMILIES, UNEMBEDDING, draw, key_basis, paper_ranges, sites
from tangentlens.records import Measurement
from tangentlens.store.figure_keys import GroupOverlap, Overlap


def analysis_subject(config: Config, measured: Measurement) -> Subject:
    """The trained network with the Fourier families at its key frequencies and its initial state.

    The kernel is that of the mean of all p + 1 logits, so that the sites lead to all of them; the loss reads p.
    """
    keys, p = _keys(measured), config.data.p
    network = trained_network(config, measured, keys)
    assert isinstance(network.model, OneLayerTransformer)
    return subject_of(
        network,
        "mean",
        features={name: key_basis(name, p, keys) for name in LAYER_FAMILIES},
        sites=sites(network.model, network.inputs, p + 1),
        untrained=draw(config, measured.seed).model.state_dict(),
    )


def stored_blocks(config: Config, measured: Measurement) -> dict[str, Block]:
    """Key of a stored overlap -> its block: the paper's two of the unembedding, both together of every parameter."""
    ranges = paper_ranges(len(_keys(measured)))
    end = max(last for _, last in ranges.values())
    blocks = {str(Overlap(f"unembed.{name}")): Block(name, UNEMBEDDING, *ranges[name]) for name in ranges}
    joint = {str(Overlap(f"unembed.joint.{name}")): Block(name, UNEMBEDDING, 0, end) for name in ranges}
    return (
        blocks
        | joint
        | {
            str(GroupOverlap(group, family)): Block(family, group, 0, end)
            for group in draw(config, measured.seed).model.state_dict()
            for family in LAYER_FAMILIES
        }
    )


def _keys(measured: Measurement) -> tuple[int, ...]:
    return tuple(measured.arrays["frequencies.kernel"].tolist())
