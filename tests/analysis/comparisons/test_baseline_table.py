"""Baselines against scikit-learn and plain loops, and what each of them may see."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score
from torch import nn

from tangentlens.analysis.case import Case, Options, prepare
from tangentlens.analysis.comparisons.baseline_methods import KERNEL, field_of, methods
from tangentlens.analysis.comparisons.baseline_table import REFERENCE, baseline_table
from tangentlens.analysis.comparisons.paired_scores import (
    area,
    choices,
    explained,
    less,
    mean,
    p_above,
    quality,
    scorer,
)
from tangentlens.analysis.comparisons.sparse_probes import logistic, ridge, sparse_probes
from tangentlens.analysis.findings import Findings
from tangentlens.analysis.modes.kernel_modes import TOTAL, KernelModes, kernel_modes
from tangentlens.analysis.questions.scoring import Choice, choose, held_out, overlap_percent
from tangentlens.analysis.subject import Subject
from tangentlens.controls.baselines.gradients import gradient_functions
from tangentlens.controls.baselines.principal import gradient_scores, principal_scores
from tangentlens.controls.baselines.sparse import dictionary_codes, independent_components, random_atom_codes
from tangentlens.features.functions import principal_functions
from tangentlens.models.sites import input_site
from tangentlens.progress import silent

N = 96


def subject(**changes: object) -> Subject:
    """A small trained classifier with a label, a number and a space."""
    g = torch.Generator().manual_seed(0)
    X = torch.randn(N, 7, generator=g)
    y = (X[:, 0] > 0).long() + (X[:, 1] > 0.3).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(7, 16), nn.ReLU(), nn.Linear(16, 3))
    optimiser = torch.optim.Adam(model.parameters(), 2e-2)
    for _ in range(40):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(X), y).backward()
        optimiser.step()
    noise = torch.randn(N, generator=g)
    features = {"first": X[:, 0] > 0, "size": X[:, 2] + 0.1 * noise, "plane": X[:, 3:5], "noise": noise > 0}
    given = Subject(model.eval(), X, features=features, targets=y)
    return replace(given, **changes)


@pytest.fixture(scope="module")
def case() -> Case:
    return prepare(subject(), Options(modes=8))


@pytest.fixture(scope="module")
def kernels(case: Case) -> KernelModes:
    return kernel_modes(case.model, case.inputs, case.kernel, check=False)


@pytest.fixture(scope="module")
def found(case: Case, kernels: KernelModes) -> Findings:
    return baseline_table(case, kernels, silent)


def rows(found: Findings, name: str) -> list[dict[str, object]]:
    """The rows of a table among findings."""
    columns = {}
    for column in found.words[f"table.{name}"]:
        key = f"table.{name}.{column}"
        columns[column] = found.words[key] if key in found.words else found.arrays[key].tolist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def test_principal_scores_are_those_of_scikit_learn_for_wide_and_narrow_values() -> None:
    for shape in ((60, 9), (30, 50)):
        values = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        expected = np.abs(PCA(5, svd_solver="full").fit_transform(values.numpy()))
        np.testing.assert_allclose(np.abs(principal_scores(values, 5).numpy()), expected, rtol=1e-9, atol=1e-9)


def test_principal_scores_by_products_equal_those_from_the_formed_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(40, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    formed = principal_scores(values, 4)
    monkeypatch.setattr("tangentlens.controls.baselines.principal._FORMED", 8)
    torch.testing.assert_close(principal_scores(values, 4).abs(), formed.abs(), rtol=1e-5, atol=1e-6)


def test_principal_scores_leave_out_what_is_rounding() -> None:
    values = torch.randn(30, 2, generator=torch.Generator().manual_seed(4)) @ torch.ones(2, 6)
    assert principal_scores(values, 5).shape[1] == principal_functions(values, 5).shape[1] == 1


def test_gradient_scores_span_the_same_space_as_the_functions_of_the_exact_matrix(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = input_site(case.model, case.inputs)
    expected = gradient_functions(site, 2)
    for limit in (2048, 3):  # formed, and from the Gram matrix of all gradients
        monkeypatch.setattr("tangentlens.controls.baselines.principal._FORMED", limit)
        found, used = gradient_scores(site, 2, torch.Generator())
        assert used == N
        projected = expected @ (expected.T @ found)
        torch.testing.assert_close(projected, found, rtol=1e-4, atol=1e-4)


def test_gradients_of_a_wide_site_are_averaged_over_part_of_the_inputs(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tangentlens.controls.baselines.principal._FORMED", 3)
    monkeypatch.setattr("tangentlens.controls.baselines.principal._GRADIENTS", 30)
    found, used = gradient_scores(input_site(case.model, case.inputs), 2, torch.Generator().manual_seed(0))
    assert used == 10
    assert found.shape == (N, 2)


def test_independent_components_recover_mixed_sources() -> None:
    g = torch.Generator().manual_seed(5)
    sources = torch.rand(400, 2, dtype=torch.float64, generator=g) - 0.5
    mixed = sources @ torch.tensor([[1.0, 0.6], [-0.4, 1.0]], dtype=torch.float64)
    found = independent_components(principal_scores(mixed, 2), 2, seed=0)
    related = np.abs(np.corrcoef(found.T.numpy(), sources.T.numpy())[:2, 2:])
    assert (related.max(axis=1) > 0.98).all()


def test_sparse_codes_use_few_atoms_and_a_learned_dictionary_fits_better_than_random_atoms() -> None:
    g = torch.Generator().manual_seed(6)
    atoms = torch.nn.functional.normalize(torch.randn(6, 12, dtype=torch.float64, generator=g), dim=1)
    on = (torch.rand(200, 6, generator=g) < 0.2).double()
    values = (on * torch.rand(200, 6, dtype=torch.float64, generator=g)) @ atoms
    scores = principal_scores(values, 12)
    learned, random = dictionary_codes(scores, 6, 0), random_atom_codes(scores, 6, g)
    assert int((learned != 0).sum(dim=1).max()) <= 5

    def left(codes: torch.Tensor) -> float:
        fitted = codes @ torch.linalg.lstsq(codes, scores).solution
        return float((scores - fitted).square().sum())

    assert left(learned) < left(random)


def test_an_auroc_has_delongs_variance() -> None:
    g = torch.Generator().manual_seed(7)
    labels = (torch.rand(40, generator=g) < 0.4).double()
    scores = (labels + torch.randn(40, dtype=torch.float64, generator=g)).mul(4).round() / 4
    found = area(scores, labels)
    positives, negatives = scores[labels == 1], scores[labels == 0]
    above = (positives[:, None] > negatives).double() + 0.5 * (positives[:, None] == negatives).double()
    expected = above.mean(dim=1).var() / len(positives) + above.mean(dim=0).var() / len(negatives)
    assert found.value == pytest.approx(roc_auc_score(labels, scores))
    assert found.error**2 == pytest.approx(float(expected))


def test_an_r2_has_the_influences_of_small_changes_of_weight() -> None:
    g = torch.Generator().manual_seed(8)
    column, target = torch.randn(2, 25, dtype=torch.float64, generator=g)
    found = explained(column, target, Choice(0, 1, (0.1, 0.4)))

    def weighted(w: torch.Tensor) -> torch.Tensor:
        mean = (w @ target) / w.sum()
        return 1 - (w @ (target - 0.1 - 0.4 * column).square()) / (w @ (target - mean).square())

    weights = torch.ones(25, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(weighted(weights), weights)
    assert found.value == pytest.approx(r2_score(target, 0.1 + 0.4 * column))
    torch.testing.assert_close(found.influences, expected)


def test_a_paired_difference_is_surer_than_two_scores_apart_and_near_its_bootstrap() -> None:
    g = torch.Generator().manual_seed(9)
    labels = (torch.rand(150, generator=g) < 0.5).double()
    first = labels + torch.randn(150, dtype=torch.float64, generator=g)
    second = first + 0.3 * torch.randn(150, dtype=torch.float64, generator=g)
    paired = less(area(first, labels), area(second, labels))
    apart = math.hypot(area(first, labels).error, area(second, labels).error)
    drawn = []
    for _ in range(400):
        rows = torch.randint(150, (150,), generator=g)
        drawn.append(roc_auc_score(labels[rows], first[rows]) - roc_auc_score(labels[rows], second[rows]))
    assert paired.error < apart / 2
    assert paired.error == pytest.approx(float(np.std(drawn)), rel=0.2)
    assert p_above(paired, 0.0) == pytest.approx(float(norm.sf(paired.value / paired.error)))


def test_choices_are_those_of_choosing_one_feature_at_a_time(case: Case, kernels: KernelModes) -> None:
    vectors, features = kernels.groups[TOTAL].vectors, case.features.features
    found = choices(vectors, features, case.halves)
    for feature in features:
        if feature.kind != "space":
            expected = choose(vectors, feature, case.halves)
            assert (found[feature.name].mode, found[feature.name].sign) == (expected.mode, expected.sign)
            assert found[feature.name].line == pytest.approx(expected.line)
    assert 0 <= quality(vectors, features, case.halves) <= 1


def test_scores_of_the_kernel_equal_those_of_the_scoring_module(
    case: Case, kernels: KernelModes, found: Findings
) -> None:
    table = rows(found, "baselines")
    vectors = kernels.groups[TOTAL].vectors
    own = {row["feature"]: row for row in table if (row["method"], row["where"]) == (KERNEL, TOTAL)}
    for feature in case.features.features:
        test = case.halves.test
        if feature.kind == "space":
            expected = overlap_percent(vectors[test], feature.values[test])
        else:
            expected = held_out(vectors, feature, choose(vectors, feature, case.halves), case.halves)
        assert own[feature.name]["score"] == pytest.approx(expected)
        assert own[feature.name]["verdict"] == REFERENCE
    assert all(row["low"] <= row["score"] <= row["high"] for row in table)


def test_the_table_has_every_method_at_the_budget_and_differences_that_add_up(
    kernels: KernelModes, found: Findings
) -> None:
    table = rows(found, "baselines")
    names = {row["method"] for row in table}
    assert names == {
        KERNEL, f"{KERNEL}, best group", "PCA", "AGOP", "gradient PCA", "single neurons", "random directions",
        "difference of means", "linear probe", "ICA", "sparse dictionary", "random atoms", "conjugate kernel",
        "loss kernel", "random functions",
    }  # fmt: skip
    assert all(row["budget"] <= kernels.groups[TOTAL].count for row in table)
    own = {row["feature"]: row["score"] for row in table if row["verdict"] == REFERENCE}
    for row in table:
        if row["verdict"] != REFERENCE:
            assert row["difference"] == pytest.approx(own[row["feature"]] - row["score"])
            assert (row["verdict"] == "holds") <= (row["difference_low"] > 0 and row["p_corrected"] <= 0.05)
    means = rows(found, "baselines.means")
    for row in means:
        key = (row["method"], row["where"], row["metric"])
        same = [each["score"] for each in table if (each["method"], each["where"], each["metric"]) == key]
        assert row["score"] == pytest.approx(sum(same) / len(same))
        assert row["features"] == len(same)


def test_methods_that_see_nothing_are_the_same_for_other_features_and_targets(case: Case, kernels: KernelModes) -> None:
    g = torch.Generator().manual_seed(10)
    names = {each.name: each.values for each in case.features.features}
    shuffled = {name: values[torch.randperm(N, generator=g)] for name, values in names.items()}
    shuffled = {name: values[:, 0] > values[:, 0].median() for name, values in shuffled.items()}
    other = prepare(replace(case.subject, features=shuffled, targets=None), replace(case.options))
    pairs = zip(
        [each for each in methods(field_of(case, kernels), kernels) if each.sees == "nothing"],
        [each for each in methods(field_of(other, kernels), kernels) if each.sees == "nothing"],
        strict=True,
    )
    for first, second in pairs:
        assert (first.name, first.where) == (second.name, second.where)
        assert first.shared is not None
        assert torch.equal(first.shared, second.shared)


def test_supervised_methods_see_the_choosing_half_alone(case: Case, kernels: KernelModes) -> None:
    changed = {each.name: each.values.clone() for each in case.features.features if each.name != "plane"}
    for values in changed.values():
        values[case.halves.test] = values[case.halves.test].flip(0)
    kept = {name: values[:, 0] if name == "size" else values[:, 0] > 0.5 for name, values in changed.items()}
    split = (case.halves.train, case.halves.test)
    other = prepare(replace(case.subject, features=kept, split=split), case.options)
    fitted = [
        [each for each in methods(field_of(one, kernels), kernels) if each.sees == "features"] for one in (case, other)
    ]
    assert {each.name for each in fitted[0]} == {"linear probe", "difference of means"}
    for first, second in zip(*fitted, strict=True):
        for name in kept:
            torch.testing.assert_close(first.columns(case.by_name[name]), second.columns(other.by_name[name]))


def test_the_best_neuron_is_found_by_a_loop_over_all(case: Case, found: Findings) -> None:
    feature, train, test = case.by_name["first"], case.halves.train, case.halves.test
    values = case.sites["0"].values.double().numpy()
    labels = feature.values[:, 0].numpy()
    areas = [roc_auc_score(labels[train], values[train, place]) for place in range(values.shape[1])]
    best = int(np.argmax(np.abs(np.array(areas) - 0.5)))
    sign = 1 if areas[best] >= 0.5 else -1
    table = rows(found, "baselines")
    row = next(r for r in table if (r["method"], r["where"], r["feature"]) == ("single neurons", "0", "first"))
    assert row["score"] == pytest.approx(roc_auc_score(labels[test], sign * values[test, best]))


def test_sparse_probes_are_scikit_learns_on_the_columns_that_correlate_most(case: Case, kernels: KernelModes) -> None:
    columns, (train, test) = kernels.groups[TOTAL].vectors, (case.halves.train, case.halves.test)
    X = columns.numpy()
    X = (X - X[train].mean(axis=0)) / X[train].std(axis=0)
    for probe in sparse_probes(columns, case.features.features, case.halves):
        y = case.by_name[probe.feature].values[:, 0].numpy()
        related = [abs(np.corrcoef(X[train, place], y[train])[0, 1]) for place in range(X.shape[1])]
        kept = np.argsort(related)[::-1][: probe.k]
        if probe.metric == "auroc":
            fitted = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(X[train][:, kept], y[train])
            expected = roc_auc_score(y[test], fitted.decision_function(X[test][:, kept]))
        else:
            expected = r2_score(y[test], Ridge(1.0).fit(X[train][:, kept], y[train]).predict(X[test][:, kept]))
        assert probe.scored.value == pytest.approx(expected, abs=1e-6)


def test_the_fits_leave_out_inputs_that_do_not_count_and_survive_separable_data() -> None:
    g = torch.Generator().manual_seed(11)
    Z = torch.cat([torch.ones(1, 30, 1), 5 * torch.randn(1, 30, 3, generator=g)], dim=2).double()
    y = (Z[:, :, 1] > 0).double()
    counts = (torch.arange(30) < 20).double()[None]
    for fit, model in ((logistic, LogisticRegression(C=1.0, tol=1e-10, max_iter=5000)), (ridge, Ridge(1.0))):
        expected = model.fit(Z[0, :20, 1:].numpy(), y[0, :20].numpy())
        found = fit(Z, y, counts)[0]
        np.testing.assert_allclose(found[1:].numpy(), np.ravel(expected.coef_), rtol=1e-4, atol=1e-5)
        assert float(found[0]) == pytest.approx(np.ravel(expected.intercept_)[0], rel=1e-4, abs=1e-5)


def test_an_overlap_has_the_jackknife_error_of_its_blocks(case: Case, kernels: KernelModes) -> None:
    scoring = scorer(case.halves, torch.Generator().manual_seed(0))
    vectors, feature = kernels.groups[TOTAL].vectors, case.by_name["plane"]
    found = scoring.space(vectors, feature)
    blocks, values = scoring.blocks, []
    assert sorted(torch.cat(blocks).tolist()) == case.halves.test.tolist()
    for block in blocks:
        kept = [row for row in case.halves.test.tolist() if row not in block.tolist()]
        values.append(overlap_percent(vectors[kept], feature.values[kept]))
    g = len(blocks)
    assert found.error**2 == pytest.approx((g - 1) / g * float(np.square(np.array(values) - np.mean(values)).sum()))
    assert mean([found, found]).error == pytest.approx(found.error)


def test_tokens_and_missing_targets_leave_out_what_they_cannot_have() -> None:
    class Words(nn.Module):
        """A mean of embeddings."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(9, 6), nn.Linear(6, 2)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            held = self.embedding(ids) * mask[..., None]
            return self.head(held.sum(dim=1) / mask.sum(dim=1, keepdim=True))

    g = torch.Generator().manual_seed(12)
    ids = torch.randint(9, (48, 5), generator=g)
    mask = torch.ones(48, 5)
    mask[::3, 3:] = 0
    given = Subject(Words().eval(), {"ids": ids, "mask": mask}, features={"starts low": ids[:, 0] < 4})
    case = prepare(given, Options(modes=4))
    found = baseline_table(case, kernel_modes(case.model, case.inputs, case.kernel, check=False), silent)
    names = {row["method"] for row in rows(found, "baselines")}
    assert "loss kernel" not in names
    assert "AGOP" not in names
    assert {"PCA", "single neurons", "linear probe"} <= names
    assert any("AGOP: not done" in note for note in found.notes)
