"""Checkpoints in every form, their kernels, alignments and performance by hand, and the transition."""

import copy
import math

import pytest
import torch
from torch import nn

from tangentlens.analysis.arguments.checkpoint_states import read_checkpoints
from tangentlens.analysis.arguments.features import read_features
from tangentlens.analysis.case import Options, prepare
from tangentlens.analysis.checkpoints.checkpoint_table import checkpoint_table, known_curve, resampled_shares, tracked
from tangentlens.analysis.checkpoints.transitions import feature_transition, onset_of
from tangentlens.analysis.modes.kernel_modes import GroupModes, KernelModes
from tangentlens.analysis.subject import Subject
from tangentlens.errors import InvalidInputError
from tangentlens.kernels import entk
from tangentlens.progress import silent

NONE = KernelModes({}, None, "")


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double().eval()


@pytest.fixture(scope="module")
def trained():
    """A model, inputs, classes and a state every five steps of training."""
    net = model()
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(80, 4, generator=generator).double()
    y = (x @ torch.randn(4, 3, generator=generator).double()).argmax(1)
    optimizer, states = torch.optim.Adam(net.parameters(), 0.03), {}
    for step in range(31):
        if step % 5 == 0:
            states[step] = copy.deepcopy(net.state_dict())
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.requires_grad_(), x, y, states


def test_all_forms_give_the_same_models(trained, tmp_path):
    net, x, _, states = trained
    for step, state in states.items():
        torch.save(state, tmp_path / f"run7-step{step}.pt")
    (tmp_path / "notes.txt").write_text("no checkpoint")
    other = copy.deepcopy(net)
    other.load_state_dict(states[0])
    forms = {
        "states": states,
        "names": {f"step{step}": state for step, state in states.items()},
        "functions": {step: lambda state=state: state for step, state in states.items()},
        "folder": tmp_path,
        "glob": str(tmp_path / "run7-*.pt"),
        "files": [tmp_path / f"run7-step{step}.pt" for step in reversed(states)],
        "revisions": ([f"step{step}" for step in states], lambda name: states[int(name[4:])]),
        "pairs": {step: (state, {"test_accuracy": 0.5}) for step, state in states.items()},
        "modules": {0: other, **{step: state for step, state in states.items() if step}},
    }
    for form in forms.values():
        found = read_checkpoints(form)
        assert [each.step for each in found] == [0, 5, 10, 15, 20, 25, 30]
        for each in found:
            loaded = each.load(net)
            with torch.no_grad():
                expected = torch.func.functional_call(net, states[int(each.step)], (x,))
                torch.testing.assert_close(loaded(x), expected)


def test_accuracies_are_percent_or_shares():
    shares = read_checkpoints({0: ({}, {"accuracy": 0.1}), 1: ({}, {"test_accuracy": 1.0, "test_loss": 0.5})})
    assert known_curve(shares, "test_accuracy").tolist() == [10, 100]
    assert shares[1].known["test_loss"] == 0.5
    percent = read_checkpoints({0: ({}, {"accuracy": 0.9}), 1: ({}, {"accuracy": 55.0})})
    assert known_curve(percent, "test_accuracy").tolist() == [0.9, 55]
    assert known_curve(read_checkpoints({0: {}, 1: ({}, {"accuracy": 1})}), "test_accuracy") is None


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (7, "is no checkpoints"),
        ({}, "no checkpoint"),
        ({"first": {}}, "holds no number"),
        ({0: 3}, "is no state"),
        ({0: "missing.pt"}, "there is no file"),
        ("nowhere/*.pt", "no checkpoint is at"),
        ({1: {}, "step1": {}}, "two checkpoints"),
        ({0: ({}, {"speed": 3})}, "not understood"),
        ({0: ({}, {"accuracy": "high"})}, "not understood"),
    ],
)
def test_bad_checkpoints_are_refused_with_place_and_remedy(bad, words):
    with pytest.raises(InvalidInputError, match=words) as caught:
        read_checkpoints(bad)
    assert "checkpoints" in str(caught.value)


def rows_of(found, name):
    key = f"table.{name}"
    columns = {c: found.words.get(f"{key}.{c}", found.arrays.get(f"{key}.{c}")) for c in found.words[key]}
    length = len(next(iter(columns.values())))
    return [{c: v[i] if isinstance(v, tuple) else float(v[i]) for c, v in columns.items()} for i in range(length)]


