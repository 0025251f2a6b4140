"""Networks trained together end where each would alone, whatever joins, leaves or interrupts the stack."""

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tangentlens.errors import InvalidInputError
from tangentlens.paper.modular_addition.data import labels, token_inputs
from tangentlens.paper.stacked_training import StackedTraining
from tangentlens.paper.transformer.network import OneLayerTransformer

P = 5
TRAIN = 14  # batches of 4, 4, 4 and 2

OPTIMISERS = {
    "adamw": lambda leaves: torch.optim.AdamW(leaves, lr=3e-3, weight_decay=1.0),
    "fused adamw": lambda leaves: torch.optim.AdamW(leaves, lr=3e-3, weight_decay=1.0, fused=True),
    "adam": lambda leaves: torch.optim.Adam(leaves, lr=3e-3),
    "momentum": lambda leaves: torch.optim.SGD(leaves, lr=1e-2, momentum=0.9),
}


def transformer(seed: int) -> OneLayerTransformer:
    return OneLayerTransformer(P, 8, 2, 16, generator=torch.Generator().manual_seed(seed))


def train_rows(seed: int) -> Tensor:
    return torch.randperm(P * P, generator=torch.Generator().manual_seed(100 + seed))[:TRAIN]


def batch_source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(200 + seed)


def objective(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs[:, :P], targets)


def stack(
    seeds: Sequence[int], optimiser: str = "adamw", dtype=torch.float64, batch: int | None = 4
) -> StackedTraining:
    rows = torch.stack([train_rows(seed) for seed in seeds])
    return StackedTraining(
        [transformer(seed).to(dtype) for seed in seeds],
        token_inputs(P)[rows],
        labels(P)[rows],
        objective=objective,
        optimiser=OPTIMISERS[optimiser],
        generators=[batch_source(seed) for seed in seeds],
        batch=batch,
    )


def run(training: StackedTraining, epochs: int) -> StackedTraining:
    for _ in range(epochs):
        training.run_epoch()
    return training


def trained_alone(seed: int, optimiser: Callable, epochs: int, dtype=torch.float64, batch: int | None = 4) -> nn.Module:
    """The plain loop over one module."""
    net, rows, generator = transformer(seed).to(dtype), train_rows(seed), batch_source(seed)
    stepper = optimiser(net.parameters())
    for _ in range(epochs):
        order = rows if batch is None else rows[torch.randperm(TRAIN, generator=generator)]
        for chosen in order.split(batch or TRAIN):
            stepper.zero_grad()
            objective(net(token_inputs(P)[chosen]), labels(P)[chosen]).backward()
            stepper.step()
    return net


