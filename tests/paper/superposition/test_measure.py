import re

import pytest
import torch
from pydantic import ValidationError

from tangentlens.config import parse_config
from tangentlens.errors import InvalidInputError
from tangentlens.kernels import entk
from tangentlens.kernels.outputs import full
from tangentlens.paper.superposition.config import Config, tau_name
from tangentlens.paper.superposition.data import sparse_inputs
from tangentlens.paper.superposition.measure import measure
from tangentlens.paper.superposition.network import SuperpositionNetwork, geometric_importance
from tangentlens.pipeline import run
from tangentlens.records import Measurement

SMALL = {
    "seeds": [0],
    "regimes": [
        {"name": "narrow", "hidden": 2, "sparsity": 0.5},
        {"name": "wide", "hidden": 5, "sparsity": 0.5},
    ],
    "data": {"features": 6, "examples": 20},
    "training": {"steps": 400, "learning_rate": 0.02, "measure_every": 150},
    "kernel": {"modes": 9, "taus": [1.0, 0.33]},
}


@pytest.fixture(scope="module")
def found() -> Measurement:
    return measure(Config.model_validate(SMALL), seed=1)


def test_the_modes_are_those_of_the_rescaled_kernel_written_out(found: Measurement) -> None:
    """The untrained network's recovery, from J by the oracle and a dense eigendecomposition."""
    generator = torch.Generator().manual_seed(1)
    x = sparse_inputs(20, 6, 0.5, generator=generator).double()
    model = SuperpositionNetwork(6, 2, generator=generator).double()
    scale = geometric_importance(6).double() ** (0.33 / 2)
    oracle = entk(model, x, outputs="full", groups="all", method="dense").total.dense()
    rescaled = oracle * scale.repeat(20)[:, None] * scale.repeat(20)[None, :]
    torch.testing.assert_close(entk(model, x, outputs=full(scale), groups="all").total.dense(), rescaled)
    modes = torch.linalg.eigh(rescaled).eigenvectors[:, -6:].unflatten(0, (20, 6))
    recovery = torch.einsum("iam,ia->am", modes, x / x.norm(dim=0)).square().sum(dim=1)
    torch.testing.assert_close(found.arrays["recovery.untrained.narrow.tau033"], recovery, rtol=1e-5, atol=1e-7)


def test_figures_follow_from_the_arrays(found: Measurement) -> None:
    arrays, figures = found.arrays, found.figures
    assert figures.keys() == found.units.keys()
    for regime in ("narrow", "wide"):
        kept = arrays[f"represented.{regime}"] >= 0.75
        assert figures[f"{regime}.represented.count"] == int(kept.sum())
        for tau in ("tau100", "tau033"):
            key = f"{regime}.{tau}"
            recovery, heatmap = arrays[f"recovery.{key}"], arrays[f"heatmap.{key}"]
            assert heatmap.shape == (9, 6)
            torch.testing.assert_close(heatmap[:6].double().square().sum(dim=0), recovery, rtol=1e-5, atol=1e-7)
            assert figures[f"{key}.recovered.count"] == int((recovery >= 0.5).sum())
            assert bool(((recovery >= 0) & (recovery <= 1 + 1e-9)).all())
    assert arrays["step"].tolist() == [0, 150, 300, 400]
    assert bool((arrays["loss.narrow"][-1] < arrays["loss.narrow"][0]).all())


def test_the_seed_decides_everything(found: Measurement) -> None:
    again = measure(Config.model_validate(SMALL), seed=1)
    for name in found.arrays:
        torch.testing.assert_close(again.arrays[name], found.arrays[name], rtol=0, atol=0)


def test_inconsistent_configs_are_refused() -> None:
    assert [tau_name(tau) for tau in (1.0, 0.33)] == ["tau100", "tau033"]
    twice = [SMALL["regimes"][0], SMALL["regimes"][0]]  # type: ignore[index]
    for change in ({"regimes": twice}, {"kernel": {"modes": 5}}, {"kernel": {"modes": 9, "taus": [0.33, 0.331]}}):
        with pytest.raises(ValidationError):
            Config.model_validate({**SMALL, **change})
    with pytest.raises(InvalidInputError, match="same name"):
        parse_config('setting = "superposition"\n' + 2 * '[[regimes]]\nname = "a"\nhidden = 2\nsparsity = 0.5\n')


def test_the_report_tells_the_counts(tmp_path) -> None:  # type: ignore[no-untyped-def]
    page = (run(Config.model_validate(SMALL), tmp_path / "run") / "report.html").read_text()
    assert "Toy models of superposition" in page
    section = page[page.index('<section id="recovery"') :]
    assert re.search(r"Narrow, τ = 1: \d features represented, \d recovered \(\d before training\)", section)
    assert "Not shown" not in section.split("<section", 2)[1]
