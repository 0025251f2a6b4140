import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tangentlens.analysis.evidence.linearised import compare, compare_linearised, ridge_predictions
from tangentlens.errors import InvalidInputError, NumericalError

TRAIN, TEST = torch.arange(0, 20), torch.arange(20, 30)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one_hot(seed: int, classes: int = 3) -> Tensor:
    rows = torch.randint(0, classes, (30,), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(rows, classes).double()


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), ridge=st.floats(1e-3, 10.0), scale=st.floats(1e-3, 1e3))
def test_kernel_ridge_is_ridge_regression_on_the_features(seed: int, ridge: float, scale: float) -> None:
    phi, y = scale * normal(30, 6, seed=seed), normal(30, 3, seed=seed + 1)
    predicted = ridge_predictions(phi @ phi.T, y[TRAIN], TRAIN, TEST, ridge)
    strength = ridge * phi[TRAIN].square().sum(dim=1).mean()
    weights = torch.linalg.solve(
        phi[TRAIN].T @ phi[TRAIN] + strength * torch.eye(6, dtype=torch.float64), phi[TRAIN].T @ y[TRAIN]
    )
    assert torch.allclose(predicted, phi[TEST] @ weights, rtol=1e-6, atol=1e-9)


def test_a_model_that_fits_the_train_rows_is_left_as_it_is() -> None:
    K, y, f = normal(30, 30, seed=0), one_hot(1), normal(30, 3, seed=2)
    f[TRAIN] = y[TRAIN]
    trained, zero = compare_linearised(K @ K.T, f, y, TRAIN, TEST)
    assert (trained.r2, trained.loss_ratio, trained.accuracy_gap) == (1.0, 1.0, 0.0)
    assert zero.r2 < 1


def test_a_model_that_is_linear_is_reached_from_zero() -> None:
    """Targets linear in the features: the fit around zero is the model, whose own errors are tiny noise."""
    phi = normal(30, 4, seed=3)
    y = phi @ normal(4, 3, seed=4)
    f = y + 1e-3 * normal(30, 3, seed=5)
    trained, zero = compare_linearised(phi @ phi.T, f, y, TRAIN, TEST, ridge=1e-10)
    assert zero.r2 == pytest.approx(1, abs=1e-4)
    assert zero.loss_ratio < 1e-6
    assert trained.r2 == pytest.approx(1, abs=1e-4)


def test_the_definitions_on_numbers_worked_by_hand() -> None:
    outputs = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    predictions = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    found = compare(predictions, outputs, targets)
    assert found.r2 == pytest.approx(1 - 2 / 1)
    assert found.loss_ratio == pytest.approx(4 / 2)
    assert found.accuracy_gap == pytest.approx(50)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"kernel": torch.ones(30, 29)}, InvalidInputError),
        ({"outputs": torch.ones(30, 2)}, InvalidInputError),
        ({"test": torch.arange(19, 30)}, InvalidInputError),
        ({"test": torch.arange(0)}, InvalidInputError),
        ({"ridge": -1.0}, InvalidInputError),
        ({"targets": torch.full((30, 3), float("nan"))}, NumericalError),
        ({"kernel": -torch.eye(30)}, NumericalError),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Tensor | float], error: type[Exception]) -> None:
    good = {"kernel": torch.eye(30), "outputs": torch.ones(30, 3), "targets": one_hot(0), "train": TRAIN, "test": TEST}
    with pytest.raises(error):
        compare_linearised(**{**good, **change})
