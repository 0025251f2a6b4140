"""A feature read from the last site, for features that the outputs do not hold themselves."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tangentlens.analysis.arguments.features import Feature
from tangentlens.analysis.case import Case
from tangentlens.analysis.interventions.intervention_places import Rows, last_site, site_at
from tangentlens.controls.interventions.effects import amplitude_kept
from tangentlens.models.inputs import take
from tangentlens.models.sites import Site, input_site, leaving, parameter_site

_PENALTY = 1e-2  # of the ridge, in units of the mean eigenvalue of the values' Gram matrix


class UpTo(nn.Module):
    """A model that ends at one of its modules: returns what leaves it, one row for each input."""

    def __init__(self, model: nn.Module, module: str) -> None:
        super().__init__()
        self.model, self.last, self.training = model, module, model.training

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """What leaves the module."""
        seen: list[Tensor] = []
        target = self.model.get_submodule(self.last)
        handle = target.register_forward_hook(lambda _module, _arguments, returned: seen.append(returned.flatten(1)))
        try:
            self.model(*args, **kwargs)
        finally:
            handle.remove()
        return seen[0]


class Readout:
    """Linear readouts of features at the last site, fitted on the choosing rows, applied after interventions elsewhere.

    Args:
        case: with at least one site that is the name of a module.
        rows: of the halves.
        bases: feature -> centred orthonormal basis on the scoring rows.
    """

    def __init__(self, case: Case, rows: Rows, bases: Mapping[str, Float[Tensor, "n r"]]) -> None:
        self._case, self._rows, self._bases = case, rows, bases
        self._fitted: dict[str, Callable[[Tensor], Tensor]] = {}
        self._sites: dict[str, Site] = {}
        names = [] if isinstance(case.subject.sites, Mapping) else [name for name in case.sites if name != "inputs"]
        self._last = last_site(case) if names else ""

    def kept(self, feature: Feature, place: str, values: Tensor) -> float:
        """Percent of the readout's amplitude that is left with other values at a place; NaN where it reads nothing."""
        if not self._last or not self._bases[feature.name].shape[1]:
            return float("nan")
        if place not in self._sites:
            self._sites = {place: self._site(place)}
        site = self._sites[place]
        with torch.no_grad():
            before, after = site.run(site.values), site.run(values)
        read = self._reader(feature)
        return amplitude_kept(read(before), read(after), self._bases[feature.name])

    def _site(self, place: str) -> Site:
        """A place of the model that ends at the last site."""
        model, inputs = UpTo(self._case.model, self._last), take(self._case.inputs, self._rows.scoring)
        if place == "parameters":
            return parameter_site(model, inputs)
        if place == "inputs":
            return input_site(model, inputs[0] if isinstance(inputs, tuple) else inputs)  # type: ignore[arg-type]
        return leaving(model, inputs, f"model.{place}")

    def _reader(self, feature: Feature) -> Callable[[Tensor], Tensor]:
        if feature.name not in self._fitted:
            rows = self._rows.choosing[feature.present[self._rows.choosing]]
            self._fitted[feature.name] = ridge(site_at(self._case, self._last, rows).values, feature.values[rows])
        return self._fitted[feature.name]


def ridge(values: Float[Tensor, "n w"], targets: Float[Tensor, "n r"]) -> Callable[[Tensor], Tensor]:
    """Linear regression of centred targets on centred values with a small penalty, as a function of other values."""
    around = values.mean(dim=0).to(torch.float64).cpu()
    Z, F = values.to(torch.float64).cpu() - around, targets - targets.mean(dim=0)
    G = Z @ Z.T
    penalty = _PENALTY * float(G.diagonal().mean()) + 1e-300
    weights = Z.T @ torch.linalg.solve(G + penalty * torch.eye(len(G), dtype=torch.float64), F)

    def read(other: Tensor) -> Tensor:
        predicted: Tensor = (other.detach().to(torch.float64).cpu() - around) @ weights
        return predicted

    return read