def test_kernels_scores_shares_and_performance_are_those_by_hand(trained):
    net, x, y, states = trained
    subject = Subject(net, x, features={"first": x[:, 0] > 0, "class": y}, targets=y, checkpoints=states)
    case = prepare(subject, Options(modes=5, resamples=40))
    before = copy.deepcopy(net.state_dict())
    found = checkpoint_table(case, NONE, silent)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    test = case.halves.test
    for place, row in enumerate(rows_of(found, "checkpoints")):
        state = states[int(row["step"])]
        with torch.no_grad():
            outputs = torch.func.functional_call(net, state, (x,))[test]
        assert row["loss"] == pytest.approx(float(nn.functional.cross_entropy(outputs, y[test])))
        assert row["accuracy"] == pytest.approx(100 * float((outputs.argmax(1) == y[test]).double().mean()))
        loaded = copy.deepcopy(net)
        loaded.load_state_dict(state)
        K = entk(loaded, x, check=False).total.dense()
        values, vectors = torch.linalg.eigh(K)
        torch.testing.assert_close(found.arrays["checkpoint.values.total"][place], values.flip(0)[:5])
        V = vectors.flip(1)[:, :5]
        f = (x[:, 0] > 0).double()
        f = (f - f.mean()) / (f - f.mean()).norm()
        C = V - V.mean(0)
        share = 100 * float(values.flip(0)[:5] @ (f @ C) ** 2 / (values.flip(0)[:5] @ C.square().sum(0)))
        named = {(r["feature"], r["group"], r["step"]): r for r in rows_of(found, "training")}
        assert named["first", "total", row["step"]]["share"] == pytest.approx(share)
        film = found.arrays["checkpoint.film"][place]
        held = 100 * (f @ (C / C.norm(dim=0))) ** 2
        assert film[:, found.words["checkpoint.film"].index("first")].tolist() == pytest.approx(held.tolist(), abs=0.51)
    assert {row["feature"] for row in rows_of(found, "transitions")} == set(case.by_name)


def test_resampled_shares_are_those_of_the_repeated_rows():
    generator = torch.Generator().manual_seed(4)
    V = torch.linalg.qr(torch.randn(30, 4, generator=generator).double()).Q
    values = torch.tensor([5.0, 3.0, 1.0, 0.5]).double()
    modes = GroupModes("total", values, V, torch.zeros(4).double(), 4, 1.0)
    labels = torch.randint(0, 3, (30,), generator=generator)
    for given in ({"c": labels}, {"c": torch.randn(30, generator=generator)}):
        feature = read_features(given, 30).features[-1]
        weights = torch.randint(0, 3, (6, 30), generator=generator).double()
        for found, w in zip(resampled_shares(modes, feature, weights).tolist(), weights, strict=True):
            rows = torch.repeat_interleave(torch.arange(30), w.long())
            F = feature.values[rows] - feature.values[rows].mean(0)
            U, sizes, _ = torch.linalg.svd(F, full_matrices=False)
            U = U[:, sizes > 1e-8 * sizes[0]]
            C = V[rows] - V[rows].mean(0)
            expected = 100 * float((values * (U.T @ C).square().sum(0)).sum() / (values * C.square().sum(0)).sum())
            assert found == pytest.approx(expected)


def test_onset_peak_and_lag_come_out_as_put_in():
    steps = torch.arange(0, 200, 10).double()

    def rise(middle):
        return torch.sigmoid((steps - middle) / 8)

    shifts = torch.linspace(-5, 5, 21)
    pairs = [(100 * rise(120 + s), rise(90)) for s in shifts.tolist()]
    found = feature_transition(steps, 100 * rise(120), rise(90), pairs)
    assert (found.onset, found.peak, found.lag) == pytest.approx((120, 90, 30), abs=0.6)
    assert found.low == pytest.approx(25.25, abs=0.6)
    assert found.high == pytest.approx(34.75, abs=0.6)
    assert (found.found, found.reason) == (100, "")


def test_where_no_transition_is_found_the_reason_is_said():
    steps = torch.arange(6).double()
    flat, falling = torch.ones(6).double(), -steps
    few = feature_transition(steps[:3], None, flat[:3], [])
    assert "3 checkpoints" in few.reason
    none = feature_transition(steps, None, torch.sigmoid(3 * (steps - 2.4)), [])
    assert "needs targets= or a test_accuracy" in none.reason
    assert math.isfinite(none.peak)
    still = feature_transition(steps, falling, flat, [(falling, flat)])
    assert "never rises" in still.reason
    assert "no largest growth" in still.reason
    assert math.isnan(onset_of(steps, None))


def test_without_targets_or_features_there_are_spectra(trained):
    net, x, _, states = trained
    case = prepare(Subject(net, x, checkpoints={0: states[0], 5: states[5]}), Options(modes=3, resamples=10))
    found = checkpoint_table(case, NONE, silent)
    assert found.arrays["checkpoint.values.total"].shape == (2, 3)
    assert math.isnan(rows_of(found, "checkpoints")[0]["loss"])
    assert "table.training" not in found.words


def test_tracks_need_as_many_modes_at_every_checkpoint():
    V = torch.eye(6).double()
    first = GroupModes("total", torch.tensor([3.0, 2.0, 1.0]).double(), V[:, :3], torch.zeros(3).double(), 3, 6.0)
    later = GroupModes("total", torch.tensor([3.0, 2.0]).double(), V[:, [1, 0]], torch.zeros(2).double(), 2, 5.0)
    tracks = tracked([first, later])
    assert tracks.positions.tolist() == [[0, 1], [1, 0]]
