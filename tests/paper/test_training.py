from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.paper.training import (
    Checkpoint,
    Loss,
    TrainingConfig,
    checkpoints,
    cross_entropy,
    mean_squared_error,
    train,
)

ROWS = torch.arange(12)
INPUTS = torch.randn(12, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.randint(0, 3, (12,), generator=torch.Generator().manual_seed(1))


def config(**changes: Any) -> TrainingConfig:
    return TrainingConfig(**{"epochs": 7, "measure_every": 3, "learning_rate": 0.05, **changes})


def linear() -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        layer = nn.Linear(4, 3, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(2))
    return layer


def trained(
    settings: TrainingConfig, loss: Loss = mean_squared_error, model: nn.Module | None = None
) -> list[Checkpoint]:
    generator = torch.Generator().manual_seed(3)
    return list(train(model or linear(), INPUTS, LABELS, ROWS[:8], ROWS[8:], loss, settings, generator))


def test_checkpoints_come_before_the_first_step_regularly_and_at_the_end() -> None:
    found = trained(config())
    assert [point.epoch for point in found] == [0, 3, 6, 7]
    assert checkpoints(config()) == 4
    assert checkpoints(config(epochs=6)) == 3
    before = linear().state_dict()
    assert all(torch.equal(found[0].state[name], before[name]) for name in before)


@pytest.mark.parametrize("loss", [mean_squared_error, cross_entropy])
def test_full_batch_sgd_is_gradient_descent(loss: Loss) -> None:
    settings = config(optimiser="sgd", epochs=5, measure_every=1)
    weights = [point.state["weight"] for point in trained(settings, loss)]
    for before, after, state in zip(weights, weights[1:], trained(settings, loss), strict=False):
        W = before.clone().requires_grad_()
        loss(INPUTS[:8] @ W.T + state.state["bias"], LABELS[:8]).backward()
        assert torch.allclose(after, before - 0.05 * W.grad)


def test_one_epoch_of_mini_batches_uses_every_row_once() -> None:
    """With plain SGD on a loss linear in the weights the steps commute and add up to one over all rows."""

    def linear_loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs.gather(1, labels[:, None]).sum()

    whole = trained(config(optimiser="sgd", epochs=2), linear_loss)
    parts = trained(config(optimiser="sgd", epochs=2, batch_size=3), linear_loss)
    assert torch.allclose(whole[-1].state["weight"], parts[-1].state["weight"])


def test_the_generator_decides_the_batches_and_nothing_else_is_random() -> None:
    before = torch.random.get_rng_state()
    first, second = (trained(config(batch_size=3)) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first[-1].state["weight"], second[-1].state["weight"])


def test_losses_and_accuracies_are_those_of_the_state() -> None:
    for point in trained(config(), cross_entropy):
        outputs = INPUTS @ point.state["weight"].T + point.state["bias"]
        assert point.test_loss == pytest.approx(float(cross_entropy(outputs[8:], LABELS[8:])))
        assert point.train_accuracy == pytest.approx(float((outputs.argmax(dim=1) == LABELS)[:8].double().mean()))


def test_held_out_rows_do_not_touch_the_training() -> None:
    other = INPUTS.clone()
    other[8:] = 100.0
    generator = torch.Generator()
    last = list(train(linear(), other, LABELS, ROWS[:8], ROWS[8:], mean_squared_error, config(), generator))[-1]
    assert torch.equal(last.state["weight"], trained(config())[-1].state["weight"])


def test_states_are_copies_and_the_model_stands_at_the_last_one_without_gradients() -> None:
    model = linear()
    found = trained(config(), model=model)
    assert torch.equal(found[-1].state["weight"], model.weight)
    assert found[-1].state["weight"].data_ptr() != model.weight.data_ptr()
    assert not torch.equal(found[0].state["weight"], found[1].state["weight"])
    assert model.weight.grad is None


def test_mean_squared_error_is_over_all_entries() -> None:
    assert float(mean_squared_error(torch.zeros(5, 4), torch.zeros(5, dtype=torch.int64))) == pytest.approx(1 / 4)


def test_divergence_is_named_with_its_epoch() -> None:
    with pytest.raises(NumericalError, match=r"epoch 3.*Lower the learning rate"):
        trained(config(optimiser="sgd", learning_rate=1e200))


def test_missing_rows_and_bad_configs_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="0 test rows"):
        next(train(linear(), INPUTS, LABELS, ROWS, ROWS[:0], cross_entropy, config(), torch.Generator()))
    for wrong in ({"epochs": 0}, {"optimiser": "adamax"}, {"learning_rate": -1.0}, {"momentum": 0.9}):
        with pytest.raises(ValidationError):
            config(**wrong)
