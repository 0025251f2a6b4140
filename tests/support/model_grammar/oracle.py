"""Kernels from a plain loop of torch.autograd.grad in float64, and the verdict on what tl.entk gives."""

import math
import re
import traceback
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import tangentlens as tl
from tests.support.model_grammar.specs import Record, Spec, build, convert, inputs, patterns

TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
_FLOOR = {"float64": 1e-12, "float32": 1e-6}  # share of the total below which a kernel is rounding
_UNUSED = re.compile(r"no output depends on (.*): the kernel")


@dataclass(frozen=True)
class Verdict:
    """What became of one spec: "agreed", "refused" or "failed", the reason, and the largest error."""

    spec: Spec
    outcome: str
    reason: str = ""
    error: float = 0.0

    @property
    def kind(self) -> str:
        """The reason without the names, numbers and places of this one model."""
        general = re.sub(r"\[[^]]*\]|'[^']*'|\(it calls.*?\)", "", self.reason)
        general = re.sub(r"^\S+ off by .*", "wrong kernel", re.sub(r"^groups.*", "other groups", general))
        return re.sub(r"\d+|\s+", " ", general)[:100].strip()


def jacobians(model: nn.Module, batch: Any) -> tuple[dict[str, Tensor], set[str]]:
    """Name -> (N, C, P), one example and one output at a time; and the names that no output depends on."""
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows: dict[str, list[Tensor]] = {name: [] for name in trainable}
    unused = set(trainable)
    count = len(_leaf(batch))
    for i in range(count):
        output = _call(model, _take(batch, slice(i, i + 1)))
        for value in output.reshape(-1):
            found = torch.autograd.grad(value, list(trainable.values()), retain_graph=True, allow_unused=True)
            for (name, parameter), gradient in zip(trainable.items(), found, strict=True):
                if gradient is not None:
                    unused.discard(name)
                rows[name].append(torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten())
    return {name: torch.stack(held).double().unflatten(0, (count, -1)) for name, held in rows.items()}, unused


def kernel(rows: Tensor, columns: Tensor, spec: Spec) -> Tensor:
    """The kernel of (N, C, P) and (M, C, P) gradients by the definition of each reduction."""
    full = torch.einsum("icp,jdp->icjd", rows, columns)
    C = rows.shape[1]
    weights = 0.5 + 0.25 * torch.arange(C, dtype=torch.float64)
    if spec.outputs == "full":
        return full.flatten(2).flatten(0, 1)
    if spec.outputs == "mean":
        return full.mean((1, 3))
    if spec.outputs == "index":
        return full[:, spec.seed % C, :, spec.seed % C]
    if spec.outputs == "weighted":
        signed = weights * (-1.0) ** torch.arange(C)
        return torch.einsum("icjd,c,d->ij", full, signed, signed)
    if spec.outputs == "weighted trace":
        return torch.einsum("icjc,c->ij", full, weights)
    return torch.einsum("icjc->ij", full) / C


def members(spec: Spec, model: nn.Module) -> dict[str, list[str]]:
    """Group -> names of its parameters, by the definition of each word."""
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    if spec.groups == "patterns":
        return patterns(spec, model)
    if spec.groups == "all":
        return {"all": names}
    if spec.groups == "parameter":
        return {name: [name] for name in names}
    found: dict[str, list[str]] = {}
    for name in names:
        module = name.split("parametrizations.")[0].removesuffix(".") if "parametrizations." in name else ""
        found.setdefault(module or name.rpartition(".")[0] or "(root)", []).append(name)
    return found


@dataclass(frozen=True)
class Expected:
    """Kernel of one group, and the sizes that its errors are measured by.

    They bound the kernel, |K_12| <= sqrt(|K_11| |K_22|), by Frobenius norm and by the largest entry, and equal its own
    where rows are columns. The entries of a crossed kernel may all be small by accident.
    """

    kernel: Tensor
    norm: float
    largest: float


def expected(spec: Spec, dtype: torch.dtype = torch.float64) -> tuple[dict[str, Expected], set[str]]:
    """Group -> kernel by automatic differentiation in a precision, and the unused parameters."""
    model = build(spec)
    first, second = (None if b is None else convert(b, dtype) for b in inputs(spec, model))
    model = model.to(dtype)
    rows, unused = jacobians(model, first)
    columns = rows if second is None else jacobians(model, second)[0]

    def of_group(held: list[str], left: dict[str, Tensor], right: dict[str, Tensor]) -> Tensor:
        return sum((kernel(left[name], right[name], spec) for name in held), start=torch.zeros(()))

    kernels = {}
    for group, held in members(spec, model).items():
        own = [of_group(held, side, side) for side in (rows, columns)]
        norm, largest = (math.sqrt(size(own[0]) * size(own[1])) for size in (_norm, _largest))
        kernels[group] = Expected(of_group(held, rows, columns), norm, largest)
    return kernels, unused


