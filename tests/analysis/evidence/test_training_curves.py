"""Curves along training equal what each checkpoint gives alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tangentlens.alignment.overlap import centred_basis, subspace_overlap
from tangentlens.analysis.evidence.film import film_features, film_frame
from tangentlens.analysis.evidence.training_curves import ModeCurves, SpectrumCurves, accuracy_figures, training_arrays
from tangentlens.eigen import top_eigenpairs
from tangentlens.features.fourier import fourier_family
from tangentlens.operators import DenseOperator
from tangentlens.statistics.subspace_nulls import random_feature_spaces

P = 5
PICTURES = film_features({"sum": (fourier_family("sum", P),)})


def modes(k: int, seed: int) -> Tensor:
    return torch.linalg.qr(torch.randn(P * P, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).Q


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**16), checkpoints=st.integers(2, 5))
def test_every_checkpoint_is_recorded_as_it_is_alone(seed: int, checkpoints: int) -> None:
    features = {name: fourier_family(name, P).matrix for name in ("sum", "difference")}
    spaces = random_feature_spaces(P * P, 4, 3, torch.Generator().manual_seed(seed))
    curves = ModeCurves({name: centred_basis(each) for name, each in features.items()}, spaces, PICTURES)
    vectors = [modes(9, seed + step) for step in range(checkpoints)]
    epochs = torch.arange(checkpoints) * 10
    for each in vectors:
        found = curves.record({"sum": each[:, :4], "difference": each[:, 4:8]}, each)
        assert found["sum"].percent == pytest.approx(subspace_overlap(each[:, :4], features["sum"]).percent)
    arrays = curves.arrays(epochs)
    for name, block in (("sum", slice(0, 4)), ("difference", slice(4, 8))):
        alone = [subspace_overlap(each[:, block], features[name]).percent for each in vectors]
        torch.testing.assert_close(arrays[f"overlap.{name}"], torch.tensor(alone, dtype=torch.float64))
    (growth,) = torch.gradient(arrays["overlap.sum"], spacing=(epochs.double(),))
    torch.testing.assert_close(arrays["overlap.sum.derivative"], growth)
    inside = [[100 * (each[:, :4].T @ space).square().sum() / 4 for space in spaces] for each in vectors]
    torch.testing.assert_close(arrays["overlap.null"], torch.tensor(inside, dtype=torch.float32))
    assert torch.equal(arrays["film.sum"], torch.stack([film_frame(each, PICTURES)["sum"] for each in vectors]))


def test_costs_add_up_and_the_worst_residual_of_all_checkpoints_counts() -> None:
    recorder, found = SpectrumCurves(), []
    for step in range(3):
        root = torch.randn(12, 12, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        found.append(top_eigenpairs(DenseOperator(root @ root.T), k=4))
        recorder.record(found[-1], 1.0, 0.5 * step)
    figures = recorder.figures()
    assert figures["kernel.seconds"] == (3.0, "seconds")
    assert figures["eigen.seconds"] == (1.5, "seconds")
    assert figures["eigenpairs.worst_residual"] == (max(float(pairs.residuals.max()) for pairs in found), "ratio")
    assert torch.equal(recorder.arrays()["spectrum.total"], torch.stack([pairs.values for pairs in found]))
    assert recorder.converged == [True] * 3


def test_rows_come_apart_into_named_curves() -> None:
    rows = torch.tensor([[0, 2.0, 0.25, 3.0, 0.125], [10, 0.5, 1.0, 0.75, 0.5]], dtype=torch.float64)
    arrays = training_arrays(rows)
    assert arrays["epoch"].dtype == torch.int64
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "epoch": [0, 10],
        "train.loss": [2.0, 0.5],
        "train.accuracy": [0.25, 1.0],
        "test.loss": [3.0, 0.75],
        "test.accuracy": [0.125, 0.5],
    }
    assert accuracy_figures(rows) == {
        "train.accuracy.final": (100.0, "percent"),
        "test.accuracy.final": (50.0, "percent"),
    }
