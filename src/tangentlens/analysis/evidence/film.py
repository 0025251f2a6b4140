"""How much of each frequency every leading mode holds at a checkpoint: one picture of the film of training."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tangentlens.alignment.overlap import centred_basis
from tangentlens.analysis.findings import Arrays
from tangentlens.features.fourier import FeatureFamily

FilmFeatures = Mapping[str, Float[Tensor, "F c N"]]


def film_features(families: Mapping[str, Sequence[FeatureFamily]]) -> FilmFeatures:
    """Orthonormal features by frequency, for each picture of a frame.

    Args:
        families: name of a picture -> the families that it counts together, which hold the same frequencies.

    Returns:
        for each name (F, c, N), c centred orthonormal features for each of F frequencies; zeros where the features of
        a frequency span less than those of another.
    """
    return {name: _by_frequency(members) for name, members in families.items()}


def film_frame(vectors: Float[Tensor, "N m"], features: FilmFeatures) -> dict[str, UInt8[Tensor, "m F"]]:
    """Percent of each mode inside the span of the features at each frequency, 100 |F_k^T e_i|^2, to the nearest one.

    Args:
        vectors: orthonormal modes.
        features: as `film_features` gives them.
    """
    return {name: _percent(vectors, rows) for name, rows in features.items()}


def film_arrays(frames: Sequence[Mapping[str, Tensor]]) -> Arrays:
    """`film.<name>` (E, m, F) uint8 percent, from one frame for each of E checkpoints."""
    return {f"film.{name}": torch.stack([frame[name] for frame in frames]) for name in frames[0]}


def _by_frequency(members: Sequence[FeatureFamily]) -> Float[Tensor, "F c N"]:
    columns = [torch.cat([family.at(k) for family in members], dim=1) for k in members[0].frequencies]
    bases = [centred_basis(each) for each in columns]
    most = max(basis.shape[1] for basis in bases)
    return torch.stack([torch.nn.functional.pad(basis, (0, most - basis.shape[1])).T for basis in bases])


def _percent(vectors: Float[Tensor, "N m"], features: Float[Tensor, "F c N"]) -> UInt8[Tensor, "m F"]:
    held: Tensor = (features.flatten(end_dim=1) @ vectors.to(features.dtype)).square()  # (F c, m)
    percent: Tensor = 100 * held.unflatten(0, features.shape[:2]).sum(dim=1)
    return percent.round().clamp_max(100).T.to(torch.uint8)
