"""The Transformer of a seed: data and network as drawn, features at its key frequencies, modes, sites.

The kernel of the mean logit in the unembedding is R R^T / C with R the final residual stream at the last position: each
column of W_U has the gradient R / C. Its modes are therefore the left singular vectors of R, uncentred principal
components, and are had from the stored parameters without any kernel.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.alignment.overlap import centred_basis
from tangentlens.analysis.subject import Split
from tangentlens.controls.baselines.activations import conjugate_functions
from tangentlens.features.fourier import FAMILIES, Wave, superpose
from tangentlens.models.sites import Site
from tangentlens.paper.modular_addition.data import train_test_split
from tangentlens.paper.transformer.config import Config
from tangentlens.paper.transformer.network import OneLayerTransformer

# At one frequency each is a cosine and a sine; 2n and 2m are those of n and m at twice the frequency.
LAYER_FAMILIES: Mapping[str, tuple[Wave, ...]] = {
    **FAMILIES,
    "axis_sum": (Wave(1, 0), Wave(0, 1)),
    "axis_difference": (Wave(1, 0), Wave(0, 1, -1.0)),
}
UNEMBEDDING = "W_U"


@dataclass(frozen=True)
class Drawn:
    """Draws of a seed before training: the split, then the weights; the generator goes on to the mini-batches."""

    split: Split
    model: OneLayerTransformer
    generator: torch.Generator


def draw(config: Config, seed: int) -> Drawn:
    """The split and the untrained network of a seed."""
    generator, p, sizes = torch.Generator().manual_seed(seed), config.data.p, config.model
    split = train_test_split(p**2, config.data.train_fraction, generator)
    model = OneLayerTransformer(p, sizes.d_model, sizes.heads, sizes.d_mlp, generator=generator)
    return Drawn(split, model, generator)


def network(config: Config, state: Mapping[str, Tensor]) -> OneLayerTransformer:
    """The network with these parameters."""
    sizes = config.model
    model = OneLayerTransformer(
        config.data.p, sizes.d_model, sizes.heads, sizes.d_mlp, generator=torch.Generator().manual_seed(0)
    )
    model.load_state_dict(state)
    return model


def key_basis(name: str, p: int, keys: Iterable[int]) -> Float[Tensor, "N r"]:
    """Centred orthonormal basis of a family of LAYER_FAMILIES at these frequencies."""
    return centred_basis(superpose(name, LAYER_FAMILIES[name], p, keys).matrix)


def paper_ranges(frequencies: int) -> dict[str, tuple[int, int]]:
    """Family -> the modes that the paper compares with it, 0..2K and 2K + 1..4K."""
    d = 2 * frequencies
    return {"sum": (0, d + 1), "axis_sum": (d + 1, 2 * d + 1)}


@torch.no_grad()
def unembedding_modes(model: OneLayerTransformer, tokens: Int[Tensor, "N 3"]) -> Float[Tensor, "N k"]:
    """The unembedding kernel's modes, all that its rank allows."""
    return conjugate_functions(model.residual(tokens), model.d_model)


def sites(model: OneLayerTransformer, tokens: Int[Tensor, "N 3"], outputs: int) -> dict[str, Site]:
    """Embeddings of all three positions, and the final residual stream at the last one; the first logits come out."""
    with torch.no_grad():
        embedded, residual = model.embedded(tokens), model.residual(tokens)
    shape, flat = embedded.shape[1:], embedded.flatten(start_dim=1)

    def from_embeddings(values: Tensor) -> Tensor:
        return (model.residual_from(values.unflatten(1, shape)) @ model.W_U)[:, :outputs]

    def from_residual(values: Tensor) -> Tensor:
        return (values @ model.W_U)[:, :outputs]

    return {
        "embeddings": Site("embeddings", flat, from_embeddings, flat.mean(dim=0)),
        "residual": Site("residual", residual, from_residual, residual.mean(dim=0)),
    }
