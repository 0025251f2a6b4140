"""Which directions of a site belong to the modes of a kernel, and to its controls.

Every one of them is a function of the input carried into the site by the same map. With Z the site's values, centred
over the inputs, and q a function of the input (N,), the pattern of q is

    Z^T q / ||Z^T q||,

the direction along which the values vary with q: up to a factor their covariance (Haufe et al. 2014, "On the
interpretation of weight vectors", call it a pattern). For a mode v of K = J J^T and Z = J, the gradients of the
examples, this is the mode's parameter direction u = J^T v / sqrt(lambda). For an activation or an input it is the
direction in which the mode is written there: projecting the values off the patterns of several modes is the smallest
projection after which nothing in them is correlated with these modes. Principal components are patterns too: those of
the left singular vectors of Z. So modes, principal components and random functions are compared through one map.
"""

import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.models.functional import functional_model
from tangentlens.models.inputs import Inputs
from tangentlens.models.outputs import PickOutput
from tangentlens.models.sites import Site
from tangentlens.operators.tensors import ArrayLike, real_tensor
from tangentlens.records import Eigenpairs

_UNCORRELATED = 1e-7  # of the length of Z times that of the function, which bounds the length of Z^T q


def patterns(site: Site, functions: ArrayLike | Eigenpairs) -> Float[Tensor, "w k"]:
    """(w, k) unit columns: the direction of the site that goes with each function of the input.

    A function that is uncorrelated with all that varies there (the constant is) has no direction and is left out.

    Args:
        site: of inputs or activations, one row for each input.
        functions: (N, n) modes, or other functions of the input: an array, or Eigenpairs for their modes.

    Returns:
        k <= n columns, in the order of the functions.

    Raises:
        InvalidInputError: the numbers of rows differ.
        NumericalError: a function holds NaN or infinity.
    """
    Z = (site.values - site.around).to(torch.float64)
    Q = _columns(functions, len(Z), site.name).to(Z)
    carried = Z.T @ Q
    sizes = torch.linalg.vector_norm(carried, dim=0)
    limits = _UNCORRELATED * torch.linalg.matrix_norm(Z) * torch.linalg.vector_norm(Q, dim=0)
    kept = sizes > limits
    found: Tensor = carried[:, kept] / sizes[kept]
    return found


def parameter_directions(
    model: nn.Module, inputs: Inputs, functions: ArrayLike | Eigenpairs, *, output: PickOutput | None = None
) -> Float[Tensor, "P k"]:
    """(P, k) unit columns: gradients of the amplitude that each function of the input has in the outputs.

    For a function q (N,) and outputs F (N, C), centred over the inputs, c = F^T q / ||F^T q|| is the pattern of q in
    the outputs, and the direction is the gradient of q^T F c with c held fixed. Where there is one output it is
    +-J^T q / ||J^T q||, for a mode of its kernel u = J^T v / sqrt(lambda). Where a kernel sums over outputs a mode has
    a direction for every output; this is the one that scales the mode as the network uses it.

    Args:
        model: any module; its trainable parameters are laid out as in `parameter_site`.
        inputs: what it is called with.
        functions: (N, n), an array, or Eigenpairs for their modes.
        output: from what the model returns to its (N, C) outputs.

    Returns:
        k <= n columns, in the order of the functions: one that is uncorrelated with the outputs has no direction.

    Raises:
        InvalidInputError: the numbers of rows differ.
        NumericalError: a function holds NaN or infinity.
    """
    view = functional_model(model, output)
    leaves = {name: value.detach().clone().requires_grad_() for name, value in view.trainable.items()}
    with torch.enable_grad():
        outputs = view(leaves, inputs)
        F = (outputs - outputs.mean(dim=0)).detach()
        Q = _columns(functions, len(F), "parameters").to(F)
        weights = F.T @ Q  # (C, n)
        lengths = torch.linalg.vector_norm(weights, dim=0)
        kept = lengths > _UNCORRELATED * torch.linalg.matrix_norm(F) * torch.linalg.vector_norm(Q, dim=0)
        columns = [
            _flat_gradient(outputs, list(leaves.values()), torch.outer(q, c))
            for q, c in zip(Q.T[kept], (weights / lengths).T[kept], strict=True)
        ]
    size = sum(leaf.numel() for leaf in leaves.values())
    directions = torch.stack(columns, dim=1).to(torch.float64) if columns else torch.zeros(size, 0, dtype=torch.float64)
    return torch.nn.functional.normalize(directions, dim=0)


def random_directions(w: int, k: int, generator: torch.Generator) -> Float[Tensor, "w k"]:
    """(w, k) orthonormal directions, their span uniform among all of that dimension."""
    Q: Tensor = torch.linalg.qr(torch.randn(w, k, generator=generator, dtype=torch.float64))[0]
    return Q


def span(directions: Float[Tensor, "w k"]) -> Float[Tensor, "w r"]:
    """An orthonormal basis of the span; directions that depend on the others (to 1e-8) count once."""
    Q, R, _ = scipy.linalg.qr(directions.cpu().numpy(), mode="economic", pivoting=True)
    sizes = torch.from_numpy(abs(R.diagonal()))
    return torch.from_numpy(Q[:, : int((sizes > 1e-8 * sizes[:1]).sum())]).to(directions.device)


def _flat_gradient(outputs: Tensor, leaves: list[Tensor], cotangent: Tensor) -> Float[Tensor, " P"]:
    found = torch.autograd.grad(
        outputs, leaves, cotangent, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([gradient.flatten() for gradient in found])


def _columns(functions: ArrayLike | Eigenpairs, rows: int, where: str) -> Float[Tensor, "N n"]:
    modes = real_tensor(functions.modes if isinstance(functions, Eigenpairs) else functions, where)
    if modes.ndim != 2 or len(modes) != rows:
        raise InvalidInputError(
            f"functions of shape {tuple(modes.shape)} over {rows} rows",
            where=where,
            remedy="Give one row for each input and one column for each function.",
        )
    if not bool(modes.isfinite().all()):
        raise NumericalError("the functions hold NaN or infinity", where=where, remedy="Leave those columns out.")
    return modes
