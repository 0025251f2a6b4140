"""Head of a language model: bias, scale and cap from final hidden state to logits, measured in forward passes.

Biases, scales of the logits (Cohere, Granite), scales of the hidden state before the head and soft caps go by many
names in configs. So the model is run with what its head returns replaced by known numbers: the logits that come out are
a scale and a cap of them, or the model is refused.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tangentlens.errors import UnsupportedModelError
from tangentlens.language.agreement import relative_difference, tolerance
from tangentlens.language.chain import hidden_of

_SATURATED = {torch.float16: 1e4}  # a product that any soft cap cuts off; else 1e6
_SMALL = 1e-3


@dataclass(frozen=True)
class Head:
    """The logits as a function of the final hidden state: z(r) = c tanh(y / c), or y without a cap; y = s U r + b.

    Attributes:
        weight: U, detached.
        bias: b, where the model has one.
        scale: s.
        soft_cap: c, where the model has one.
    """

    weight: Float[Tensor, "V d"]
    bias: Float[Tensor, " V"] | None = None
    scale: float = 1.0
    soft_cap: float | None = None

    def logits(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, "n V"]:
        """z of some hidden states."""
        y = self.scale * (hidden @ self.weight.T)
        if self.bias is not None:
            y = y + self.bias
        return y if self.soft_cap is None else self.soft_cap * torch.tanh(y / self.soft_cap)

    def slopes(self, logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """dz_v / d(u_v . r) where the logits are z: s, less where a cap flattens them."""
        if self.soft_cap is None:
            return torch.full_like(logits, self.scale)
        return self.scale * (1 - (logits / self.soft_cap).square())

    @property
    def formula(self) -> str:
        """The logits as a formula of U and r."""
        y = ("" if self.scale == 1 else f"{self.scale:.6g} ") + "U r" + ("" if self.bias is None else " + b")
        inner = y if y == "U r" else f"({y})"
        return y if self.soft_cap is None else f"{self.soft_cap:g} tanh({inner} / {self.soft_cap:g})"


@dataclass(frozen=True)
class HeadShape:
    """The numbers of a head: `before` multiplies the hidden state, `behind` the output of the head's module."""

    before: float
    behind: float
    soft_cap: float | None

    def of(self, module: nn.Linear) -> Head:
        """The head with its module's present weights."""
        bias = None if module.bias is None else self.behind * module.bias.detach()
        return Head(module.weight.detach(), bias, self.before * self.behind, self.soft_cap)


def measure_head(model: nn.Module, last: nn.Module, ids: Int[Tensor, "1 2"]) -> HeadShape:
    """Measure what lies around a model's linear head.

    Args:
        model: its hooks and weights are left as they were.
        last: the module that returns the final hidden state.
        ids: two tokens.

    Raises:
        UnsupportedModelError: the head is not linear, or the logits are no scale and cap of what it returns.
    """
    module = model.get_output_embeddings()  # type: ignore[operator]
    if not isinstance(module, nn.Linear):
        raise _refused(model, f"the head is a {type(module).__name__}, not a linear unembedding")
    own = _run(model, module, last, ids, None)
    probe = _probe(own.returned)
    answer = _run(model, module, last, ids, probe).logits
    behind, soft_cap = _behind(model, probe.double(), answer.double(), tolerance(probe.dtype))
    shape = HeadShape(_before(model, own.given, own.hidden), behind, soft_cap)
    check_head(model, shape.of(module), own.hidden.view_as(own.given), own.logits)
    return shape


@dataclass(frozen=True)
class _Pass:
    """The final hidden state, what the head is given and returns, and the logits, of one forward pass."""

    hidden: Tensor
    given: Tensor
    returned: Tensor
    logits: Tensor


