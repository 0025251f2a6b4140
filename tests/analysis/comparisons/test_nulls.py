"""Null models equal what plain code gives, and one that lacks its need is left out with a note."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tangentlens.alignment.overlap import centred_basis
from tangentlens.analysis.case import Case, Options, prepare
from tangentlens.analysis.comparisons.nulls import nulls, permuted_inputs
from tangentlens.analysis.findings import Findings
from tangentlens.analysis.modes.kernel_modes import TOTAL, KernelModes, kernel_modes
from tangentlens.analysis.questions.scoring import choose, held_out
from tangentlens.analysis.subject import Subject
from tangentlens.progress import silent

N = 120


def network(seed: int) -> nn.Module:
    """An untrained network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2)).eval()


def fitted(model: nn.Module, X: torch.Tensor, y: torch.Tensor) -> nn.Module:
    """The model, trained for a few steps."""
    optimiser = torch.optim.Adam(model.parameters(), 2e-2)
    for _ in range(20):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(X), y).backward()
        optimiser.step()
    return model


def given() -> Subject:
    """A trained network with a feature of each kind."""
    g = torch.Generator().manual_seed(0)
    X = torch.randn(N, 6, generator=g)
    y = (X[:, 0] > 0).long()
    features = {"first": y.bool(), "second": X[:, 1], "plane": X[:, 2:4]}
    start = network(1)
    state = {name: value.clone() for name, value in start.state_dict().items()}
    return Subject(fitted(network(1), X, y).eval(), X, features, y, untrained=state)


@pytest.fixture(scope="module")
def case() -> Case:
    return prepare(given(), Options(modes=6))


@pytest.fixture(scope="module")
def kernels(case: Case) -> KernelModes:
    return kernel_modes(case.model, case.inputs, case.kernel, check=False)


def scores(found: Findings) -> dict[tuple[str, str], tuple[float, float]]:
    """(feature, null) -> score and share."""
    names, kinds = found.words["table.nulls.feature"], found.words["table.nulls.null"]
    score, share = found.arrays["table.nulls.score"].tolist(), found.arrays["table.nulls.share"].tolist()
    return dict(zip(zip(names, kinds, strict=True), zip(score, share, strict=True), strict=True))


def by_hand(case: Case, model: nn.Module, X: torch.Tensor, name: str) -> tuple[float, float]:
    """Score and share of a feature in the kernel of another network or of other inputs."""
    modes = kernel_modes(model, X, case.kernel, check=False).groups[TOTAL]
    feature = case.by_name[name]
    V = modes.vectors - modes.vectors.mean(dim=0)
    M = V @ torch.diag(modes.values) @ V.T
    F = centred_basis(feature.values)
    share = 100 * float((F.T @ M @ F).trace() / M.trace())
    return held_out(modes.vectors, feature, choose(modes.vectors, feature, case.halves), case.halves), share


def test_the_network_and_retrained_ones_score_as_by_hand(case: Case, kernels: KernelModes) -> None:
    other = network(7)
    changed = replace(case.subject, retrained={"another": other.state_dict()})
    found = scores(nulls(prepare(changed, case.options), kernels, silent))
    for name in ("first", "second"):
        for null, model in (("none", case.model), ("another", other)):
            assert found[name, null] == pytest.approx(by_hand(case, model, case.inputs, name), rel=1e-5, abs=1e-6)


def test_permuted_labels_train_the_initial_network_on_the_same_targets_in_another_order(
    case: Case, kernels: KernelModes
) -> None:
    seen = []

    def train(model: nn.Module, X: torch.Tensor, y: torch.Tensor) -> nn.Module:
        seen.append((model.state_dict()["0.weight"].clone(), y.clone()))
        return fitted(model, X, y)

    before = {name: value.clone() for name, value in case.model.state_dict().items()}
    found = nulls(prepare(replace(case.subject, train=train), case.options), kernels, silent)
    ((start, targets),) = seen
    assert torch.equal(start, case.subject.untrained["0.weight"])
    assert not torch.equal(targets, case.subject.targets)
    assert torch.equal(targets.sort().values, case.subject.targets.sort().values)
    expected = by_hand(case, fitted(network(1), case.inputs, targets).eval(), case.inputs, "first")
    assert scores(found)["first", "permuted labels"] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert all(torch.equal(value, case.model.state_dict()[name]) for name, value in before.items())


def test_without_train_the_null_is_left_out_with_a_note_and_a_failing_one_says_why(
    case: Case, kernels: KernelModes
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("no data")

    for subject, words in ((case.subject, "needs train="), (replace(case.subject, train=fails), "no data")):
        found = nulls(prepare(subject, case.options), kernels, silent)
        assert "permuted labels" not in found.words["table.nulls.null"]
        assert any("permuted labels" in note and words in note for note in found.notes)


def test_permuted_inputs_keep_every_column_and_leave_masks() -> None:
    g = torch.Generator().manual_seed(3)
    ids, mask = torch.randint(50, (40, 5), generator=g), torch.rand(40, 5, generator=g) < 0.8
    found = permuted_inputs({"ids": ids, "attention_mask": mask.long(), "kept": mask}, g)
    assert isinstance(found, dict)
    assert torch.equal(found["attention_mask"], mask.long())
    assert torch.equal(found["kept"], mask)
    assert torch.equal(found["ids"].sort(dim=0).values, ids.sort(dim=0).values)
    moved = [not torch.equal(found["ids"][:, place], ids[:, place]) for place in range(5)]
    assert all(moved)
    images = torch.randn(30, 1, 3, 4, generator=g)
    shuffled = permuted_inputs(images, g)
    assert isinstance(shuffled, torch.Tensor)
    assert shuffled.shape == images.shape
    assert torch.equal(shuffled.sort(dim=0).values, images.sort(dim=0).values)
    joint = torch.corrcoef(permuted_inputs(torch.randn(500, 1, generator=g).repeat(1, 2), g).T)  # type: ignore
    assert abs(float(joint[0, 1])) < 0.2


def test_random_features_and_subspaces_have_their_shares_by_chance(case: Case, kernels: KernelModes) -> None:
    found = scores(nulls(case, kernels, silent))
    for null in ("random features", "random subspaces", "permuted inputs"):
        assert found["first", null][0] == pytest.approx(0.5, abs=0.12)
        assert found["first", null][1] == pytest.approx(100 / (N - 1), abs=2.0)
        assert found["first", null][1] < found["first", "none"][1] / 4
    assert found["plane", "random subspaces"][0] == pytest.approx(100 * 6 / (N - 1), abs=2.0)
    assert found["plane", "random features"][0] == pytest.approx(100 * 6 / N, abs=2.0)


def test_equal_seeds_give_equal_tables(case: Case, kernels: KernelModes) -> None:
    first, second = (nulls(case, kernels, silent) for _ in range(2))
    assert all(torch.equal(first.arrays[key], second.arrays[key]) for key in first.arrays)
