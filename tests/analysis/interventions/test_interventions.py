"""Ablations, shifts and edits of weights by hand, on five kinds of network, beside the table of the step."""

import copy
import functools
import threading

import numpy as np
import pytest
import torch
from torch import nn

from tangentlens.analysis.case import Options, prepare
from tangentlens.analysis.interventions.intervention_places import (
    all_parameters,
    intervention_rows,
    site_at,
    value_places,
)
from tangentlens.analysis.interventions.intervention_table import interventions
from tangentlens.analysis.interventions.readout import Readout
from tangentlens.analysis.interventions.trials import Meter, Trial, evidence, in_words
from tangentlens.analysis.interventions.weight_edits import matrices
from tangentlens.analysis.modes.kernel_modes import kernel_modes
from tangentlens.analysis.subject import Subject
from tangentlens.controls.interventions.matched import leading_functions, main_direction
from tangentlens.errors import TangentlensError
from tangentlens.progress import silent

N = 60


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 8), nn.Linear(8, 3)
        layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, dropout=0.1)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, tokens, attention_mask):
        hidden = self.encoder(self.embed(tokens), src_key_padding_mask=attention_mask == 0)
        weights = attention_mask[:, :, None].to(hidden)
        return self.head((hidden * weights).sum(1) / weights.sum(1))


def mlp():
    return nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 3))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)
    )


def regression():
    return nn.Sequential(nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 1))


CASES = {
    "mlp": (mlp, (5,), 3, "auto"),
    "cnn": (cnn, (1, 8, 8), 3, ("0",)),
    "lstm": (Recurrent, (4, 3), 3, "auto"),
    "regression": (regression, (5,), 0, ("1",)),
    "masked encoder": (Masked, None, 3, ("encoder.layers.0.linear1",)),
}


def case_of(name, *, features=True, targets=True, **options):
    build, shape, classes, sites = CASES[name]
    torch.manual_seed(3)
    model = build().double()
    if name == "regression":
        model.train()(torch.randn(40, 5).double())  # running means of its own
    model.eval()
    if shape is None:
        lengths = torch.randint(2, 7, (N,))
        inputs = {"tokens": torch.randint(0, 9, (N, 6)), "attention_mask": (torch.arange(6) < lengths[:, None]).long()}
    else:
        inputs = torch.randn(N, *shape).double()
    with torch.no_grad():
        outputs = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    own = outputs.argmax(1) if classes else (outputs + 0.1 * torch.randn_like(outputs)).squeeze(1)
    given = {"label": own, "noise": torch.randn(N)} if features else None
    subject = Subject(model, inputs, features=given, targets=own if targets else None, sites=sites)
    return prepare(subject, Options(modes=6, controls=20, resamples=50, **options))


@functools.cache
def analysed(name):
    case = case_of(name)
    kernels = kernel_modes(case.model, case.inputs, case.kernel)
    return case, kernels.groups["total"], *table_of(case, kernels)


def table_of(case, kernels=None):
    found = interventions(case, kernels or kernel_modes(case.model, case.inputs, case.kernel), silent)
    keys = {name: f"table.{name}" for name in ("interventions", "weight_edits")}
    tables = {}
    for name, key in keys.items():
        columns = {
            column: found.words.get(f"{key}.{column}", found.arrays.get(f"{key}.{column}"))
            for column in found.words[key]
        }
        tables[name] = [
            {column: values[i] if isinstance(values, tuple) else float(values[i]) for column, values in columns.items()}
            for i in range(len(columns["verdict"]))
        ]
    return tables["interventions"], tables["weight_edits"]


def take_rows(inputs, rows):
    return {k: v[rows] for k, v in inputs.items()} if isinstance(inputs, dict) else inputs[rows]


def called(model, inputs):
    with torch.no_grad():
        return model(**inputs) if isinstance(inputs, dict) else model(inputs)


def loss(case, outputs, rows):
    targets = case.targets[rows]
    if case.loss == "cross_entropy":
        return -outputs.log_softmax(1)[torch.arange(len(rows)), targets]
    return (outputs[:, 0] - targets) ** 2