def computed(spec: Spec, **options: Any) -> tl.EmpiricalNTK:
    """What tl.entk gives."""
    model = build(spec)
    first, second = inputs(spec, model)
    groups = patterns(spec, model) if spec.groups == "patterns" else spec.groups
    options = {"method": spec.method, **options}
    return tl.entk(model, first, inputs2=second, groups=groups, **spec.question(), **options)


def error(found: dict[str, Tensor], wanted: dict[str, Expected], floor: float) -> tuple[float, str]:
    """The largest relative error over groups, by Frobenius norm and by the largest entry; and the group."""
    norm, largest = (max(getattr(k, size) for k in wanted.values()) for size in ("norm", "largest"))
    worst = (0.0, "")
    for group, one in wanted.items():
        difference = found[group].double() - one.kernel
        by_norm = _norm(difference) / max(one.norm, floor * norm, 1e-300)
        by_entry = _largest(difference) / max(one.largest, floor * largest, 1e-300)
        worst = max(worst, (by_norm, group), (by_entry, group))
    return worst


def _rounding(spec: Spec, wanted: dict[str, Expected]) -> float:
    """Three times the error of the plain loop itself in float32: sums that cancel lose digits in any computation."""
    if spec.precision != "float32":
        return 0.0
    found = {group: one.kernel for group, one in expected(spec, torch.float32)[0].items()}
    return 3 * error(found, wanted, _FLOOR["float32"])[0]


def _warn_once(spec: Spec) -> None:
    """Call the model itself: torch warns once of what it does slowly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dtype = getattr(torch, spec.precision)
        model = build(spec)
        _call(model.to(dtype), convert(inputs(spec, model)[0], dtype))


def judge(spec: Spec, **options: Any) -> Verdict:
    """Compare the kernels of a spec with the oracle; refusals are documented errors, all else is a failure."""
    _warn_once(spec)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ntk = computed(spec, **options)
            found = {group: ntk[group].dense() for group in ntk.groups}
    except (tl.UnsupportedModelError, tl.NumericalError, tl.OutOfMemoryError) as refusal:
        return Verdict(spec, "refused", f"{type(refusal).__name__}: {refusal}")
    except Exception as mistake:
        place = traceback.extract_tb(mistake.__traceback__)[-1]
        return Verdict(spec, "failed", f"{type(mistake).__name__}: {mistake} at {place.filename}:{place.lineno}")
    wanted, unused = expected(spec)
    for warning in caught:
        matched = _UNUSED.search(str(warning.message))
        if not matched or not set(matched[1].split(", ")) <= unused:
            return Verdict(spec, "failed", f"warning: {warning.message}")
    if set(found) != set(wanted):
        return Verdict(spec, "failed", f"groups {sorted(found)} where {sorted(wanted)} were expected")
    shapes = {g: found[g].shape for g, one in wanted.items() if found[g].shape != one.kernel.shape}
    if shapes:
        return Verdict(spec, "failed", f"shapes {shapes}")
    worst, group = error(found, wanted, _FLOOR[spec.precision])
    if not worst <= TOLERANCE[spec.precision] and not worst <= _rounding(spec, wanted):
        return Verdict(spec, "failed", f"{group} off by {worst:.1e}", worst)
    return Verdict(spec, "agreed", "", worst)


def _norm(kernel: Tensor) -> float:
    return float(torch.linalg.norm(kernel))


def _largest(kernel: Tensor) -> float:
    return float(kernel.abs().max())


def _leaf(batch: Any) -> Tensor:
    if isinstance(batch, Tensor):
        return batch
    return next(iter(batch.values() if isinstance(batch, dict) else batch))


def _take(batch: Any, rows: slice) -> Any:
    if isinstance(batch, dict):
        return {name: value[rows] for name, value in batch.items()}
    return tuple(value[rows] for value in batch) if isinstance(batch, tuple) else batch[rows]


def _call(model: nn.Module, batch: Any) -> Tensor:
    if isinstance(batch, dict):
        returned = model(**batch)
    else:
        returned = model(*batch) if isinstance(batch, tuple) else model(batch)
    if isinstance(returned, Record):
        return returned.logits
    if isinstance(returned, dict):
        return returned["logits"]
    return returned[0] if isinstance(returned, tuple) else returned
