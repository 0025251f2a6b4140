"""Every form of a call that a rule knows gives the right use; every other form is differentiated. Oracle: autograd."""

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

import tangentlens as tl

N = 9


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Raw(nn.Module):
    """A model of parameters `p0`, `p1`, ... of given shapes and one function of them and the input."""

    def __init__(self, forward: Callable[..., Tensor], *shapes: tuple[int, ...], dtype: torch.dtype = torch.float64):
        super().__init__()
        self._call = forward
        for i, shape in enumerate(shapes):
            self.register_parameter(f"p{i}", nn.Parameter((1 + 0.3 * normal(*shape, seed=i + 1)).to(dtype)))

    def forward(self, x: Tensor) -> Tensor:
        # tanh makes every gradient depend on the example
        return torch.tanh(self._call(x, *self.parameters()).flatten(1).double())


def oracle(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Kernel of every parameter by a plain loop of torch.autograd.grad over examples and outputs."""
    rows: dict[str, list[Tensor]] = {name: [] for name, _ in model.named_parameters()}
    for example in x:
        for value in model(example[None])[0]:
            found = torch.autograd.grad(value, list(model.parameters()), retain_graph=True, materialize_grads=True,
                                        allow_unused=True)  # fmt: skip
            for name, gradient in zip(rows, found, strict=True):
                rows[name].append(gradient.flatten().double())
    return {name: torch.stack(each) @ torch.stack(each).T for name, each in rows.items()}


def check(model: nn.Module, x: Tensor, tolerance: float = 1e-9) -> tl.EmpiricalNTK:
    expected = oracle(model, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ntk = tl.entk(model, x, outputs="full", groups="parameter", method="factored")
    for name in ntk:
        scale = float(expected[name].abs().max())
        assert float((ntk[name].dense() - expected[name]).abs().max()) <= tolerance * max(scale, 1e-30), name
    return ntk


X = normal(N, 4, seed=20)
T = normal(N, 3, 4, seed=21)
MASK = torch.tensor([True, False, True, True])
W3 = (4, 3)


def same_length(x: Tensor, w: Tensor) -> Tensor:
    """A convolution with an even kernel, padded by one more on the right than on the left."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch copies the input
        return functional.conv1d(x, w, padding="same")


# calls that rules explain: name -> (forward, shapes of the parameters, input)
KNOWN: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]], Tensor]] = {
    "mul by keyword": (lambda x, w: torch.mul(input=x, other=w), [(4,)], X),
    "mul, the parameter first": (lambda x, w: torch.mul(w, other=x), [(1, 4)], X),
    "mul broadcasts both": (lambda x, w: x[:, None, :] * w, [(3, 1)], X),
    "mul by integers": (lambda x, w: (10 * x).long() * w, [(4,)], X),
    "mul by a mask": (lambda x, w: (x > 0) * w, [(4,)], X),
    "mul in place": (lambda x, w: (x + 0).mul_(w), [(4,)], X),
    "div by a parameter": (lambda x, w: x / w, [(4,)], X),
    "div by keyword": (lambda x, w: torch.div(input=x, other=w), [(1, 4)], X),
    "div in place": (lambda x, w: (x + 0).div_(w), [(4,)], X),
    "div of a parameter": (lambda x, w: w / (2 + x.tanh()), [(4,)], X),
    "add with alpha": (lambda x, w: torch.add(x, w, alpha=2.5), [(4,)], X),
    "add with alpha, the parameter first": (lambda x, w: torch.add(input=w, other=x, alpha=2), [(1, 4)], X),
    "sub with alpha": (lambda x, w: torch.sub(x, other=w, alpha=0.5), [(4,)], X),
    "rsub": (lambda x, w: torch.rsub(w, x, alpha=3), [(4,)], X),
    "add in place": (lambda x, w: (x + 0).add_(w, alpha=2), [(4,)], X),
    "subtract in place": (lambda x, w: (x + 0).sub_(w), [(4,)], X),
    "matmul by keyword": (lambda x, w: torch.matmul(input=x, other=w), [W3], X),
    "mm by keyword": (lambda x, w: torch.mm(input=x, mat2=w), [W3], X),
    "mv": (lambda x, w: torch.mv(input=x, vec=w)[:, None], [(4,)], X),
    "rmatmul": (lambda x, w: w.__rmatmul__(x), [W3], X),
    "matmul from the left": (lambda x, w: w @ x, [(2, 3)], T),
    "bmm of an expanded parameter": (lambda x, w: torch.bmm(x, w.expand(len(x), -1, -1)), [(1, 4, 2)], T),
    "addmm": (lambda x, b, w: torch.addmm(b, x, w, beta=2, alpha=0.5), [(3,), W3], X),
    "addmm by keyword": (lambda x, b, w: torch.addmm(input=b, mat1=x, mat2=w, beta=0.5), [(1, 3), W3], X),
    "baddbmm": (lambda x, b: torch.baddbmm(b, x, x.mT, alpha=2, beta=3), [(1, 3, 3)], T),
    "linear by keyword": (lambda x, w, b: functional.linear(input=x, weight=w, bias=b), [(3, 4), (3,)], X),
    "linear with a vector": (lambda x, w: functional.linear(x, w)[:, None], [(4,)], X),
    "linear with a bias of two axes": (functional.linear, [(3, 4), (1, 3)], X),
    "bilinear": (lambda x, w, b: functional.bilinear(x, x, w, b), [(3, 4, 4), (3,)], X),
    "einsum with spaces": (lambda x, w: torch.einsum(" n t d , d e -> n t e", x, w), [W3], T),
    "einsum without an output": (lambda x, w: torch.einsum("bd,dz", x, w), [W3], X),
    "einsum without an output, capitals first": (lambda x, w: torch.einsum("bd,dA->bA", x, w), [W3], X),
    "einsum with capitals": (lambda x, w: torch.einsum("Nd,dE->NE", x, w), [W3], X),
    "einsum with an ellipsis": (lambda x, w: torch.einsum("...d,de->...e", x, w), [W3], T),
    "einsum with an ellipsis that is summed": (lambda x, w: torch.einsum("n...d,de->ne", x, w), [W3], T),
    "einsum with ellipses of two lengths": (lambda x, w: torch.einsum("n...d,...d->n...", x, w), [(3, 4)], T),
    "einsum broadcasts an ellipsis": (lambda x, w: torch.einsum("n...d,...d->n...", x, w), [(1, 4)], T),
    "einsum broadcasts a letter": (lambda x, w: torch.einsum("ntd,td->ntd", x, w), [(1, 4)], T),
    "einsum contracts a letter of length one": (lambda x, w: torch.einsum("ntd,td->nt", x, w), [(3, 1)], T),
    "einsum of a list": (lambda x, w: torch.einsum("nd,de->ne", [x, w]), [W3], X),
    "einsum uses a parameter twice": (lambda x, w: torch.einsum("nd,de,ef->nf", x, w, w), [(4, 4)], X),
    "einsum of three": (lambda x, v, w: torch.einsum("ntd,d,dk->nk", x, v, w), [(4,), W3], T),
    "expand": (lambda x, w: x + w.expand(len(x), 4), [(4,)], X),
    "expand as": (lambda x, w: x * w.expand_as(x), [(1, 4)], X),
    "broadcast to": (lambda x, w: x * torch.broadcast_to(w, size=x.shape), [(4,)], X),
    "repeat": (lambda x, w: x + w.repeat(len(x), 1), [(4,)], X),
    "where": (lambda x, w: torch.where(x > 0, w, x), [(4,)], X),
    "where by keyword": (lambda x, w: torch.where(condition=x > 0, input=x, other=w), [(1, 4)], X),
    "where, the method": (lambda x, w: x.where(x > 0, w), [(4,)], X),
    "where, the method of the parameter": (lambda x, w: w.where(x > 0, x), [(4,)], X),
    "where with a mask that broadcasts": (lambda x, w: torch.where(x[:, :1] > 0, w, x), [(4,)], X),
    "where with two parameters": (lambda x, w, v: torch.where(x > 0, w, v), [(4,), (1,)], X),
    "where with the same parameter twice": (lambda x, w: torch.where(x > 0, w, w), [(4,)], X),
    "where with a number": (lambda x, w: torch.where(x > 0, w, 0.0), [(4,)], X),
    "layer_norm by keyword": (
        lambda x, w, b: functional.layer_norm(input=x, normalized_shape=(4,), weight=w, bias=b, eps=0.1),
        [(4,), (4,)],
        T,
    ),
    "layer_norm of two axes": (lambda x, w: functional.layer_norm(x, (3, 4), w), [(3, 4)], T),
    "rms_norm": (lambda x, w: functional.rms_norm(x, [4], weight=w, eps=1e-3), [(4,)], T),
    "group_norm": (lambda x, w, b: functional.group_norm(x, 2, weight=w, bias=b), [(4,), (4,)], T.mT.contiguous()),
    "index_select, a negative axis": (
        lambda x, w: x @ w.index_select(dim=-1, index=torch.tensor([2, 0, 2])),
        [(4, 3)],
        X,
    ),
    "convolution by keyword": (
        lambda x, w, b: functional.conv1d(input=x, weight=w, bias=b, stride=2, padding=1, dilation=2),
        [(2, 3, 2), (2,)],
        T,
    ),
    "grouped convolution": (lambda x, w, b: functional.conv1d(x, w, b, groups=2), [(4, 2, 2), (4,)], T.mT.contiguous()),
    "convolution of the same length": (same_length, [(2, 4, 2)], T.mT.contiguous()),
    "padded convolution": (
        lambda x, w: functional.conv1d(functional.pad(x, (1, 2), mode="circular"), w),
        [(2, 3, 3)],
        T,
    ),
}

