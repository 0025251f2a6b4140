"""Rivals made of gradients of the outputs: principal directions of a layer's gradients; at the inputs, AGOP."""

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.models.sites import Site


def gradient_functions(site: Site, k: int) -> Float[Tensor, "N d"]:
    """Scores of the inputs along the k directions of a site that the outputs answer to most, orthonormalised.

    The directions are the leading eigenvectors of G = 1/N sum_i sum_c g_ic g_ic^T, g_ic = d f_c(x_i) / d z_i; at the
    inputs G is the average gradient outer product (AGOP; Radhakrishnan et al., arXiv 2212.13881). Its null space is
    left out, so that d may be less than k.

    Args:
        site: of inputs or activations, one row for each input.
        k: how many directions.
    """
    gradients = output_gradients(site).to(torch.float64)  # (C, N, w)
    values, vectors = torch.linalg.eigh(torch.einsum("cnw,cnv->wv", gradients, gradients) / gradients.shape[1])
    leading = vectors.flip(1)[:, values.flip(0) > 1e-10 * values[-1]][:, :k]
    scores = (site.values - site.around).to(torch.float64) @ leading
    U, sizes, _ = torch.linalg.svd(scores, full_matrices=False)
    basis: Tensor = U[:, sizes > 1e-8 * sizes[0]]
    return basis


def output_gradients(site: Site) -> Float[Tensor, "C N w"]:
    """d f_c(x_i) / d z_i of every output and input; examples must not influence each other."""
    values = site.values.clone().requires_grad_()
    with torch.enable_grad():
        outputs = site.run(values)
        totals = outputs.sum(dim=0)
        rows = [
            torch.autograd.grad(total, values, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
            for total in totals
        ]
    return torch.stack(rows)