def with_hook(model, module, change, inputs):
    if module == "inputs":
        return called(model, change(inputs))
    handle = dict(model.named_modules())[module].register_forward_hook(lambda _m, _a, returned: change(returned))
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        return called(model, inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
        handle.remove()


def projected(B, around):
    return lambda z: z - ((z.flatten(1) - around) @ B @ B.T).reshape(z.shape)


def moved(step):
    return lambda z: z + step.reshape(z.shape[1:])


@pytest.mark.parametrize("name", CASES)
def test_ablations_and_shifts_equal_those_by_hand(name):
    case, modes, rows, _ = analysed(name)
    train, test = case.halves.train, case.halves.test
    inputs = take_rows(case.inputs, test)
    before = called(case.model, inputs)
    site = next((name for name in case.sites if name != "inputs"), "inputs")
    values = case.sites[site].values
    Z = values[train] - values[train].mean(dim=0)
    directions = {}
    for what, columns in (("mode 0", [0]), ("modes 0 to 5", list(range(6)))):
        P = Z.T @ modes.vectors[train][:, columns]
        directions[what] = P / P.norm(dim=0)
    checked = 0
    for row in rows:
        if (row["site"] != f"out of {site}" and row["site"] != site) or row["what"] not in directions:
            continue
        P = directions[row["what"]]
        if row["action"] == "ablate":
            changes = [projected(torch.linalg.qr(P).Q, values[train].mean(dim=0))]
        else:
            u = torch.linalg.svd(P)[0][:, 0]
            length = row["dose"] * float(Z.square().sum(1).mean().sqrt())
            changes = [moved(sign * length * u) for sign in (1, -1)]
        after = [with_hook(case.model, site, change, inputs) for change in changes]
        costs = sum(loss(case, each, test) - loss(case, before, test) for each in after) / len(after)
        assert row["effect"] == pytest.approx(float(costs.mean()), rel=1e-6, abs=1e-9)
        assert row["loss_change"] == row["effect"]
        spread = (before - before.mean(0)).norm()
        change = np.sqrt(np.mean([float(((each - before).norm() / spread) ** 2) for each in after]))
        assert row["output_change"] == pytest.approx(change, rel=1e-6)
        assert row["accuracy_change"] == pytest.approx(_performance_change(case, before, after, test), abs=1e-6)
        checked += 1
    assert checked >= 5


def _performance_change(case, before, after, rows):
    targets = case.targets[rows]
    if case.loss == "cross_entropy":
        right = [100 * float((outputs.argmax(1) == targets).double().mean()) for outputs in (before, *after)]
    else:
        total = (targets - targets.mean()).square().sum()
        right = [1 - float((outputs[:, 0] - targets).square().sum() / total) for outputs in (before, *after)]
    return np.mean(right[1:]) - right[0]


@pytest.mark.parametrize("name", CASES)
def test_ablations_and_edits_of_weights_equal_those_by_hand(name):
    case, modes, rows, edits = analysed(name)
    train, test = case.halves.train, case.halves.test
    inputs, chosen = take_rows(case.inputs, test), take_rows(case.inputs, train)
    before = called(case.model, inputs)
    model = copy.deepcopy(case.model)
    q = modes.vectors[train][:, 0]
    outputs = model(**chosen) if isinstance(chosen, dict) else model(chosen)
    c = (outputs - outputs.mean(0)).detach().T @ q
    model.zero_grad()
    (q @ outputs @ (c / c.norm())).backward()
    gradients = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}
    norm = torch.cat([g.flatten() for g in gradients.values()]).norm()
    direction = {name: g / norm for name, g in gradients.items()}
    along = sum(float((p.detach() * direction[name]).sum()) for name, p in model.named_parameters())

    def outputs_at(changes):
        edited = copy.deepcopy(case.model)
        with torch.no_grad():
            for name, p in edited.named_parameters():
                p += changes.get(name, 0)
        return called(edited, inputs)

    def effect(some):
        return float(np.mean([float((loss(case, each, test) - loss(case, before, test)).mean()) for each in some]))

    (ablated,) = (r for r in rows if r["space"] == "parameters" and r["action"] == "ablate" and r["what"] == "mode 0")
    taken = outputs_at({name: -along * d for name, d in direction.items()})
    assert ablated["effect"] == pytest.approx(effect([taken]), rel=1e-6, abs=1e-9)
    weights = dict(case.model.named_parameters())
    checked = 0
    for row in edits:
        if row["what"] != "mode 0":
            continue
        matrix = row["parameter"]
        unit = direction[matrix] / direction[matrix].norm()
        step = row["dose"] * weights[matrix].detach().norm() * unit
        assert row["effect"] == pytest.approx(
            effect([outputs_at({matrix: step}), outputs_at({matrix: -step})]), rel=1e-6, abs=1e-9
        )
        checked += 1
    assert checked >= 2


