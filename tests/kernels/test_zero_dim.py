"""Parameters without axes: scales, temperatures, gates. Right at every value, by the same route at every value."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import tangentlens as tl

X = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Scaled(nn.Module):
    def __init__(self, use: Callable[[Tensor, Tensor], Tensor], value: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.scale = nn.Linear(4, 3), nn.Parameter(torch.tensor(value))
        self._use = use
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self._use(self.body(x), self.scale))


USES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "scale": lambda h, s: h * s,
    "scale, the parameter first": lambda h, s: s * h,
    "exponential (CLIP)": lambda h, s: s.exp() * h,
    "temperature": lambda h, s: h / s,
    "temperature, softened": lambda h, s: h / torch.nn.functional.softplus(s),
    "shift": lambda h, s: h + s,
    "shift down": lambda h, s: h - 2 * s,
    "shift from": lambda h, s: s - h,
    "gate": lambda h, s: torch.sigmoid(s) * h + (1 - torch.sigmoid(s)) * h.sin(),
    "twice": lambda h, s: (h * s).sin() * s,
    "expanded": lambda h, s: h * s.expand(len(h), 3),
    "reshaped": lambda h, s: h * s.reshape(1, 1),
    "where": lambda h, s: torch.where(h > 0, h, s),
    "product with a vector": lambda h, s: h * (s * torch.arange(1.0, 4.0, dtype=h.dtype)),
    "einsum": lambda h, s: torch.einsum("nd,->nd", h, s),
    "positions": lambda h, s: (h[:, None, :] * torch.ones(1, 5, 1, dtype=h.dtype) * s).cumsum(1).mean(1),
    "power": lambda h, s: h.sigmoid() ** s,
}
VALUES = [1.0, -1.0, 0.5, 2.6592]


def oracle(model: nn.Module) -> dict[str, Tensor]:
    names = [name for name, _ in model.named_parameters()]
    rows: dict[str, list[Tensor]] = {name: [] for name in names}
    for example in X:
        for value in model(example[None])[0]:
            for name, gradient in zip(
                names, torch.autograd.grad(value, list(model.parameters()), retain_graph=True), strict=True
            ):
                rows[name].append(gradient.flatten())
    return {name: torch.stack(each) @ torch.stack(each).T for name, each in rows.items()}


@pytest.mark.parametrize("method", ["factored", "matrix_free"])
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("name", USES)
def test_a_parameter_without_axes_has_its_kernel(name: str, value: float, method: str) -> None:
    model = Scaled(USES[name], value)
    ntk = tl.entk(model, X, outputs="full", groups="parameter", method=method)
    for group, expected in oracle(model).items():
        torch.testing.assert_close(ntk[group].dense(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("outputs", ["trace", "mean", 1])
@pytest.mark.parametrize("name", ["scale", "exponential (CLIP)", "temperature", "gate", "positions"])
def test_reductions_of_a_parameter_without_axes(name: str, outputs: str | int) -> None:
    model = Scaled(USES[name], 0.7)
    formed = tl.entk(model, X, outputs=outputs, groups="parameter", method="factored")
    dense = tl.entk(model, X, outputs=outputs, groups="parameter", method="dense")
    for group in formed:
        torch.testing.assert_close(formed[group].dense(), dense[group].dense(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", USES)
def test_the_route_does_not_depend_on_the_value(name: str) -> None:
    routes = {
        tuple(sorted((n, how.split(":")[0]) for n, how in tl.entk(Scaled(USES[name], v), X).strategies.items()))
        for v in (0.0 if name == "exponential (CLIP)" else 1.0, 1.0 + 1e-7, 0.5, 2.6592)
    }
    assert len(routes) == 1


def test_crossed_kernels_of_a_parameter_without_axes() -> None:
    model = Scaled(USES["scale"], 0.7)
    whole = tl.entk(model, X, groups="parameter", method="factored")["scale"].dense()
    crossed = tl.entk(model, X[:5], inputs2=X[5:], groups="parameter", method="factored")["scale"].dense()
    torch.testing.assert_close(crossed, whole[:5, 5:])
