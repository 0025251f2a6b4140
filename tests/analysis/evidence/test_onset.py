import math

import pytest
import torch

from tangentlens.analysis.evidence.onset import lead_figures, time_of_share
from tangentlens.analysis.evidence.trained_network import Curves


def sigmoid(epochs, middle, width=10.0):
    return torch.sigmoid((epochs.double() - middle) / width)


def test_leads_and_distances_come_out_as_put_in():
    epochs = torch.arange(0, 501, 10)
    accuracy, overlap = sigmoid(epochs, 200), 5 + 90 * sigmoid(epochs, 170)
    loss = 2 - sigmoid(epochs, 185)
    nulls = torch.stack([sigmoid(epochs, 300), sigmoid(epochs, 100)], dim=1).float()
    curves = Curves(epochs, accuracy, loss, overlap, nulls, threshold=0.5)
    found = {key: value for key, (value, _) in lead_figures(curves).items()}
    assert found["dynamics.onset_peak_distance"] == pytest.approx(30, abs=0.5)
    assert found["null.random_features.onset_peak_distance"] == pytest.approx(100, abs=0.5)
    assert found["dynamics.lead.half"] == pytest.approx(30, abs=0.5)
    assert found["dynamics.lead.early"] == pytest.approx(30, abs=1)
    assert found["dynamics.lead_over_loss.half"] == pytest.approx(15, abs=0.5)


def test_curves_without_such_a_time_have_none():
    epochs = torch.arange(5)
    flat, nulls = torch.zeros(5), torch.zeros(5, 2)
    found = lead_figures(Curves(epochs, flat, flat, flat, nulls, threshold=0.5))
    assert all(math.isnan(value) for value, _ in found.values())
    assert time_of_share(epochs, torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0]), 0.5) == 2.0