def test_the_worst_of_the_masks_and_p_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    trials = [
        Trial(
            {},
            {},
            torch.randn(30, generator=generator).double() + shift,
            torch.randn(20, 30, generator=generator).double(),
            None,
            0.0,
        )
        for shift in (3.0, 0.0, 0.0)
    ]
    found = evidence(trials, 200, generator)
    x = np.array([[float(t.costs.mean()), *t.controls.mean(1).tolist()] for t in trials])
    t = np.arcsinh(x / np.sort(np.abs(x), axis=1)[:, 10:11])
    z = (t - t.mean(1, keepdims=True)) / t.std(1, ddof=1, keepdims=True)
    for i, each in enumerate(found):
        reached = sum(x[i, r] >= x[i, 0] for r in range(1, 21))
        assert each.p == pytest.approx((1 + reached) / 21)
        beyond = sum(max(z[j, r] for j in range(3)) >= z[i, 0] for r in range(1, 21))
        assert each.p_corrected == pytest.approx(max((1 + beyond) / 21, each.p))
        assert each.control_worst == pytest.approx(x[i, 1:].max())
        assert each.control_mean == pytest.approx(x[i, 1:].mean())
        assert each.low < each.effect - each.control_mean < each.high
    assert found[0].sentence.startswith("does more than random functions")
    assert found[1].sentence.startswith("does not separate")


def test_under_the_null_the_corrected_p_is_small_no_more_often_than_it_says():
    generator = torch.Generator().manual_seed(1)
    false = 0
    for _ in range(200):
        trials = []
        for _ in range(6):
            costs = torch.randn(21, generator=generator).double().exp()[:, None].expand(21, 4)
            trials.append(Trial({}, {}, costs[0], costs[1:], None, 0.0))
        false += min(each.p_corrected for each in evidence(trials, 2, generator)) <= 0.05
    assert false <= 18  # binomial(200, 1/21): 97.5 % quantile is 16


def test_verdicts_say_failures_as_plainly_as_successes():
    nan = float("nan")
    assert in_words((1.0, 2.0), 0.1, 0.04, (0.5, 1.0)) == "does more than random functions; does more than PCA"
    assert in_words((1.0, 2.0), 0.1, 0.04, (-0.5, 1.0)).endswith("does not separate from PCA")
    assert in_words((1.0, 2.0), 0.1, 0.04, (-2.0, -1.0)).endswith("does less than PCA")
    assert in_words((1.0, 2.0), 0.1, 0.06, (nan, nan)) == "does not separate from random functions"
    assert in_words((-1.0, 2.0), 0.1, 0.04, (nan, nan)) == "does not separate from random functions"
    assert in_words((-2.0, -1.0), 0.1, 1.0, (nan, nan)) == "does less than random functions"
    assert in_words((0.01, 0.05), 0.1, 0.04, (nan, nan)).endswith("by less than counts")


def test_without_targets_and_features_the_outputs_are_what_counts():
    case = case_of("mlp", features=False, targets=False)
    rows, edits = table_of(case)
    test = case.halves.test
    assert rows
    assert edits
    assert all(np.isnan(row["loss_change"]) and np.isnan(row["accuracy_change"]) for row in rows)
    assert all(row["feature"] == "" and np.isnan(row["feature_kept"]) for row in rows)
    spread = (case.outputs[test] - case.outputs[test].mean(0)).square().sum()
    variance = (case.outputs - case.outputs.mean(0)).square().sum(1).mean()
    for row in rows:
        if row["action"] == "ablate":
            expected = row["output_change"] ** 2 * float(spread / len(test) / variance)
            assert row["effect"] == pytest.approx(expected, rel=1e-6)


def test_a_feature_is_gone_where_its_only_direction_is():
    torch.manual_seed(0)
    x = torch.randn(80, 4).double()
    f = (x[:, 0] > 0).double()
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 1)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(4))
        model[1].weight.copy_(torch.tensor([[1.0, 0, 0, 0]]))
    case = prepare(Subject(model, x, features={"f": f}, targets=x[:, :1]), Options(modes=5, resamples=50))
    rows, _ = table_of(case)
    whole = [r for r in rows if r["site"] == "inputs" and r["action"] == "ablate"]
    single = [r for r in whole if r["size"] == 1 and r["feature_kept"] < 20]
    assert single
    assert all(r["feature_read"] == "outputs" for r in single)
    assert all(r["feature_kept_control"] > 40 for r in single)
    assert all(r["unpredicted"] < 1e-8 for r in rows if r["site"] == "inputs")  # the network is linear