def check_head(model: nn.Module, head: Head, hidden: Float[Tensor, "*n d"], logits: Float[Tensor, "*n V"]) -> float:
    """Relative difference between the model's logits and those that the head gives of its final hidden states.

    Raises:
        UnsupportedModelError: it is above rounding.
    """
    expected = head.logits(hidden.flatten(0, -2)).view_as(logits)
    difference = relative_difference(logits.double(), expected.double())
    if not difference <= tolerance(hidden.dtype):
        raise _refused(model, f"the logits differ from {head.formula} by {difference:.1e}")
    return difference


def _run(model: nn.Module, module: nn.Linear, last: nn.Module, ids: Tensor, instead: Tensor | None) -> _Pass:
    """A forward pass, with another tensor `instead` of what the head returns."""
    seen: list[tuple[Tensor, Tensor]] = []
    states: list[Tensor] = []

    def note(_module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        seen.append((args[0], output))
        return instead

    handles = [
        module.register_forward_hook(note),
        last.register_forward_hook(lambda _module, _args, output: states.append(hidden_of(output))),
    ]
    try:
        with torch.no_grad():
            logits: Tensor = model(input_ids=ids, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    if len(seen) != 1 or not states:
        calls = f"{len(seen)} times, the module before it {len(states)} times,"
        raise _refused(model, f"the head is called {calls} in a forward pass of a copy of the model")
    if logits.shape != seen[0][1].shape:
        raise _refused(model, f"the head gives {tuple(seen[0][1].shape)} numbers, the model {tuple(logits.shape)}")
    return _Pass(states[-1], *seen[0], logits)


def _probe(like: Tensor) -> Tensor:
    """Numbers of both signs and every size up to where any cap cuts off."""
    top = _SATURATED.get(like.dtype, 1e6)
    sizes = torch.logspace(0, 1, like.numel(), base=top / _SMALL, dtype=torch.float64) * _SMALL
    signs = 1 - 2 * (torch.arange(like.numel()) % 2)
    return (sizes * signs).reshape(like.shape).to(like)


def _before(model: nn.Module, given: Tensor, hidden: Tensor) -> float:
    """The factor between the final hidden state and what the head is given."""
    if given.numel() != hidden.numel():
        raise _refused(model, f"the head is given {tuple(given.shape)}, the hidden state is {tuple(hidden.shape)}")
    a, b = given.double(), hidden.double().view_as(given)
    factor = float((a * b).sum() / b.square().sum().clamp_min(torch.finfo(torch.float64).tiny))
    difference = relative_difference(a, factor * b)
    if not difference <= tolerance(hidden.dtype):
        raise _refused(model, f"what the head is given differs from the final hidden state by {difference:.1e}")
    return _snapped(factor, hidden.dtype)


def _behind(model: nn.Module, y: Tensor, z: Tensor, limit: float) -> tuple[float, float | None]:
    """Scale and cap of z(y)."""
    scale = float((z / y).median())
    soft_cap: float | None = None
    if not _follows(z, scale * y, limit):
        soft_cap = float(z.abs().max())
        bent = (z.abs() > 0.1 * soft_cap) & (z.abs() < 0.6 * soft_cap)
        scale = float((soft_cap * torch.atanh(z / soft_cap) / y)[bent].median()) if bool(bent.any()) else 0.0
        if not _follows(z, soft_cap * torch.tanh(scale * y / soft_cap), limit):
            raise _refused(model, "the logits are no scale and no soft cap of what the head returns")
    if scale == 0:
        raise _refused(model, "the logits do not follow what the head returns")
    return _snapped(scale, torch.float32), soft_cap


def _follows(z: Tensor, formula: Tensor, limit: float) -> bool:
    """Whether a formula gives every number, the smallest too."""
    return bool(((z - formula).abs() <= 10 * limit * z.abs()).all())


def _snapped(factor: float, dtype: torch.dtype) -> float:
    """One, where it is one but for rounding."""
    return 1.0 if abs(factor - 1) <= 0.1 * tolerance(dtype) else factor


def _refused(model: nn.Module, what: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        what,
        where=f"{type(model).__name__}: head",
        remedy="The logits must be s (U r + b), soft-capped or not; take the kernel of others with tl.entk.",
    )