# calls that no rule explains, which are differentiated; or are no use of the parameter
OTHER: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]], Tensor]] = {
    "floor division": (lambda x, w: x * w + torch.div(x, w, rounding_mode="floor"), [(4,)], X),
    "einsum with a diagonal": (lambda x, w: torch.einsum("nd,dd->nd", x, w), [(4, 4)], X),
    "einsum with a trace": (lambda x, w: torch.einsum("nd,ee->nd", x, w), [(3, 3)], X),
    "interleaved einsum": (lambda x, w: torch.einsum(x, [0, 1], w, [1, 2], [0, 2]), [W3], X),
    "transposed convolution": (
        lambda x, w, b: functional.conv_transpose1d(x, w, b, stride=2, output_padding=1, groups=1),
        [(3, 2, 3), (2,)],
        T,
    ),
    "attention with learned keys": (
        lambda x, k: functional.scaled_dot_product_attention(x, k.expand(len(x), -1, -1), x),
        [(1, 3, 4)],
        T,
    ),
    "a tiling of a longer axis": (lambda x, w: (x.flatten() * w.repeat(len(x))).view(len(x), 4), [(4,)], X),
    "a tiling before another use": (
        lambda x, w, v: (x.flatten() * w.repeat(len(x))).view(len(x), 4) @ v,
        [(4,), W3],
        X,
    ),
    "addcmul": (lambda x, w: torch.addcmul(x, x, w, value=2), [(4,)], X),
    "lerp": (lambda x, w: torch.lerp(x, w, 0.3), [(4,)], X),
    "data expanded as a parameter": (
        lambda x, w: (x * w).sum(1, keepdim=True).expand_as(w.expand(len(x), 4)),
        [(4,)],
        X,
    ),
    "complex numbers": (lambda x, w: torch.view_as_real(torch.complex(x, x.tanh()) * w).flatten(1), [(4,)], X),
    "sparse numbers": (lambda x, w: torch.sparse.mm(x.to_sparse(), w), [W3], X),
    "maximum": (torch.maximum, [(4,)], X),
    "power of a parameter": (lambda x, w: x.sigmoid() ** w, [(4,)], X),
    "instance norm": (lambda x, w: functional.instance_norm(x, weight=w), [(3,)], T),
    "prelu": (functional.prelu, [(4,)], X),
    "torch's own batch_norm": (
        lambda x, w, b: torch.batch_norm(x, w, b, X.mean(0), X.var(0), False, 0.1, 1e-5, False),
        [(4,), (4,)],
        X,
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_call_that_a_rule_knows(name: str) -> None:
    forward, shapes, x = KNOWN[name]
    ntk = check(Raw(forward, *shapes), x)
    assert "differentiated" not in ntk.explain()


@pytest.mark.parametrize("name", OTHER)
def test_a_call_that_no_rule_knows(name: str) -> None:
    forward, shapes, x = OTHER[name]
    check(Raw(forward, *shapes), x)


@pytest.mark.parametrize("name", [*KNOWN, *OTHER])
def test_calls_on_one_example(name: str) -> None:
    """An axis of length one is the batch here, and must not be taken for one that is broadcast."""
    forward, shapes, x = {**KNOWN, **OTHER}[name]
    model = Raw(forward, *shapes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ntk = tl.entk(model, x[:1], outputs="full", groups="parameter", method="factored")
    for group, expected in oracle(model, x[:1]).items():
        torch.testing.assert_close(ntk[group].dense(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["mul by keyword", "div by a parameter", "matmul by keyword", "where", "expand"])
def test_parameters_of_less_precision_than_the_data(name: str) -> None:
    forward, shapes, x = KNOWN[name]
    try:
        model = Raw(forward, *shapes, dtype=torch.float32)
        model(x)
    except RuntimeError:
        pytest.skip("torch itself refuses these dtypes")
    check(model, x, tolerance=1e-5)


class Tokens(nn.Module):
    def __init__(self, call: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self._call, self.table, self.head = call, nn.Parameter(normal(7, 4)), nn.Linear(4, 2).double()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.tanh(self._call(tokens, self.table)))


IDS = torch.randint(0, 7, (N, 3), generator=torch.Generator().manual_seed(0))
LOOKUPS = {
    "F.embedding": lambda ids, w: functional.embedding(ids, w).mean(1),
    "by keyword": lambda ids, w: functional.embedding(input=ids, weight=w, padding_idx=2).mean(1),
    "a negative padding index": lambda ids, w: functional.embedding(ids, w, padding_idx=-1).mean(1),
    "torch.embedding": lambda ids, w: torch.embedding(w, ids).mean(1),
    "torch.embedding, padded": lambda ids, w: torch.embedding(w, ids, 2).mean(1),
    "indexing": lambda ids, w: w[ids].mean(1),
    "negative indices": lambda ids, w: w[ids - 7].mean(1),
    "indexing the second axis": lambda ids, w: w[:4].T[:, ids % 4].mean(2).T,
    "embedding_bag": lambda ids, w: functional.embedding_bag(ids, w, mode="mean"),
    "one-hot": lambda ids, w: functional.one_hot(ids, 7).double().mean(1) @ w,
    "take_along_dim": lambda ids, w: torch.take_along_dim(w.expand(len(ids), 7, 4), ids[:, :1, None], 1)[:, 0],
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_lookups(name: str) -> None:
    check(Tokens(LOOKUPS[name]), IDS)


CELLS = {
    "LSTM": lambda: nn.LSTM(4, 5, batch_first=True),
    "LSTM, projected": lambda: nn.LSTM(4, 5, proj_size=3, batch_first=True),
    "LSTM, projected, two layers, no bias": lambda: nn.LSTM(4, 5, 2, proj_size=2, bias=False, batch_first=True),
    "LSTM, projected, bidirectional": lambda: nn.LSTM(4, 5, proj_size=3, bidirectional=True, batch_first=True),
    "LSTM, all of it": lambda: nn.LSTM(4, 5, 2, proj_size=3, bidirectional=True, batch_first=True),
    "LSTM, no bias": lambda: nn.LSTM(4, 5, 2, bias=False, batch_first=True),
    "GRU, two layers": lambda: nn.GRU(4, 5, 2, bidirectional=True, batch_first=True),
    "RNN": lambda: nn.RNN(4, 5, batch_first=True),
    "RNN, relu": lambda: nn.RNN(4, 5, 2, nonlinearity="relu", batch_first=True),
}


class Recurrent(nn.Module):
    def __init__(self, build: Callable[[], nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = build()
        sizes = self.layer.proj_size or self.layer.hidden_size
        self.head = nn.Linear(sizes * (2 if self.layer.bidirectional else 1), 2)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        outputs, state = self.layer(x)
        last = state[0] if isinstance(state, tuple) else state
        return self.head(outputs.mean(1)) + last.sum((0, 2))[:, None].sin()


@pytest.mark.parametrize("name", CELLS)
def test_recurrent_layers(name: str) -> None:
    ntk = check(Recurrent(CELLS[name]), T)
    assert "differentiated" not in ntk.explain()


@pytest.mark.parametrize("name", CELLS)
def test_recurrent_layers_from_a_given_state(name: str) -> None:
    model = Recurrent(CELLS[name])
    layer = model.layer
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    hidden = normal(rows, 1, layer.proj_size or layer.hidden_size, seed=5)
    cell = normal(rows, 1, layer.hidden_size, seed=6)

    def forward(x: Tensor) -> Tensor:
        h, c = hidden.expand(-1, len(x), -1).contiguous(), cell.expand(-1, len(x), -1).contiguous()
        return model.head(layer(x, (h, c) if isinstance(layer, nn.LSTM) else h)[0][:, -1])

    model.forward = forward
    check(model, T)


SINGLE = {
    "LSTMCell": lambda: nn.LSTMCell(4, 5),
    "LSTMCell, no bias": lambda: nn.LSTMCell(4, 5, bias=False),
    "GRUCell": lambda: nn.GRUCell(4, 5),
    "RNNCell": lambda: nn.RNNCell(4, 5),
    "RNNCell, relu": lambda: nn.RNNCell(4, 5, nonlinearity="relu"),
}


class Stepped(nn.Module):
    def __init__(self, build: Callable[[], nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.cell, self.head = build().double(), nn.Linear(5, 2).double()

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


@pytest.mark.parametrize("name", SINGLE)
def test_recurrent_cells(name: str) -> None:
    ntk = check(Stepped(SINGLE[name]), T)
    assert "differentiated" not in ntk.explain()
