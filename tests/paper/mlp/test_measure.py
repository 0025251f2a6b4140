import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tangentlens.config import read_config
from tangentlens.errors import NumericalError
from tangentlens.kernels import entk
from tangentlens.paper.experiments import find
from tangentlens.paper.mlp.config import Config
from tangentlens.paper.mlp.evidence import evidence
from tangentlens.paper.mlp.measure import measure
from tangentlens.paper.mlp.network import QuadraticMLP
from tangentlens.paper.modular_addition.data import one_hot_inputs
from tangentlens.records import Measurement


def config(**training: Any) -> Config:
    return Config.model_validate(
        {
            "data": {"p": 7},
            "model": {"width": 64},
            "training": {"epochs": 20, "measure_every": 5, "learning_rate": 0.05, "weight_decay": 0.01, **training},
        }
    )


def closed_form(model: QuadraticMLP, x: Tensor) -> dict[str, Tensor]:
    """Both layers' kernels, averaged over the diagonal of the outputs, by differentiating the formula by hand.

    With h = W1 x / sqrt(2 p): df_c / dW2[c, j] = h_j^2 / width, 0 in the other rows of W2, and
    df_c / dW1[j, :] = W2[c, j] 2 h_j x / (width sqrt(2 p)).
    """
    W1, W2 = model.hidden.weight.detach().double(), model.readout.weight.detach().double()
    p, width = model.p, model.width
    h = x @ W1.T / math.sqrt(2 * p)
    gate = 2 * h / (width * math.sqrt(2 * p))
    return {
        "hidden.weight": (x @ x.T) * (gate * W2.square().mean(dim=0) @ gate.T),
        "readout.weight": h.square() @ h.square().T / width**2,
    }


def test_the_kernel_is_the_one_found_by_hand() -> None:
    model, x = QuadraticMLP(7, 64, torch.Generator().manual_seed(0)).double(), one_hot_inputs(7, torch.float64)
    ntk = entk(model, x, outputs="trace", groups="parameter")
    expected = closed_form(model, x)
    assert set(ntk.groups) == set(expected)
    for name in ntk.groups:
        assert torch.allclose(ntk[name].dense(), expected[name], rtol=1e-12, atol=1e-14)


@pytest.fixture(scope="module")
def found() -> Measurement:
    return measure(config(), seed=3)


def test_arrays_and_figures_are_those_of_the_contract(found: Measurement) -> None:
    shapes = {name: tuple(array.shape) for name, array in found.arrays.items()}
    curves = ("epoch", "train.loss", "train.accuracy", "test.loss", "test.accuracy", "overlap.input", "overlap.sum")
    assert shapes == {
        **dict.fromkeys((*curves, "overlap.difference", "overlap.sum.derivative"), (5,)),
        **{f"heatmap.{family}": (3, 3) for family in ("n", "m", "sum", "difference", "2n", "2m")},
        **{f"spectrum.group.{group}.weight": (48,) for group in ("hidden", "readout")},
        **dict.fromkeys(("singular_values.sum", "singular_values.difference"), (6,)),
        **{f"film.{name}": (5, 25, 3) for name in ("input", "sum", "difference")},
        "spectrum.total": (5, 48),
        "cliffs": (len(found.arrays["cliffs"]),),
        "modes.rotated": (49, 24),
        "modes.frequency": (24,),
        "modes": (49, 48),
        "overlap.null": (5, 100),
        "parameter.hidden.weight": (64, 14),
        "parameter.readout.weight": (7, 64),
    }
    assert found.arrays["epoch"].tolist() == [0, 5, 10, 15, 20]
    assert found.arrays["modes.rotated"].dtype == torch.float32
    assert found.figures.keys() == found.units.keys()
    assert found.figures["eigenpairs.worst_residual"] < 1e-10


def test_heat_maps_add_up_to_the_overlaps(found: Measurement) -> None:
    """Every family has as many features at each frequency, so its overlap is the mean of its row."""
    for family in ("sum", "difference"):
        row = found.arrays[f"heatmap.{family}"][2]
        assert float(row.mean()) == pytest.approx(found.figures[f"overlap.{family}.percent"])
    rows = torch.stack([found.arrays["heatmap.n"][1], found.arrays["heatmap.m"][1]])
    assert float(rows.mean()) == pytest.approx(found.figures["overlap.first_cliff.percent"])


def test_the_last_frame_of_the_film_adds_up_to_the_overlaps(found: Measurement) -> None:
    """Modes of a block by frequency sum to the captured squares: twice (of the input four times) its heat map."""
    for name, block, features in (
        ("input", slice(1, 13), 4),
        ("sum", slice(13, 25), 2),
        ("difference", slice(13, 25), 2),
    ):
        captured = found.arrays[f"film.{name}"][-1, block].double().sum() / (features * 3)
        key = "first_cliff" if name == "input" else name
        assert float(captured) == pytest.approx(
            found.figures[f"overlap.{key}.percent"], abs=0.5 * 12 * 3 / (features * 3)
        )


def test_the_seed_decides_everything_and_nothing_global_is_touched(found: Measurement) -> None:
    heard: list[tuple[int, int]] = []
    before = torch.random.get_rng_state()
    again = measure(config(), seed=3, progress=lambda _, done, total: heard.append((done, total)))
    other = measure(config(), seed=4)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(found.arrays[name], again.arrays[name]) for name in found.arrays)
    assert not torch.equal(found.arrays["train.loss"], other.arrays["train.loss"])
    assert heard == [(done, 5) for done in range(6)]


def test_a_network_that_never_groks_has_no_onset_and_says_so() -> None:
    found = measure(config(learning_rate=1e-6), seed=0)
    assert math.isnan(found.figures["grokking.onset_epoch"])
    assert math.isnan(found.figures["grokking.onset_minus_peak_epochs"])
    assert any("no onset" in note for note in found.notes)


def test_divergence_is_an_error() -> None:
    with pytest.raises(NumericalError, match="epoch 5"):
        measure(config(optimiser="sgd", learning_rate=1e30), seed=0)


def test_the_papers_network_at_epoch_500() -> None:
    """One seed of the paper's setting, its kernel read at the end alone."""
    paper = Config()
    found = measure(paper.model_copy(update={"training": paper.training.model_copy(update={"measure_every": 500})}), 1)
    assert found.figures["test.accuracy.final"] == 100
    assert found.figures["overlap.first_cliff.percent"] >= 98
    assert found.figures["overlap.sum.percent"] >= 93
    assert found.figures["overlap.difference.percent"] >= 88
    assert found.arrays["cliffs"].tolist() == [0, 56, 112]
    assert (
        found.figures["overlap.group.hidden.weight.n.percent"] > found.figures["overlap.group.readout.weight.n.percent"]
    )
    assert found.figures["overlap.group.hidden.weight.sum.percent"] < 112 / 841 * 100  # less than by chance
    assert torch.equal(found.arrays["modes.frequency"], torch.arange(1, 15).repeat_interleave(4).repeat(2))


def test_the_experiment_is_the_default_config_and_expects_figures_that_exist(found: Measurement) -> None:
    experiment = find("mlp")
    assert read_config(experiment.config) == Config()
    assert experiment.expectations
    examined = evidence(config(), found)
    assert {row.key for row in experiment.expectations} <= found.figures.keys() | examined.figures.keys()
