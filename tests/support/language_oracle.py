"""Sweeps of tiny random models of every causal family of transformers beside autograd, logit by logit.

The reference is a plain loop: every window alone, without padding, through the model as transformers gives it, and one
backward pass for every logit of it. The kernel M^(1/2) J J^T M^(1/2) of these gradients, M the metric of the geometry,
is compared entry by entry with the kernel of a sweep over all output directions, lifted to the logits. Everything is
float64; norms and softmax of transformers round to float32 inside.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

import tangentlens as tl
from tangentlens.language.model import LanguageModel
from tangentlens.language.sweep.sweep import Sweep
from tests.support.language_families import VOCABULARY, tiny

GEOMETRIES, PADDINGS = ("raw", "centred", "fisher"), ("no", "left", "right")
LIMIT = 1e-5  # relative error that is rounding: float32 norms, through two blocks and into products of gradients
VANISHING = 1e-10  # of the largest kernel: smaller ones are rounding (a key's bias, which no softmax sees)
_LENGTHS = {"no": (5, 5, 5), "left": (5, 3, 4), "right": (5, 3, 4)}


@dataclass(frozen=True)
class Outcome:
    """How a comparison came out.

    Attributes:
        error: largest of all parameters' kernels, relative to each kernel's largest entry; None where refused.
        reason: of the refusal, empty else.
        parameters: how many were compared.
    """

    error: float | None
    reason: str = ""
    parameters: int = 0

    @property
    def verdict(self) -> str:
        """In a word."""
        if self.error is None:
            return "refused"
        return "agree" if self.error <= LIMIT else "WRONG"


Outcomes = dict[tuple[str, str], Outcome]  # (padding, geometry) -> how it came out


def conform(family: str, geometry: str, padding: str) -> Outcome:
    """Sweep all parameters of a model and compare every kernel."""
    batch, windows = _batch(padding)
    try:
        lm = tl.language_model(_model(family))
        swept = _swept(lm, batch, geometry)
    except tl.TangentlensError as error:
        place = f" [{error.where}]" if error.where else ""
        return Outcome(None, f"{error.what}{place}")
    lifts = [_lift(swept, lm, geometry, window) for window in windows]
    kernels = [(_lifted(swept, group, lifts), _exact(family, geometry, windows, group)) for group in swept.groups]
    least = VANISHING * max(float(exact.abs().max()) for _, exact in kernels)
    return Outcome(max(_error(found, exact, least) for found, exact in kernels), "", len(kernels))


def _swept(lm: LanguageModel, batch: dict[str, Tensor], geometry: str) -> Sweep:
    """Of every parameter; where one has no factors, of every weight matrix of the blocks."""
    options = {"directions": lm.d_model, "geometry": geometry}
    try:
        return tl.sweep(lm, batch, groups="parameter", **options)
    except tl.UnsupportedModelError as error:
        if "no factors" not in error.what:
            raise
        return tl.sweep(lm, batch, groups="weights", **options)


def _error(found: Tensor, exact: Tensor, least: float) -> float:
    return float((found - exact).abs().max()) / max(float(exact.abs().max()), least)


def _lifted(swept: Sweep, group: str, lifts: list[Tensor]) -> Tensor:
    """The kernel of a sweep with rows (window, logit)."""
    kernel = swept[group].dense().double().unflatten(0, (len(lifts), -1)).unflatten(2, (len(lifts), -1))
    rows = [torch.cat([a @ kernel[i, :, j] @ b.T for j, b in enumerate(lifts)], 1) for i, a in enumerate(lifts)]
    return torch.cat(rows)


def _exact(family: str, geometry: str, windows: list[tuple[int, ...]], group: str) -> Tensor:
    rows = torch.cat([_half(geometry, *_gradients(family, window, group)) for window in windows])
    return rows @ rows.T


@cache
def _model(family: str) -> torch.nn.Module:
    return tiny(family)


def _batch(padding: str) -> tuple[dict[str, Tensor], list[tuple[int, ...]]]:
    """Windows padded with random tokens, and the same windows alone."""
    drawn = torch.randint(3, VOCABULARY, (3, 8), generator=torch.Generator().manual_seed(1))
    lengths = _LENGTHS[padding]
    windows = [row[:n] for row, n in zip(drawn, lengths, strict=True)]
    if padding == "no":
        return {"input_ids": torch.stack(windows)}, [tuple(w.tolist()) for w in windows]
    rows, masks = [], []
    for row, n in zip(drawn, lengths, strict=True):
        real, filler = torch.ones(n, dtype=torch.int64), torch.zeros(6 - n, dtype=torch.int64)
        ordered = ((row[n:6], row[:n]), (filler, real)) if padding == "left" else ((row[:n], row[n:6]), (real, filler))
        rows.append(torch.cat(ordered[0]))
        masks.append(torch.cat(ordered[1]))
    batch = {"input_ids": torch.stack(rows), "attention_mask": torch.stack(masks)}
    return batch, [tuple(w.tolist()) for w in windows]


@cache
def _jacobian(family: str, window: tuple[int, ...]) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits of a window alone, and their gradients in every parameter, one backward pass for each logit."""
    model = _model(family)
    parameters = dict(model.named_parameters())
    logits = model(input_ids=torch.tensor([window]), use_cache=False).logits[0, -1]
    rows: dict[str, list[Tensor]] = {name: [] for name in parameters}
    for logit in logits:
        found = torch.autograd.grad(logit, list(parameters.values()), retain_graph=True, allow_unused=True)
        for (name, p), gradient in zip(parameters.items(), found, strict=True):
            rows[name].append(torch.zeros(p.numel()) if gradient is None else gradient.flatten())
    return logits.detach().double(), {name: torch.stack(found).double() for name, found in rows.items()}


