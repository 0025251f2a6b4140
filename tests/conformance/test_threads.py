"""Kernels of one shared model from several threads, while another thread trains."""

import copy
import threading

import pytest
import torch
from torch import nn

import tangentlens as tl

THREADS, CALLS = 4, 100


class Shared(nn.Module):
    """Attention and a tied weight."""

    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 4)
        self.head.weight = self.attention.out_proj.weight

    def forward(self, x):
        return self.head(self.attention(x, x, x)[0][:, 0])


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Shared().double().eval()


X = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _kernel(model):
    return tl.entk(model, X, groups="all").total.dense()


def _train(model, stop, pause=0.01):
    """Step on the model until it is stopped, at least once."""
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    while True:
        optimiser.zero_grad()
        model(X).square().mean().backward()
        optimiser.step()
        if stop.wait(pause):
            return


def _run(task, calls):
    """Call the task from every thread; what it returned or raised."""
    found = []

    def work():
        for _ in range(calls):
            try:
                found.append(task())
            except Exception as error:
                found.append(error)

    workers = [threading.Thread(target=work) for _ in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return found


def _state(model):
    tensors = {name: value.detach().clone() for name, value in model.state_dict(keep_vars=True).items()}
    identities = [(name, id(p), p.requires_grad, p.grad) for name, p in model.named_parameters(remove_duplicate=False)]
    hooks = [
        (name, len(m._forward_hooks), len(m._forward_pre_hooks), m.training, list(vars(m)), list(m._parameters))
        for name, m in model.named_modules()
    ]
    return tensors, identities, hooks


def _assert_untouched(model, before):
    tensors, identities, hooks = before
    now = _state(model)
    assert all(torch.equal(value, now[0][name]) for name, value in tensors.items())
    assert now[1:] == (identities, hooks)


def test_threads_share_a_model_while_a_copy_trains(model):
    expected, before = _kernel(model), _state(model)
    other, stop = copy.deepcopy(model), threading.Event()
    trainer = threading.Thread(target=_train, args=(other, stop))
    trainer.start()
    try:
        found = _run(lambda: _kernel(model), CALLS)
    finally:
        stop.set()
        trainer.join()
    errors = [f for f in found if isinstance(f, Exception)]
    assert not errors, errors[0]
    assert len(found) == THREADS * CALLS
    assert all(torch.allclose(kernel, expected, rtol=1e-10, atol=0) for kernel in found)
    _assert_untouched(model, before)


def test_a_model_that_trains_during_the_calls(model):
    """Every kernel is that of the parameters at some step, or is refused because they changed."""
    initial, history, stop = copy.deepcopy(model), [], threading.Event()

    class Remembers(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            history.append([p.detach().clone() for p in model.parameters()])

    def train():
        optimiser = Remembers(model.parameters(), lr=0.05)
        while not stop.wait(0.05):
            optimiser.zero_grad()
            model(X).square().mean().backward()
            optimiser.step()

    history.append([p.detach().clone() for p in model.parameters()])
    trainer = threading.Thread(target=train)
    trainer.start()
    try:
        found = _run(lambda: _kernel(model), CALLS // 10)
    finally:
        stop.set()
        trainer.join()
    refused = [f for f in found if isinstance(f, tl.NumericalError) and "changed during the call" in str(f)]
    kernels = [f for f in found if not isinstance(f, Exception)]
    others = [f for f in found if isinstance(f, Exception) and f not in refused]
    assert not others, others[0]
    candidates = [_kernel(_at(initial, values)) for values in history]
    for kernel in kernels:
        assert any(torch.allclose(kernel, one, rtol=1e-9, atol=0) for one in candidates)


def _at(model, values):
    at = copy.deepcopy(model)
    with torch.no_grad():
        for parameter, value in zip(at.parameters(), values, strict=True):
            parameter.copy_(value)
    return at
