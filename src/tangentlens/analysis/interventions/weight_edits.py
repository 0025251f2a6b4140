"""Single weight matrices edited along J^T u, at equal norm beside random directions of the same matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.analysis.case import Case
from tangentlens.analysis.interventions.intervention_places import Rows
from tangentlens.analysis.interventions.mode_blocks import best_feature
from tangentlens.analysis.interventions.trials import LEAST_OF_CONTROLS, Meter, Trial
from tangentlens.analysis.modes.kernel_modes import GroupModes
from tangentlens.controls.interventions.directions import parameter_directions
from tangentlens.controls.interventions.matched import Runs, vectorised
from tangentlens.features.functions import random_functions
from tangentlens.models.functional import functional_model
from tangentlens.models.inputs import take
from tangentlens.models.sites import Site, parameter_site

DOSES = (0.1, 0.3)  # of the matrix's Frobenius norm
_MODES = 2
_MATRICES = 8
_FUNCTIONS = 4  # random functions through the same map
_CONTROLS = "random directions of this matrix"


def weight_edits(case: Case, modes: GroupModes, rows: Rows, meter: Meter, controls: int) -> list[Trial]:
    """A trial for each weight matrix, leading mode and dose, both signs averaged.

    Its controls are random directions of the same matrix; `random_functions` is the mean effect of random functions
    carried by J^T into it.
    """
    inputs, output = take(case.inputs, rows.choosing), case.subject.output
    leading = modes.vectors[rows.choosing][:, :_MODES].to(torch.float64)
    generator = case.generator("weight edits")
    own = parameter_directions(case.model, inputs, leading, output=output)
    functions = random_functions(len(leading), min(_FUNCTIONS, len(leading) - 1), generator)
    others = parameter_directions(case.model, inputs, functions, output=output)
    site = parameter_site(case.model, take(case.inputs, rows.scoring), output=output)
    run = vectorised(site)
    features = [best_feature(modes, (mode,), case.features.features, case.halves) for mode in range(own.shape[1])]
    found: list[Trial] = []
    for name, part in matrices(case).items():
        matrix = _Matrix(site, meter, part, run)
        random = torch.randn(controls, part.stop - part.start, generator=generator, dtype=torch.float64)
        for dose in DOSES:
            drawn = matrix.costs_of(list(random), dose)
            through = matrix.costs_of([each[part] for each in others.T], dose)
            for mode, feature in enumerate(features):
                if float(own[part, mode].norm()) > 0:
                    labels = {"parameter": name, "what": f"mode {mode}", "feature": feature}
                    found.append(matrix.trial(own[part, mode], dose, labels, drawn, float(through.mean())))
    return found


def matrices(case: Case) -> dict[str, slice]:
    """The weight matrices by name, at most 8 spread over the network, each with its place among all parameters."""
    trainable = functional_model(case.model, case.subject.output).trainable
    found: dict[str, slice] = {}
    start = 0
    for name, value in trainable.items():
        if value.ndim >= 2 and float(value.detach().norm()) > 0:
            found[name] = slice(start, start + value.numel())
        start += value.numel()
    names = list(found)
    if len(names) > _MATRICES:
        names = [names[round(i * (len(names) - 1) / (_MATRICES - 1))] for i in range(_MATRICES)]
    return {name: found[name] for name in names}


@dataclass(frozen=True)
class _Matrix:
    """One weight matrix: the parameters, what outputs cost, the matrix's place, and passes."""

    site: Site
    meter: Meter
    part: slice
    run: Runs

    def after(self, directions: Sequence[Float[Tensor, " p"]], dose: float) -> list[Tensor]:
        """Outputs with dose * ||W|| added to the matrix along each direction, both ways, one after the other."""
        edited: list[Tensor] = []
        for direction in directions:
            unit = (direction / direction.norm().clamp_min(1e-300)).to(self.site.values)
            for sign in (1.0, -1.0):
                values = self.site.values.clone()
                values[0, self.part] += sign * dose * self.site.values[0, self.part].norm() * unit
                edited.append(values)
        return self.run(edited)

    def costs_of(self, directions: Sequence[Float[Tensor, " p"]], dose: float) -> Float[Tensor, "R n"]:
        """Costs of each direction, the mean over both ways."""
        outputs = self.after(directions, dose)
        found: Tensor = torch.stack([self.meter.costs(each) for each in outputs]).unflatten(0, (-1, 2)).mean(dim=1)
        return found

    def trial(self, direction: Tensor, dose: float, labels: Mapping[str, str], random: Tensor, through: float) -> Trial:
        """A direction beside the costs of random ones."""
        meter, outputs = self.meter, self.after([direction], dose)
        costs = torch.stack([meter.costs(each) for each in outputs]).mean(dim=0)
        numbers = {
            "dose": dose,
            "loss_change": meter.loss_change(costs),
            "accuracy_change": sum(meter.performance_change(each) for each in outputs) / 2,
            "output_change": (sum(meter.output_change(each) ** 2 for each in outputs) / 2) ** 0.5,
            "feature_kept": sum(meter.kept(labels["feature"], each) for each in outputs) / 2,
            "random_functions": through,
        }
        least = LEAST_OF_CONTROLS * abs(float(random.mean()))
        return Trial(labels, numbers, costs, random, None, least, _CONTROLS)
