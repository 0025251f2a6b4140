"""Principal components of activations, layer by layer, and the layer that a train half picks."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.features.functions import principal_functions
from tangentlens.models.sites import Site


def activation_pca(sites: Mapping[str, Site], k: int) -> dict[str, Float[Tensor, "N d"]]:
    """Layer -> the scores of its k leading principal components, orthonormal over the inputs."""
    return {name: principal_functions(site.values, k) for name, site in sites.items()}


def best_layer(
    layers: Mapping[str, Float[Tensor, "N d"]], features: Float[Tensor, "N r"], train: Int[Tensor, " n"]
) -> str:
    """The layer whose functions hold most of the features' variance on the train rows.

    On these rows the functions are a linear model of the features; the share is its R^2 there, pooled over features.
    """
    F = features[train] - features[train].mean(dim=0)
    held = {name: _pooled_r2(functions[train], F) for name, functions in layers.items()}
    return max(held, key=lambda name: held[name])


def _pooled_r2(functions: Float[Tensor, "n d"], centred: Float[Tensor, "n r"]) -> float:
    Q = torch.linalg.qr(functions - functions.mean(dim=0)).Q
    return float((Q.T @ centred).square().sum() / centred.square().sum())


def conjugate_functions(features: Float[Tensor, "N w"], k: int) -> Float[Tensor, "N d"]:
    """The leading k eigenvectors of the conjugate kernel A A^T of the last layer's features A, not centred.

    It is the kernel of a readout's weights: the part of the eNTK that needs no gradient.
    """
    U: Tensor = torch.linalg.svd(features.detach().to(torch.float64), full_matrices=False)[0]
    return U[:, :k]
