"""Discovery against brute force: extremes, families, facts, the two tests of enrichment, what is stored."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch import nn

from tangentlens.analysis.case import Options, prepare
from tangentlens.analysis.discovery.discovery import discovery, extremes, skewness
from tangentlens.analysis.discovery.enrichment import ORDERS, enrichment
from tangentlens.analysis.discovery.facts import Fact, facts_at_hand
from tangentlens.analysis.discovery.families import families, similarity_bound
from tangentlens.analysis.findings import measurement
from tangentlens.analysis.model_steps import MODEL_STEPS
from tangentlens.analysis.modes.kernel_modes import kernel_modes
from tangentlens.analysis.subject import Split, Subject
from tangentlens.progress import silent
from tangentlens.statistics.corrections import holm
from tangentlens.store.arrays import read_seed, write_part
from tangentlens.store.tables import read_table


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fact(values, *, binary: bool, present=None) -> Fact:
    column = torch.as_tensor(values, dtype=torch.float64)
    there = torch.ones(len(column), dtype=torch.bool) if present is None else present
    return Fact("it", "feature", binary, column, there)


def split(N: int) -> Split:
    return Split(torch.arange(0, N, 2), torch.arange(1, N, 2))


@pytest.fixture(scope="module")
def planted():
    """Modes 0 and 1 follow a label and a number, mode 2 nothing, mode 3 a constant; some values are missing."""
    N, generator = 120, source(3)
    label = (torch.rand(N, generator=generator) < 0.25).double()
    number = torch.randn(N, generator=generator, dtype=torch.float64)
    present = torch.rand(N, generator=generator) < 0.8
    noise = torch.randn(N, 4, generator=generator, dtype=torch.float64)
    scores = torch.stack(
        [label - 0.4 * noise[:, 0], -number + 0.5 * noise[:, 1], noise[:, 2], torch.full((N,), 0.1).double()], dim=1
    )
    facts = [fact(label, binary=True), fact(number, binary=False), fact(number, binary=False, present=present)]
    return scores, facts, split(N), enrichment(scores, facts, split(N), source(1))


def test_the_ranking_is_scikit_learns_and_scipys(planted):
    scores, facts, halves, found = planted
    for place, each in enumerate(facts):
        train, test = (rows[each.present[rows]] for rows in (halves.train, halves.test))
        for mode in range(3):
            x, y = scores[test, mode].numpy(), each.values[test].numpy()
            own = scores[train, mode].numpy(), each.values[train].numpy()
            if each.binary:
                sign = np.sign(roc_auc_score(own[1], own[0]) - 0.5)
                strength = 2 * roc_auc_score(y, x) - 1
                alternative = "greater" if sign > 0 else "less"
                p = stats.mannwhitneyu(
                    x[y == 1], x[y == 0], alternative=alternative, method="asymptotic", use_continuity=False
                ).pvalue
            else:
                sign = np.sign(stats.spearmanr(*own).statistic)
                strength = stats.spearmanr(x, y).statistic
                p = stats.norm.sf(sign * strength * math.sqrt(len(x) - 1))
            assert found.sign[mode, place] == sign
            assert float(found.strength[mode, place]) == pytest.approx(sign * strength, abs=1e-12)
            assert float(found.p[mode, place]) == pytest.approx(p, rel=1e-9)


def test_the_extremes_are_counted_by_hand(planted):
    scores, facts, halves, found = planted
    E = found.extremes
    assert E == 10
    for place, each in enumerate(facts):
        train, test = (rows[each.present[rows]] for rows in (halves.train, halves.test))
        for mode in range(3):
            if each.binary:
                marks = [each.values == 1]
            else:
                low, high = np.quantile(each.values[train].numpy(), [0.25, 0.75])
                marks = [each.values <= low, each.values >= high]
            best = None
            for end in (1, -1):
                order = [rows[(end * scores[rows, mode]).argsort(descending=True)[:E]] for rows in (train, test)]
                for quarter, mark in enumerate(marks, start=0 if each.binary else 1):
                    surplus = float(mark[order[0]].sum()) - E * float(mark[train].double().mean())
                    count, total = int(mark[order[1]].sum()), int(mark[test].sum())
                    if best is None or surplus > best[0] + 1e-12:
                        best = surplus, end, quarter, count, total
            _, end, quarter, count, total = best
            assert (found.end[mode, place], found.quarter[mode, place]) == (end, quarter)
            assert float(found.share[mode, place]) == pytest.approx(count / E)
            assert float(found.base[mode, place]) == pytest.approx(total / len(test))
            p = sum(stats.hypergeom.pmf(k, len(test), total, E) for k in range(count, E + 1))
            assert float(found.p_extremes[mode, place]) == pytest.approx(p)


def test_holm_is_over_facts_modes_and_both_tests(planted):
    *_, found = planted
    corrected = holm(torch.stack([found.p, found.p_extremes]))
    torch.testing.assert_close(found.corrected, corrected.amin(dim=0))
    assert float(found.corrected[0, 0]) < 1e-6
    assert float(found.corrected[1, 1]) < 1e-6
    assert float(found.corrected[2].min()) > 0.05
    assert found.merit[:2].argmax(dim=1).tolist()[0] == 0


def test_a_constant_mode_is_about_nothing_even_where_inputs_are_sorted():
    N = 80
    label = (torch.arange(N) < N // 2).double()  # the first inputs all have it
    scores = 0.1 + 1e-12 * torch.randn(N, 1, generator=source(), dtype=torch.float64)
    found = enrichment(scores, [fact(label, binary=True)], split(N), source(1))
    assert float(found.strength) == 0
    assert float(found.p) > 0.4
    assert float(found.p_extremes) > 0.01


def test_scores_that_tie_are_tested_by_drawn_orders():
    N = 80
    scores = torch.zeros(N, 1, dtype=torch.float64)
    scores[:5] = 1.0
    label = torch.zeros(N, dtype=torch.float64)
    label[[0, 1, 2, 3, 40, 41]] = 1
    halves = split(N)
    found = enrichment(scores, [fact(label, binary=True)], halves, source(1))
    x, y = scores[halves.test, 0].numpy(), label[halves.test].numpy()
    exact = sum(stats.hypergeom.pmf(k, len(x), int(y.sum()), int(x.sum())) for k in range(int((x * y).sum()), 4))
    assert float(found.p) == pytest.approx(exact, abs=4 * math.sqrt(exact / ORDERS))


def test_noise_is_seldom_explained():
    """Family-wise error at most 5 %: 60 noise data sets, with skewed, rare and tied facts."""
    wrong = 0
    for seed in range(60):
        generator = source(seed)
        scores = torch.randn(60, 4, generator=generator, dtype=torch.float64)
        scores[:, 3] = scores[:, 3].relu()
        numbers = torch.rand(60, 3, generator=generator, dtype=torch.float64)
        facts = [
            fact((numbers[:, 0] < 0.15).double(), binary=True),
            fact(numbers[:, 1] ** 9, binary=False),
            fact((numbers[:, 2] * 3).floor(), binary=False),
        ]
        if min(facts[0].values[::2].sum(), facts[0].values[1::2].sum()) > 0:
            found = enrichment(scores, facts, split(60), generator)
            wrong += bool((found.corrected <= 0.05).any())
    assert wrong <= stats.binom.isf(1e-3, 60, 0.05)


def test_extremes_and_moments():
    vectors = torch.randn(50, 3, generator=source(), dtype=torch.float64)
    rows = extremes(vectors)
    for mode in range(3):
        order = vectors[:, mode].argsort(descending=True)
        assert rows[mode].tolist() == [*order[:10].tolist(), *order[-10:].flip(0).tolist()]
    np.testing.assert_allclose(skewness(vectors), stats.skew(vectors.numpy(), axis=0))
    assert skewness(torch.full((9, 1), 0.3)).tolist() == [0]
    assert extremes(vectors[:8]).shape == (3, 8)


def test_families_join_what_is_similar_and_nothing_else():
    base, _ = torch.linalg.qr(torch.randn(200, 9, generator=source(), dtype=torch.float64))
    near = torch.linalg.qr(base[:, :3] + 0.02 * torch.randn(200, 3, generator=source(1), dtype=torch.float64))[0]
    found = families(
        {"a": base[:, :3], "b": near[:, [2, 0, 1]] * torch.tensor([1.0, -1, 1]), "c": base[:, 6:]},
        [0.5, 0.2, 0.1, 0.4, 0.9, 0.05, 0.3, 0.2, 0.1],
    )
    V = torch.cat([base[:, :3], near[:, [2, 0, 1]] * torch.tensor([1.0, -1, 1]), base[:, 6:]], dim=1)
    assert found.representative == (4, 1, 3, 3, 4, 1, 6, 7, 8)
    for place, others in enumerate(found.similar):
        expected = [j for j in range(9) if j // 3 != place // 3 and abs(float(V[:, place] @ V[:, j])) > found.bound]
        assert sorted(other for other, _ in others) == expected
        for other, cosine in others:
            assert cosine == pytest.approx(float(V[:, place] @ V[:, other]))


@pytest.mark.parametrize("N", [8, 30])
def test_random_directions_stay_below_the_bound(N):
    pairs, worst = 45, 0
    for seed in range(300):
        V = torch.randn(N, 10, generator=source(seed), dtype=torch.float64)
        cosines = (V / V.norm(dim=0)).T @ (V / V.norm(dim=0)) - torch.eye(10)
        worst += float(cosines.abs().max()) > similarity_bound(N, pairs)
    assert worst <= stats.binom.isf(1e-3, 300, 0.05)
    assert similarity_bound(1000, pairs) == pytest.approx(math.sqrt(0.5))


# ---- a model


def network(N=64, C=3, seed=0):
    torch.manual_seed(seed)
    inputs = torch.randn(N, 4)
    targets = inputs[:, :C].argmax(dim=1)
    model = nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, C)).eval()
    with torch.no_grad():
        model[2].weight[:] *= 2
    return model, inputs, targets


def test_facts_are_those_at_hand_without_repetition():
    model, inputs, targets = network()
    case = prepare(Subject(model, inputs, features={"class": targets}, targets=targets), Options())
    facts = {each.name: each for each in facts_at_hand(case)}
    assert [name for name in facts if name.startswith("class")] == ["class = 0", "class = 1", "class = 2"]
    assert not any(name.startswith("target") for name in facts)  # the same as the feature
    answers = case.outputs.argmax(dim=1)
    for place in answers.unique().tolist():
        if f"predicted = {place}" in facts:
            torch.testing.assert_close(facts[f"predicted = {place}"].values, (answers == place).double())
    torch.testing.assert_close(facts["wrong"].values, (answers != targets).double())
    torch.testing.assert_close(
        facts["loss"].values, nn.functional.cross_entropy(case.outputs, targets, reduction="none").double()
    )
    torch.testing.assert_close(facts["column 2"].values, inputs[:, 2].double())
    assert {each.source for each in facts.values()} == {"feature", "prediction", "error", "input"}


def test_regression_pictures_and_masks_have_facts_of_their_own():
    images = torch.rand(32, 1, 6, 6)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(36, 1)).eval()
    case = prepare(Subject(flat, images, targets=images[:, 0, 0, 0]), Options())
    facts = {each.name: each for each in facts_at_hand(case)}
    assert set(facts) == {"target", "output", "loss", "brightness"}

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(20, 6), nn.Linear(6, 2)

        def forward(self, input_ids, attention_mask):
            weight = attention_mask[..., None].float()
            return self.head((self.embedding(input_ids) * weight).sum(1) / weight.sum(1))

    tokens = torch.randint(1, 20, (32, 7))
    mask = (torch.arange(7) < torch.randint(2, 8, (32, 1))).long()
    case = prepare(Subject(Encoder().eval(), {"input_ids": tokens, "attention_mask": mask}), Options())
    facts = {each.name: each for each in facts_at_hand(case)}
    torch.testing.assert_close(facts["length"].values, mask.sum(dim=1).double())
    assert {each.source for each in facts.values()} <= {"prediction", "input"}


def test_the_step_needs_nothing_and_stores_what_it_found(tmp_path):
    model, inputs, targets = network()
    case = prepare(Subject(model, inputs, targets=targets), Options(modes=6))
    kernels = kernel_modes(model, inputs, case.kernel, check=False)
    stages = []
    found = discovery(case, kernels, lambda stage, done, total: stages.append((stage, done, total)))
    assert stages[0] == ("discovery", 0, 3)
    assert stages[-1] == ("discovery", 3, 3)
    path = write_part(tmp_path / "part", measurement(0, found.figures, found.arrays, found.notes, found.words))
    record = read_seed(path)
    rows = read_table(record, "modes").rows()
    assert [(row["group"], row["mode"]) for row in rows] == [
        (name, mode) for name, each in kernels.groups.items() for mode in range(each.count)
    ]
    for row in rows:
        modes = kernels.groups[row["group"]]
        assert row["value"] == pytest.approx(float(modes.values[row["mode"]]))
        assert row["share"] == pytest.approx(float(modes.values[row["mode"]]) / modes.trace)
        assert row["mean"] == pytest.approx(float(modes.vectors[:, row["mode"]].mean()))
        family = [each for each in rows if each["family"] == row["family"]]
        assert row["members"] == len(family)
        assert row["family"] == max(family, key=lambda each: each["share"])["family"]
        explanations = [
            each
            for each in read_table(record, "explanations").rows()
            if (each["group"], each["mode"]) == (row["group"], row["mode"])
        ]
        best = explanations[0]
        assert row["explained_by"] == (best["fact"] if best["p_corrected"] <= 0.05 else "")
    for name, each in kernels.groups.items():
        assert torch.equal(found.arrays[f"modes.{name}.extremes"], extremes(each.vectors))
    shown = set(found.arrays["shown.rows"].tolist())
    assert shown == {int(i) for name in kernels.groups for i in found.arrays[f"modes.{name}.extremes"].flatten()}
    assert record.words["inputs.classes"] == tuple(map(str, targets.tolist()))


def test_the_step_is_one_of_an_analysis_and_runs_without_facts():
    assert next(step for step in MODEL_STEPS if step.name == "discovery").needs == ()
    model = nn.Sequential(nn.Flatten(), nn.Linear(180, 2)).eval()
    with torch.no_grad():
        model[1].bias[:] = torch.tensor([1000.0, 0.0])  # one answer for all
    case = prepare(Subject(model, torch.randn(20, 5, 6, 6)), Options(modes=3))
    assert case.shown is None
    assert facts_at_hand(case) == ()
    found = discovery(case, kernel_modes(model, case.inputs, case.kernel, check=False), silent)
    assert set(found.words["table.modes.explained_by"]) == {""}
    assert not any(name.startswith("shown") for name in found.arrays)
    assert any("no fact" in note for note in found.notes)
