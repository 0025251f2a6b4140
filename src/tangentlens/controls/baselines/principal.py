"""Principal components and leading gradient directions of a site of any width, within a bound of memory and time."""

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.eigen import top_eigenpairs
from tangentlens.eigen.blas import top_eigh
from tangentlens.models.sites import Site
from tangentlens.operators import ProductOperator

_FORMED = 2048  # side of a Gram matrix up to which it is formed
_GRADIENTS = 2048  # rows of gradients that are held at a time


def principal_scores(values: Float[Tensor, "N w"], k: int, *, centred: bool = True) -> Float[Tensor, "N r"]:
    """Scores of the leading k principal components, descending in size, float64; r is at most the rank.

    From the eigenvectors of the smaller Gram matrix, where one has at most 2,048 rows, and by block Lanczos otherwise.

    Args:
        values: (N, w).
        k: how many.
        centred: subtract the mean over the inputs; else the scores are those of the Gram matrix Z Z^T as it is.
    """
    Z = values.detach().cpu().to(torch.float64)
    Z = Z - Z.mean(dim=0) if centred else Z
    N, w = Z.shape
    if min(N, w) > _FORMED:
        gram = ProductOperator(lambda V: Z @ (Z.T @ V), (N, N), dtype=torch.float64, symmetric=True, name="values")
        pairs = top_eigenpairs(gram, k=min(k, N))
        sizes, U = pairs.values.clamp_min(0), pairs.vectors
        scores = U * sizes.sqrt()
    elif w <= N:
        sizes, V = top_eigh(Z.T @ Z, min(k, w))
        scores = Z @ V
    else:
        sizes, U = top_eigh(Z @ Z.T, min(k, N))
        scores = U * sizes.clamp_min(0).sqrt()
    eps = torch.finfo(values.dtype).eps if values.is_floating_point() else torch.finfo(torch.float64).eps
    least = max(max(N, w) * eps, 1e-7) ** 2 * float(sizes[0])
    kept: Tensor = scores[:, (sizes > least) & (sizes > 0)]
    return kept


def gradient_scores(site: Site, k: int, generator: torch.Generator) -> tuple[Float[Tensor, "N r"], int]:
    """Scores of the inputs along the k directions of a site that the outputs answer to most, and the inputs used.

    The directions are the leading eigenvectors of G = 1/N sum_i sum_c g_ic g_ic^T, g_ic = d f_c(x_i) / d z_i
    (`gradient_functions`); at the inputs G is the average gradient outer product. Of a site wider than 2,048, G is the
    average over a random part of the inputs, such that they have at most 2,048 gradients.

    Args:
        site: of inputs or activations, one row for each input.
        k: how many.
        generator: of the inputs that G is averaged over, where not all are.
    """
    N, w = site.values.shape
    values = site.values.detach().clone().requires_grad_()
    with torch.enable_grad():
        totals = site.run(values).sum(dim=0)
        rows = _rows_used(N, w, len(totals), generator)
        gradients = (
            torch.autograd.grad(total, values, retain_graph=True, allow_unused=True, materialize_grads=True)[0][rows]
            for total in totals
        )
        directions = _formed(gradients, w, k) if w <= _FORMED else _dual(list(gradients), k)
    scores = (site.values - site.around).detach().cpu().to(torch.float64) @ directions
    return scores, len(rows)


def _rows_used(N: int, w: int, outputs: int, generator: torch.Generator) -> Tensor:
    most = max(1, _GRADIENTS // max(1, outputs))
    if w <= _FORMED or most >= N:
        return torch.arange(N)
    return torch.randperm(N, generator=generator)[:most].sort().values


def _formed(gradients: object, w: int, k: int) -> Float[Tensor, "w r"]:
    """Leading eigenvectors of G, added up over the outputs."""
    G = torch.zeros(w, w, dtype=torch.float64)
    for each in gradients:  # type: ignore[attr-defined]
        g = each.detach().cpu().to(torch.float64)
        G += g.T @ g
    sizes, V = top_eigh(G, min(k, w))
    found: Tensor = V[:, (sizes > 1e-10 * sizes[0]) & (sizes > 0)]
    return found


def _dual(gradients: list[Tensor], k: int) -> Float[Tensor, "w r"]:
    """The same from the Gram matrix of the gradients, where they are fewer than the site is wide."""
    g = torch.cat([each.detach().cpu() for each in gradients]).to(torch.float64)
    sizes, U = top_eigh(g @ g.T, min(k, len(g)))
    kept = (sizes > 1e-10 * sizes[0]) & (sizes > 0)
    found: Tensor = (g.T @ U[:, kept]) / sizes[kept].sqrt()
    return found
