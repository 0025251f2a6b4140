"""Gradients at a use, one example after another, and what they show of the layout."""

import torch
from torch import nn

from tangentlens.kernels.tracing.probing import probe
from tangentlens.kernels.tracing.recording import record_uses
from tangentlens.models.functional import functional_model

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
COTANGENTS = torch.randn(4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def probed(after):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2, bias=False, dtype=torch.float64)

        def forward(self, x):
            return after(self.layer(x))

    model = functional_model(Model())
    recording = record_uses(model, X, model.trainable, lambda *_: True, keep_results=True)
    pilot = probe(recording, (0, 1, 2, 3), COTANGENTS, [0])
    (expected,) = torch.autograd.grad(
        (recording.output * COTANGENTS).sum(), [recording.uses[0].edge], retain_graph=True
    )
    return pilot, expected


def test_gradients_of_the_examples_add_up_and_stay_on_their_rows():
    pilot, expected = probed(torch.tanh)
    torch.testing.assert_close(pilot.gradients[0], expected)
    assert pilot.evidence[0].support.equal(torch.eye(4, dtype=torch.bool))
    assert not pilot.evidence[0].shared


def test_influence_between_examples_is_shared():
    pilot, expected = probed(lambda y: y - y.mean(0))
    torch.testing.assert_close(pilot.gradients[0], expected)
    assert pilot.evidence[0].shared
    assert bool(pilot.evidence[0].support.all())


def test_an_undefined_gradient_is_no_evidence():
    pilot, _ = probed(lambda y: (y - y).norm(dim=1, keepdim=True).sqrt() + y)
    assert pilot.evidence == (None,)


def test_no_growing_axis_is_no_evidence():
    pilot, _ = probed(torch.tanh)
    assert probe(pilot.recording, pilot.rows, COTANGENTS, [None]).evidence == (None,)
