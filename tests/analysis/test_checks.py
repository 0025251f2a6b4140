"""The checks pass for a sound model and fail for the fault that each is about."""

import pytest
import torch
from torch import nn

from tangentlens.analysis.arguments.fingerprint import fingerprint
from tangentlens.analysis.case import Options, prepare
from tangentlens.analysis.checks_table import adjointness, checks
from tangentlens.analysis.modes.kernel_modes import kernel_modes
from tangentlens.analysis.subject import Subject
from tangentlens.progress import silent

AUTOGRAD, SECOND, ALONE, TWICE, ADJOINT, FOUND = (
    "kernel entries against automatic differentiation",
    "outputs of a second call",
    "outputs of a few examples alone",
    "kernel of a few examples, computed twice",
    "adjointness of J and J^T",
    "the model is left as found",
)


class Drifting(nn.Module):
    """Adds a little to its outputs at every call once asked to."""

    def __init__(self):
        super().__init__()
        self.linear, self.drift = nn.Linear(3, 2), [0.0, 0.0]

    def forward(self, x):
        self.drift[0] += self.drift[1]
        return self.linear(x) + self.drift[0]


def build(module):
    torch.manual_seed(0)
    net = module().double().eval()
    return prepare(Subject(net, torch.randn(20, 3).double()), Options(modes=4))


def table(case, kernels=None):
    found = checks(case, kernels or kernel_modes(case.model, case.inputs, case.kernel), silent)
    names = found.words["table.checks.check"]
    parts = {name: found.arrays[f"table.checks.{name}"].tolist() for name in ("value", "limit", "passed")}
    return {name: tuple(parts[part][i] for part in parts) for i, name in enumerate(names)}, found.notes


def mlp():
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2))


def test_a_sound_model_passes_every_check():
    found, notes = table(build(mlp))
    assert set(found) == {AUTOGRAD, SECOND, ALONE, TWICE, ADJOINT, FOUND}
    assert all(passed for _, _, passed in found.values())
    assert all(value <= limit for value, limit, _ in found.values())
    assert notes == ()


def test_outputs_that_drift_fail_and_are_named():
    case = build(Drifting)
    kernels = kernel_modes(case.model, case.inputs, case.kernel)
    case.model.drift[1] = 1e-3
    found, notes = table(case, kernels)
    assert not found[SECOND][2]
    assert any(SECOND in note for note in notes)


@pytest.mark.parametrize("what", ["parameter", "buffer", "mode", "hook", "flag", "gradient"])
def test_whatever_changes_the_model_is_seen(what):
    case = build(mlp)
    net = case.model
    kernels = kernel_modes(net, case.inputs, case.kernel)
    assert fingerprint(net) == case.fingerprint
    if what == "parameter":
        with torch.no_grad():
            net[0].bias[1] += 1e-15
    elif what == "buffer":
        net[1].num_batches_tracked += 1
    elif what == "mode":
        net[2].train()
    elif what == "hook":
        net[2].register_forward_hook(lambda *_: None)
    elif what == "flag":
        net[3].bias.requires_grad_(False)
    else:
        net[0].bias.grad = torch.zeros(5).double()
    assert table(case, kernels)[0][FOUND][2] == 0


def test_adjointness_is_measured_between_forward_and_reverse():
    check = adjointness(build(mlp))
    assert check.passed
    assert check.value < 1e-12
