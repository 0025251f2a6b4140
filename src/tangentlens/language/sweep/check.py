"""Entries of a sweep's finished kernels against plain autograd, one window at a time.

A few windows are drawn over the whole batch, each with a random combination of its directions. Their gradients come
from the model itself, called on each window alone without its padding; the logits that the geometry stands for are the
model's own.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.errors import NumericalError
from tangentlens.kernels.groups import Group
from tangentlens.language.agreement import tolerance
from tangentlens.language.batches import Batch, alone
from tangentlens.language.geometry import LogitGeometry
from tangentlens.language.model import LanguageModel
from tangentlens.language.sweep.cotangents import Cotangents
from tangentlens.language.sweep.problem import SweepProblem
from tangentlens.operators import LinearOperator

_ROWS = 3
_NUMBERS = 2**26  # of gradients in memory at once: with more, some groups of every kind are sampled
_ROUNDING = 0.1  # times the limit: gradients smaller than this beside their neighbours' are rounding
_ALLOWED = 10  # times the tolerance of two results that are the same, for products of gradients through all blocks


@dataclass(frozen=True)
class Sample:
    """Rows (window, combination of directions) and the kernels' entries there by autograd.

    Attributes:
        windows: of each row.
        mixing: unit combinations of the window's directions.
        expected: group -> inner products of the rows' gradients, for the sampled groups.
        scales: group -> norm of each row's gradients in the group's modules, whose rounding its gradients have too.
        limit: relative error that is rounding.
    """

    windows: Int[Tensor, " m"]
    mixing: Float[Tensor, "m r"]
    expected: Mapping[str, Float[Tensor, "m m"]]
    scales: Mapping[str, Float[Tensor, " m"]]
    limit: float

    def error(self, kernel: LinearOperator) -> float:
        """Largest difference from what is expected, relative to the norms of the two rows' gradients."""
        m, r = self.mixing.shape
        rows = torch.zeros(kernel.shape[0] // r, r, m, dtype=torch.float64)
        rows[self.windows, :, torch.arange(m)] = self.mixing
        E = rows.flatten(0, 1).to(kernel.device)
        found = (E.T @ (kernel @ E).double()).cpu()
        expected = self.expected[kernel.name]
        norms = torch.maximum(expected.diagonal(), found.diagonal()).clamp(min=0).sqrt()
        there = norms > _ROUNDING * self.limit * self.scales[kernel.name]
        errors = (found - expected).abs() / torch.outer(norms, norms)
        return float(torch.where(torch.outer(there, there), errors, 0.0).max())

    def vanishes(self, group: str) -> bool:
        """Whether a group's gradients are rounding alone, beside those of the other parameters of its modules."""
        if group not in self.expected:
            return False
        norms = self.expected[group].diagonal().sqrt()
        return bool((norms <= _ROUNDING * self.limit * self.scales[group]).all())

    def check(self, errors: Mapping[str, float]) -> None:
        """Name the groups whose error is above rounding.

        Raises:
            NumericalError: there are such groups.
        """
        wrong = {name: error for name, error in errors.items() if not error <= self.limit}
        if wrong:
            raise NumericalError(
                f"entries of the kernels differ from plain autograd by up to {max(wrong.values()):.1e}",
                where=", ".join(wrong),
                remedy="Leave these groups out or take their kernels with tl.entk(..., method='matrix_free'); "
                "check=False goes on all the same.",
            )


def sample_entries(problem: SweepProblem, cotangents: Cotangents) -> Sample:
    """Draw rows of the kernels and differentiate the model for them.

    Raises:
        NumericalError: the geometry is not that of the model's logits.
    """
    windows, mixing = _rows(problem, cotangents.basis.shape[-1])
    limit = _limit(problem)

    def output(reference: LanguageModel, one: Batch, row: int) -> Tensor:
        window, mixed = int(windows[row]), mixing[row]
        cotangent = torch.einsum("r,rd->d", mixed.to(cotangents.values), cotangents.values[: len(mixed), window])
        basis = cotangents.basis if cotangents.basis.ndim == 2 else cotangents.basis[window]
        _check_geometry(reference, one, problem.geometry, basis @ mixed.to(basis), cotangent, limit)
        hidden = reference.final_hidden(one)[0, -1]
        return hidden @ cotangent.to(hidden)

    return _sample(problem, windows, mixing, output)


def sample_scalars(
    problem: SweepProblem, scalar: Callable[[Tensor], Tensor], cotangents: Float[Tensor, "N d"]
) -> Sample:
    """Draw windows and differentiate a scalar of the model's logits for them.

    Of an embedding that is tied to the head, the head's own use is left out, as a sweep does.

    Args:
        scalar: of one window's logits.
        cotangents: its gradients in the final hidden states, which must be those of the model's own logits.

    Raises:
        NumericalError: they are not.
    """
    windows = _rows(problem, 1)[0]

    def output(reference: LanguageModel, one: Batch, row: int) -> Tensor:
        hidden, cotangent = reference.final_hidden(one)[0, -1], cotangents[windows[row]]
        _check_cotangent(reference, one, scalar, cotangent)
        return hidden @ cotangent.to(hidden)

    return _sample(problem, windows, torch.ones(len(windows), 1, dtype=torch.float64), output)


def _check_cotangent(
    lm: LanguageModel, window: Batch, scalar: Callable[[Tensor], Tensor], cotangent: Float[Tensor, " d"]
) -> None:
    """The gradient of the scalar of the model's own logits, in the hidden state that its head is given.

    Rounding moves a logit by its size times that of the dtype, and probabilities by as much.
    """
    with torch.no_grad():
        logits = lm.last_logits(window)[0]
    leaf = logits.double().detach().clone().requires_grad_()  # float64 logits are themselves what double() returns
    (by_logit,) = torch.autograd.grad(scalar(leaf), leaf)
    own = (by_logit * lm.head.slopes(logits).double()).to(lm.unembedding) @ lm.unembedding
    error = float((own - cotangent.to(own)).norm() / own.norm().clamp_min(torch.finfo(own.dtype).tiny))
    if not error <= tolerance(own.dtype) * (1 + float(logits.abs().max())):
        raise NumericalError(
            f"a scalar's gradient differs from that of the model's logits by {error:.1e}",
            where=f"{type(lm.model).__name__}: outputs",
            remedy="check=False goes on all the same.",
        )


def _sample(
    problem: SweepProblem,
    windows: Int[Tensor, " m"],
    mixing: Float[Tensor, "m r"],
    output: Callable[[LanguageModel, Batch, int], Tensor],
) -> Sample:
    """Inner products of the gradients of `output(model, window, row)` for every row."""
    reference = _reference(problem)
    parameters = dict(reference.model.named_parameters())
    sampled = _sampled(problem.groups, {name: p.numel() for name, p in parameters.items()}, problem.options.seed)
    beside = {group.name: _neighbours(group, list(parameters)) for group in sampled}
    wanted = {name for listed in beside.values() for name in listed}
    sought = {name: p for name, p in parameters.items() if name in wanted and p.requires_grad}
    gradients: list[dict[str, Tensor]] = []
    for row, window in enumerate(windows.tolist()):
        value = output(reference, alone(problem.batch, window), row)
        found = torch.autograd.grad(value, list(sought.values()), allow_unused=True)
        gradients.append({name: g for name, g in zip(sought, found, strict=True) if g is not None})
    expected = {group.name: _products(gradients, group.parameters) for group in sampled}
    scales = {name: _products(gradients, listed).diagonal().sqrt() for name, listed in beside.items()}
    return Sample(windows, mixing, expected, scales, _limit(problem))


def _limit(problem: SweepProblem) -> float:
    return _ALLOWED * tolerance(problem.working.unembedding.dtype)


def _reference(problem: SweepProblem) -> LanguageModel:
    """The user's model; the copy that is differentiated where the user's has another precision."""
    lm, working = problem.lm, problem.working
    plain = lm.unembedding.dtype == working.unembedding.dtype and not lm.unembedding.is_inference()
    return lm if plain else working


def _rows(problem: SweepProblem, directions: int) -> tuple[Int[Tensor, " m"], Float[Tensor, "m r"]]:
    """Random windows, each with a random unit combination of its directions."""
    generator = torch.Generator().manual_seed(problem.options.seed)
    windows = torch.randperm(len(problem.batch["input_ids"]), generator=generator).repeat(_ROWS)[:_ROWS]
    mixing = torch.randn(_ROWS, directions, generator=generator, dtype=torch.float64)
    return windows, mixing / mixing.norm(dim=1, keepdim=True)


def _check_geometry(
    lm: LanguageModel,
    window: Batch,
    units: LogitGeometry,
    move: Float[Tensor, " d"],
    cotangent: Float[Tensor, " d"],
    limit: float,
) -> None:
    """|S^(1/2) q|^2 is the squared length of J q in the model's own logits."""
    with torch.no_grad():
        logits = lm.last_logits(window)[0]
    moved = (lm.head.slopes(logits) * (lm.unembedding @ move.to(lm.unembedding))).double()
    weights = torch.full_like(moved, 1 / len(moved))
    if units.name == "fisher":
        weights = torch.softmax(logits.double(), dim=0)
    total = 1 if units.name == "fisher" else len(moved)
    mean = 0 if units.name == "raw" else weights @ moved
    expected = float(total * (weights @ (moved - mean).square()))
    error = abs(float(cotangent.double().square().sum()) - expected) / max(expected, torch.finfo(torch.float64).tiny)
    if not error <= limit:
        raise NumericalError(
            f"the {units.name} geometry differs from that of the model's logits by {error:.1e}",
            where=f"{type(lm.model).__name__}: geometry",
            remedy="Choose another geometry; check=False goes on all the same.",
        )


def _sampled(groups: Sequence[Group], sizes: Mapping[str, int], seed: int) -> list[Group]:
    """As many groups as memory allows, in random order, one of every kind (names but for numbers) before a second."""
    shuffled = random.Random(seed).sample(list(groups), len(groups))
    kinds: dict[str, int] = {}
    rank: dict[str, int] = {}
    for group in shuffled:
        kind = re.sub(r"\d+", "#", group.name)
        rank[group.name] = kinds[kind] = kinds.get(kind, 0) + 1
    chosen: list[Group] = []
    left = _NUMBERS // _ROWS
    for group in sorted(shuffled, key=lambda group: rank[group.name]):
        left -= sum(sizes[name] for name in group.parameters)
        if left >= 0 or not chosen:
            chosen.append(group)
    return chosen


def _neighbours(group: Group, names: Sequence[str]) -> list[str]:
    """The parameters of the modules that hold a group's."""
    modules = {name.rpartition(".")[0] for name in group.parameters}
    return [name for name in names if name.rpartition(".")[0] in modules]


def _products(gradients: Sequence[Mapping[str, Tensor]], names: Sequence[str]) -> Float[Tensor, "m m"]:
    """Inner products of the rows' gradients in some parameters."""
    found = torch.zeros(len(gradients), len(gradients), dtype=torch.float64)
    for name in names:
        if name in gradients[0]:
            rows = torch.stack([g[name].flatten() for g in gradients]).double()
            found += (rows @ rows.T).cpu()
    return found