def assert_same(parameters: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert parameters.keys() == expected.keys()
    for name, value in parameters.items():
        torch.testing.assert_close(value, expected[name].detach(), rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("batch", [4, TRAIN, None])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_each_network_ends_where_the_plain_loop_takes_it(optimiser, batch):
    together = run(stack([0, 1, 2], optimiser, batch=batch), epochs=3)
    for index in range(3):
        alone = trained_alone(index, OPTIMISERS[optimiser], epochs=3, batch=batch)
        assert_same(together.snapshot(index), dict(alone.named_parameters()), tolerance=1e-11)


def test_float32_stays_within_rounding_of_the_plain_loop():
    together = run(stack([0, 1], dtype=torch.float32), epochs=3)
    alone = trained_alone(1, OPTIMISERS["adamw"], epochs=3, dtype=torch.float32)
    assert_same(together.snapshot(1), dict(alone.named_parameters()), tolerance=1e-5)


def test_company_does_not_matter():
    together, alone = run(stack([0, 1, 2]), epochs=4), run(stack([2]), epochs=4)
    assert_same(together.snapshot(2), alone.snapshot(0), tolerance=1e-12)


def test_networks_that_leave_do_not_disturb_those_that_stay():
    shrinking, whole = run(stack([0, 1, 2]), epochs=2), run(stack([0, 1, 2]), epochs=5)
    shrinking.keep([2, 0])
    assert len(shrinking) == 2
    run(shrinking, epochs=3)
    assert_same(shrinking.snapshot(0), whole.snapshot(2), tolerance=1e-12)
    assert_same(shrinking.snapshot(1), whole.snapshot(0), tolerance=1e-12)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_an_interrupted_training_goes_on_as_if_never_stopped(optimiser, tmp_path):
    interrupted, whole = run(stack([0, 1], optimiser), epochs=2), run(stack([0, 1], optimiser), epochs=4)
    torch.save(interrupted.state_dict(), tmp_path / "state.pt")
    run(interrupted, epochs=1)  # what is lost
    resumed = stack([0, 1], optimiser)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert resumed.epoch == 2
    run(resumed, epochs=2)
    for index in range(2):
        assert_same(resumed.snapshot(index), whole.snapshot(index), tolerance=0.0)


def test_outputs_are_those_of_the_networks_themselves():
    training = run(stack([0, 1]), epochs=2)
    outputs = training.outputs(token_inputs(P))
    for index in range(2):
        net = transformer(index).double()
        net.load_state_dict(training.snapshot(index))
        torch.testing.assert_close(outputs[index], net(token_inputs(P)).detach(), rtol=1e-12, atol=1e-12)
    assert not outputs.requires_grad


def test_an_epoch_reports_the_mean_loss_over_what_it_saw():
    training = stack([0, 1], "momentum", batch=None)
    before = [
        objective(transformer(seed).double()(token_inputs(P)[rows]), labels(P)[rows]).item()
        for seed, rows in ((0, train_rows(0)), (1, train_rows(1)))
    ]
    assert training.run_epoch().tolist() == pytest.approx(before, rel=1e-12)
    assert training.epoch == 1


def test_the_networks_given_and_the_snapshots_taken_are_left_alone():
    nets = [transformer(0), transformer(1)]
    given = copy.deepcopy(nets)
    rows = torch.stack([train_rows(0), train_rows(1)])
    training = StackedTraining(
        nets,
        token_inputs(P)[rows],
        labels(P)[rows],
        objective=objective,
        optimiser=OPTIMISERS["adamw"],
        generators=[batch_source(0), batch_source(1)],
    )
    snapshot = training.snapshot(0)
    run(training, epochs=2)
    for net, original in zip(nets, given, strict=True):
        assert_same(dict(net.named_parameters()), dict(original.named_parameters()), tolerance=0.0)
        assert all(value.grad is None for value in net.parameters())
    assert_same(snapshot, dict(given[0].named_parameters()), tolerance=0.0)


def test_no_global_random_state_is_touched():
    state = torch.random.get_rng_state()
    run(stack([0]), epochs=1)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("indices", [[], [0, 0], [2], [-1]])
def test_networks_that_are_not_there_cannot_be_kept(indices):
    with pytest.raises(InvalidInputError, match="cannot keep"):
        stack([0, 1]).keep(indices)


def test_a_state_of_another_stack_is_refused():
    with pytest.raises(InvalidInputError, match="the state holds"):
        stack([0]).load_state_dict(stack([0, 1]).state_dict())


def test_a_stack_without_equal_parts_is_refused():
    rows = torch.stack([train_rows(0)])
    parts = {"objective": objective, "optimiser": OPTIMISERS["adam"], "generators": [batch_source(0)]}
    x, y = token_inputs(P)[rows], labels(P)[rows]
    with pytest.raises(InvalidInputError, match="2 networks"):
        StackedTraining([transformer(0), transformer(1)], x, y, **parts)
    with pytest.raises(InvalidInputError, match="batch"):
        StackedTraining([transformer(0)], x, y, batch=0, **parts)
    with pytest.raises(InvalidInputError, match="buffers"):
        StackedTraining([nn.BatchNorm1d(3)], x, y, **parts)