def test_a_readout_of_the_last_site_is_a_ridge_regression_of_the_choosing_rows():
    case = case_of("mlp")
    rows = intervention_rows(case)
    meter = Meter.of(case, rows.scoring)
    feature, last = case.features.features[0], list(case.sites)[-1]
    Z, f = (values[rows.choosing] for values in (case.sites[last].values, feature.values))
    centred, n = Z - Z.mean(0), len(Z)
    G = centred @ centred.T
    w = centred.T @ torch.linalg.solve(G + 1e-2 * G.trace() / n * torch.eye(n).double(), f - f.mean(0))
    readout = Readout(case, rows, meter.bases)
    inputs = case.inputs[rows.scoring]
    basis = meter.bases[feature.name]
    with torch.no_grad():
        before, after = ((case.model[:-1](x) - Z.mean(0)) @ w for x in (inputs, 0.5 * inputs))
    held, left = basis.T @ before, basis.T @ after
    expected = 100 * float((held * left).sum() / held.square().sum())
    assert readout.kept(feature, "inputs", 0.5 * inputs) == pytest.approx(expected)
    assert readout.kept(feature, "inputs", inputs) == pytest.approx(100)
    assert readout.kept(feature, last, Z.mean(0).expand(len(inputs), -1)) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("name", ["mlp", "masked encoder"])
def test_the_model_is_left_as_found_also_by_errors_and_from_threads(name):
    case = case_of(name)
    state = {key: value.clone() for key, value in case.model.state_dict().items()}
    reference = case.outputs

    def unchanged():
        assert all(torch.equal(value, state[key]) for key, value in case.model.state_dict().items())
        assert all(p.grad is None for p in case.model.parameters())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in case.model.modules())
        assert torch.equal(called(case.model, case.inputs), reference) or name == "masked encoder"

    calls = []

    def broken(outputs, targets):
        calls.append(1)
        if len(calls) > 20:
            raise TangentlensError("broken loss", where="loss", remedy="none")
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    kernels = kernel_modes(case.model, case.inputs, case.kernel)
    object.__setattr__(case, "example_loss", broken)
    with pytest.raises(TangentlensError, match="broken loss"):
        interventions(case, kernels, silent)
    unchanged()
    object.__setattr__(case, "example_loss", lambda o, t: nn.functional.cross_entropy(o, t, reduction="none"))
    if name != "mlp":
        return
    found = [None, None]

    def work(place):
        found[place] = interventions(case, kernels, silent)

    threads = [threading.Thread(target=work, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    unchanged()
    for key, value in found[0].arrays.items():
        torch.testing.assert_close(value, found[1].arrays[key], equal_nan=True, msg=lambda m, key=key: f"{key}: {m}")


def test_places_choose_on_one_half_and_measure_on_the_other():
    case = case_of("mlp")
    rows = intervention_rows(case)
    assert set(rows.choosing.tolist()) <= set(case.halves.train.tolist())
    assert set(rows.scoring.tolist()) <= set(case.halves.test.tolist())
    for place in value_places(case, rows, 4):
        Z = site_at(case, place.name, rows.choosing).values
        torch.testing.assert_close(place.around, Z.mean(0))
        assert torch.equal(place.scoring.values, site_at(case, place.name, rows.scoring).values)
        expected = torch.linalg.svd(Z - Z.mean(0), full_matrices=False)[0][:, :4]
        cosines = torch.linalg.svdvals(place.principal.T @ expected)
        torch.testing.assert_close(cosines, torch.ones_like(cosines), atol=1e-8, rtol=0)
    assert all_parameters(case, rows, 3).width == sum(p.numel() for p in case.model.parameters())


def test_matrices_lie_where_the_flat_parameters_hold_them():
    case = case_of("masked encoder")
    flat = torch.cat([p.detach().flatten() for p in case.model.parameters()])
    weights = dict(case.model.named_parameters())
    for name, part in matrices(case).items():
        assert torch.equal(flat[part], weights[name].detach().flatten())


def test_main_directions_and_leading_functions_are_singular_vectors():
    generator = torch.Generator().manual_seed(0)
    P = nn.functional.normalize(torch.randn(9, 3, generator=generator, dtype=torch.float64), dim=0)
    assert float((main_direction(P) @ torch.linalg.svd(P)[0][:, 0]).abs()) == pytest.approx(1)
    for shape in ((8, 20), (20, 8)):
        Z = torch.randn(*shape, generator=generator, dtype=torch.float64)
        U = torch.linalg.svd(Z - Z.mean(0), full_matrices=False)[0][:, :3]
        torch.testing.assert_close(
            (leading_functions(Z, 3).T @ U).abs(), torch.eye(3, dtype=torch.float64), atol=1e-8, rtol=0
        )