def _gradients(family: str, window: tuple[int, ...], name: str) -> tuple[Tensor, Tensor]:
    """Logits and their gradients; of a head that is tied, the head's own use is left out, as a sweep does."""
    logits, rows = _jacobian(family, window)
    model = _model(family)
    if dict(model.named_parameters())[name] is not model.get_output_embeddings().weight:
        return logits, rows[name]
    return logits, _without_head(family, window, name)


@cache
def _without_head(family: str, window: tuple[int, ...], name: str) -> Tensor:
    """Gradients in a tied embedding with the head held fixed."""
    model = _model(family)
    head, parameter = model.get_output_embeddings(), dict(model.named_parameters())[name]
    own = head.weight
    del head._parameters["weight"]
    head.weight = own.detach()
    try:
        logits = model(input_ids=torch.tensor([window]), use_cache=False).logits[0, -1]
        rows = [torch.autograd.grad(z, parameter, retain_graph=True)[0].flatten() for z in logits]
        return torch.stack(rows).double()
    finally:
        del head.weight
        head._parameters["weight"] = own


def _half(geometry: str, logits: Tensor, rows: Tensor) -> Tensor:
    """M^(1/2) J."""
    if geometry == "raw":
        return rows
    if geometry == "centred":
        return rows - rows.mean(0)
    p = torch.softmax(logits, 0)  # of diag p - p p^T
    values, vectors = torch.linalg.eigh(torch.diag(p) - torch.outer(p, p))
    return vectors * values.clamp(min=0).sqrt() @ vectors.T @ rows


def _lift(swept: Sweep, lm: LanguageModel, geometry: str, window: tuple[int, ...]) -> Tensor:
    """M^(1/2) dz/dr S^(-1/2): from the coordinates of a sweep to those of the logits."""
    with torch.no_grad():
        hidden = lm.final_hidden({"input_ids": torch.tensor([window])})[0, -1]
        logits = lm.head.logits(hidden[None])[0].double()
    moves = swept.geometry.logit_directions(torch.eye(lm.d_model, dtype=torch.float64), hidden)
    return _half(geometry, logits, moves.double())


def forget() -> None:
    """Drop what is kept of a family."""
    for kept in (_model, _jacobian, _without_head):
        kept.cache_clear()
