"""Dose and response: shifts of growing length along given directions, and what first order said they would do."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.controls.interventions.edits import Edit, shifted
from tangentlens.controls.interventions.effects import relative_change
from tangentlens.kernels.differentiation import forward_mode, plain_attention, without_advice
from tangentlens.models.sites import Site


@dataclass(frozen=True)
class DoseResponse:
    """What shifts along several unit directions did, both ways along each; D doses.

    Attributes:
        doses: (D,) lengths in units of the site's scale.
        change: (D,) root mean square over directions and signs of the outputs' relative change (Effect.change).
        predicted: (D,) the same of the first-order prediction, which is proportional to the dose.
        unpredicted: (D,) root mean square of what the prediction leaves, in the same units: near 0 where the
            response is linear, near `change` where first order says nothing.
        accuracy: (D,) mean over directions and signs, percent.
    """

    doses: Float[Tensor, " D"]
    change: Float[Tensor, " D"]
    predicted: Float[Tensor, " D"]
    unpredicted: Float[Tensor, " D"]
    accuracy: Float[Tensor, " D"]


def dose_response(
    site: Site,
    directions: Float[Tensor, "w k"],
    doses: Sequence[float],
    labels: Int[Tensor, " N"],
    rows: Int[Tensor, " n"],
) -> DoseResponse:
    """Shift every row of a site along each direction, both ways, by each dose.

    Args:
        site: where.
        directions: (w, k) unit columns.
        doses: lengths in units of the site's scale, so that a dose means the same at every site.
        labels: (N,) the right output of every input.
        rows: the inputs that count.
    """
    labels = labels[rows]
    with torch.no_grad():
        before = site.run(site.values)[rows]
    found: list[list[tuple[float, float, float, float]]] = []
    for direction in directions.T:
        slope = first_order(site, shifted(direction, site.scale))[rows]
        for sign in (1.0, -1.0):
            found.append([])
            for dose in doses:
                with torch.no_grad():
                    after = site.run(shifted(direction, sign * dose * site.scale)(site.values))[rows]
                told = before + sign * dose * slope
                right = 100 * float((after.argmax(dim=1) == labels).double().mean())
                nearby = (relative_change(before, after), relative_change(before, told))
                found[-1].append((*nearby, relative_change(before, before + after - told), right))
    table = torch.tensor(found, dtype=torch.float64)  # (2 k, D, 4)
    change, predicted, unpredicted = table[..., :3].square().mean(dim=0).sqrt().unbind(dim=1)
    return DoseResponse(
        torch.tensor(doses, dtype=torch.float64), change, predicted, unpredicted, table[..., 3].mean(dim=0)
    )


def first_order(site: Site, edit: Edit) -> Float[Tensor, "N C"]:
    """J (z' - z): what the Jacobian of the outputs at the site says that an edit z -> z' adds to them.

    By forward mode; where an operation has none, as the derivative in c of <J^T c, z' - z>, which is linear in c.
    """
    step = (edit(site.values) - site.values).detach()
    with torch.enable_grad(), without_advice(), plain_attention():
        try:
            with forward_mode():
                predicted: Tensor = torch.func.jvp(site.run, (site.values,), (step,))[1]
        except (RuntimeError, NotImplementedError):
            predicted = _reverse_twice(site, step)
    return predicted.detach()


def _reverse_twice(site: Site, step: Tensor) -> Tensor:
    values = site.values.detach().requires_grad_()
    outputs = site.run(values)
    c = torch.zeros_like(outputs, requires_grad=True)
    (pulled,) = torch.autograd.grad(outputs, values, c, create_graph=True)
    (pushed,) = torch.autograd.grad(pulled, c, step)
    return pushed
