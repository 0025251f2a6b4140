import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from tangentlens.alignment.overlap import subspace_overlap
from tangentlens.features.fourier import superpose
from tangentlens.paper import SETTINGS
from tangentlens.paper.modular_addition.data import token_inputs, train_test_split
from tangentlens.paper.stacked_training import StackedTraining
from tangentlens.paper.transformer.config import Config
from tangentlens.paper.transformer.measure import measure
from tangentlens.paper.transformer.network import OneLayerTransformer
from tangentlens.paper.transformer.subject import LAYER_FAMILIES
from tangentlens.paper.transformer.training import held_by, train_together, trained_seed
from tangentlens.pipeline import run
from tangentlens.store import open_run

# So small that it learns nothing; a low bar lets the paths of a learned network run all the same.
SMALL = {
    "seeds": [0, 3],
    "data": {"p": 7},
    "model": {"d_model": 8, "heads": 2, "d_mlp": 16},
    "training": {
        "epochs": 20, "max_epochs": 40, "measure_every": 5, "hold_epochs": 10, "hold_accuracy": 1e-9, "batch_size": 8,
    },
    "analysis": {"modes": 13, "tracked_modes": 3, "sum_wave_share": 1e-4},
}  # fmt: skip


def small(**training: object) -> Config:
    return Config.model_validate({**SMALL, "training": {**SMALL["training"], **training}})  # type: ignore[dict-item]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_together(small(), tmp_path_factory.mktemp("shared"))


def test_seeds_train_together_as_alone_and_stop_by_the_rule(shared: Path, tmp_path: Path) -> None:
    alone = train_together(small().model_copy(update={"seeds": (3,)}), tmp_path)
    for one, two in zip(trained_seed(alone, 3).states(), trained_seed(shared, 3).states(), strict=True):
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)
    assert trained_seed(shared, 3).epochs.tolist() == [0, 5, 10, 15, 20]
    never = train_together(small(hold_accuracy=1.0), tmp_path / "never")
    assert trained_seed(never, 0).epochs[-1] == 40


def test_training_that_is_there_is_not_repeated(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StackedTraining, "run_epoch", lambda _: pytest.fail("trained again"))
    assert train_together(small(), shared) == shared


def test_the_seed_draws_the_split_then_the_weights(shared: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    train_test_split(49, 0.5, generator)
    model = OneLayerTransformer(7, 8, 2, 16, generator=generator)
    first = next(trained_seed(shared, 3).states())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(first[name], value, rtol=0, atol=0)


def test_held_means_at_every_checkpoint_of_the_last_epochs() -> None:
    curves = torch.zeros(9, 5, dtype=torch.float64)
    curves[:, 0], curves[:, 4] = torch.arange(0, 45, 5), torch.tensor([0, 1, 1, 1, 0, 1, 1, 1, 1]).double()
    config = small(hold_accuracy=0.99)
    assert [epoch for epoch in range(0, 45, 5) if held_by(curves, epoch, config)] == [15, 35, 40]


def test_figures_are_those_of_the_kernel_written_out(shared: Path) -> None:
    """The unembedding's mean kernel is R R^T / C, R the residual stream at the last position, C the outputs."""
    found = measure(small(), 3, prepared=shared)
    assert found.figures.keys() == found.units.keys()
    model = OneLayerTransformer(7, 8, 2, 16, generator=torch.Generator())
    model.load_state_dict({k: found.arrays[f"parameter.{k}"] for k in model.state_dict()})
    with torch.no_grad():
        R = model.residual(token_inputs(7)).double()
    values, vectors = torch.linalg.eigh(R @ R.T / 8)
    torch.testing.assert_close(
        found.arrays["spectrum.group.W_U"],
        values.flip(0)[: len(found.arrays["spectrum.group.W_U"])],
        rtol=1e-4,
        atol=1e-6,
    )
    keys = found.arrays["frequencies.kernel"].tolist()
    assert keys
    leading = vectors.flip(1)[:, : 2 * len(keys) + 1]
    expected = subspace_overlap(leading, superpose("sum", LAYER_FAMILIES["sum"], 7, keys).matrix).percent
    assert found.figures["overlap.unembed.sum.percent"] == pytest.approx(expected, abs=1e-2)
    assert float(found.arrays["overlap.sum"][-1]) == pytest.approx(expected, abs=1e-2)
    assert len([key for key in found.figures if key.startswith("overlap.group.W_")]) == 9 * 8
    assert found.arrays["tracks.values"].shape == (5, 3)
    modes = max(3, 4 * len(keys) + 1)
    for name in ("sum", "axis_sum"):
        film = found.arrays[f"film.{name}"]
        assert film.shape == (5, modes, 3)
        assert film.dtype == torch.uint8
    held = found.arrays["film.sum"][-1, : 2 * len(keys) + 1, [k - 1 for k in keys]].double().sum() / (2 * len(keys))
    assert float(held) == pytest.approx(expected, abs=0.5 * (2 * len(keys) + 1) / 2 + 0.1)
    torch.testing.assert_close(
        found.arrays["tracks.values"][-1], found.arrays["spectrum.group.W_U"][:3], rtol=1e-5, atol=1e-8
    )


def test_a_network_that_has_not_learned_has_no_overlap(tmp_path: Path) -> None:
    config = small(hold_accuracy=1.0, max_epochs=20).model_copy(update={"seeds": (0,)})
    found = measure(config, 0, prepared=train_together(config, tmp_path))
    assert found.figures["learned.share"] == 0
    assert math.isnan(found.figures["overlap.unembed.sum.percent"])
    assert any("not learned" in note for note in found.notes)


def test_a_run_resumes_with_the_training_it_has_and_leaves_no_checkpoints(tmp_path: Path) -> None:
    setting = SETTINGS["transformer"]

    def interrupted(*_: object, prepared: Path) -> None:
        assert prepared.is_dir()
        raise KeyboardInterrupt

    broken = {"transformer": setting._replace(measure=interrupted)}
    with pytest.raises(KeyboardInterrupt):
        run(small(), tmp_path / "run", settings=broken)
    trained = sorted((tmp_path / "run.partial" / "shared").rglob("run.safetensors"))
    times = [path.stat().st_mtime_ns for path in trained]
    assert len(trained) == 2

    def watched(config: Config, folder: Path, _: object) -> Path:
        train_together(config, folder)
        assert [path.stat().st_mtime_ns for path in trained] == times
        return folder

    folder = run(small(), tmp_path / "run", resume=True, settings={"transformer": setting._replace(prepare=watched)})
    assert not (folder / "shared").exists()
    page = (folder / "report.html").read_text()
    assert "A one-layer Transformer on modular addition" in page
    assert "The unembedding&#39;s leading modes" in page
    assert open_run(folder).figures["frequencies.agree"].n == 2


def test_inconsistent_configs_are_refused() -> None:
    for change in ({"training": {"max_epochs": 20}}, {"analysis": {"modes": 5}}, {"model": {"d_model": 9, "heads": 2}}):
        with pytest.raises(ValidationError):
            Config.model_validate(change)
