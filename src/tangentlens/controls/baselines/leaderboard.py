"""One leaderboard: every way of finding features without labels, at one budget, on the same features."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tangentlens.alignment.overlap import orthonormal_basis, overlap_of_bases
from tangentlens.controls.baselines.activations import activation_pca, best_layer, conjugate_functions
from tangentlens.controls.baselines.gradients import gradient_functions
from tangentlens.controls.baselines.loss_kernel import loss_kernel_functions
from tangentlens.controls.baselines.probe import probe_percent
from tangentlens.errors import InvalidInputError
from tangentlens.features.functions import random_functions
from tangentlens.models.inputs import Inputs, batch_size
from tangentlens.models.sites import Site
from tangentlens.operators.tensors import ArrayLike, real_tensor
from tangentlens.records import Eigenpairs
from tangentlens.store.figure_keys import BASELINE, BEST_LAYER, MODES, RANDOM


@dataclass(frozen=True)
class Row:
    """One method on the leaderboard.

    Attributes:
        method: its name.
        dimension: functions of the input that it gave: the budget, or fewer where it has no more.
        seconds: wall time to get them, NaN where they were at hand.
        percents: feature family -> percent of its space inside their span (SubspaceOverlap.percent); for the probe,
            percent of the variance it predicts on the test rows.
        aside: what else a reader must know, for example the layer that was picked.
    """

    method: str
    dimension: int
    seconds: float
    percents: Mapping[str, float]
    aside: str = ""


@dataclass(frozen=True)
class Task:
    """Network, rows and families that all methods are compared on.

    Attributes:
        model: any module.
        inputs: what it is called with, a tensor, a tuple or a dict of tensors.
        labels: (N,) the right outputs; only the loss kernel and the train half that picks a layer see them.
        example_loss: (N, C) outputs and (N,) labels to (N,) losses.
        layers: name -> site, in the order of the network.
        last: which of them the readout reads.
        families: name -> (N, r) orthonormal basis of a family of centred features.
        train, test: rows.
    """

    model: nn.Module
    inputs: Inputs
    labels: Int[Tensor, " N"]
    example_loss: Callable[[Tensor, Tensor], Tensor]
    layers: Mapping[str, Site]
    last: str
    families: Mapping[str, Float[Tensor, "N r"]]
    train: Int[Tensor, " n"]
    test: Int[Tensor, " m"]


def leaderboard(
    task: Task, modes: ArrayLike | Eigenpairs, *, seconds: float, generator: torch.Generator
) -> tuple[Row, ...]:
    """The kernel's modes against every baseline at as many functions of the input, and a supervised ceiling.

    Args:
        task: the network and the features.
        modes: (N, d) the kernel's leading modes, an array, or Eigenpairs, of which the converged ones within the
            rank count; d is the budget.
        seconds: what they cost.
        generator: of the random functions.

    Raises:
        InvalidInputError: a part of the task does not fit the number of inputs; names it.
    """
    modes = real_tensor(modes.modes if isinstance(modes, Eigenpairs) else modes, "modes")
    _check(task, modes)
    k, last = modes.shape[1], task.layers[task.last].values
    ways: dict[str, Callable[[], Tensor]] = {
        "conjugate_kernel": lambda: conjugate_functions(last, k),
        "loss_kernel": lambda: loss_kernel_functions(task.model, task.inputs, task.labels, task.example_loss, k),
        **{f"gradient_pca.{name}": _gradient(site, k) for name, site in task.layers.items()},
        **{f"{BASELINE}.{name}": _principal(name, site, k) for name, site in task.layers.items()},
        RANDOM: lambda: random_functions(len(modes), k, generator),
    }
    rows = [_row(MODES, modes, seconds, task)]
    found: dict[str, Tensor] = {}
    for name, way in ways.items():
        start = time.perf_counter()
        found[name] = way()
        rows.append(_row(name, found[name], time.perf_counter() - start, task))
    principal = {name: found[f"{BASELINE}.{name}"] for name in task.layers}
    picked = best_layer(principal, torch.cat(list(task.families.values()), dim=1), task.train)
    chosen = next(row for row in rows if row.method == f"{BASELINE}.{picked}")
    rows.append(Row(BEST_LAYER, chosen.dimension, sum(r.seconds for r in rows if r.method.startswith(f"{BASELINE}.")),
                    chosen.percents, f"{picked}, picked on the train rows"))  # fmt: skip
    return (*rows, _ceiling(task))


def _check(task: Task, modes: Tensor) -> None:
    rows = batch_size(task.inputs)
    if task.last not in task.layers:
        raise InvalidInputError(
            f"there is no layer {task.last!r}", where="last", remedy=f"The layers are {', '.join(task.layers)}."
        )
    columns = {"modes": modes, **{f"families[{name!r}]": F for name, F in task.families.items()}}
    flat = [name for name, matrix in columns.items() if matrix.ndim != 2]
    if flat:
        raise InvalidInputError("expected a matrix of columns over the inputs", where=flat[0], remedy="Give (N, d).")
    over_inputs = {**columns, "labels": task.labels, **{f"layers[{n!r}]": s.values for n, s in task.layers.items()}}
    for name, values in over_inputs.items():
        if len(values) != rows:
            raise InvalidInputError(
                f"{len(values)} rows for {rows} inputs", where=name, remedy="Give one row for each input."
            )


def _gradient(site: Site, k: int) -> Callable[[], Tensor]:
    return lambda: gradient_functions(site, k)


def _principal(name: str, site: Site, k: int) -> Callable[[], Tensor]:
    return lambda: activation_pca({name: site}, k)[name]


def _row(method: str, functions: Float[Tensor, "N d"], seconds: float, task: Task) -> Row:
    Q = orthonormal_basis(functions.to(torch.float64))
    percents = {name: overlap_of_bases(Q, F).percent for name, F in task.families.items()}
    return Row(method, Q.shape[1], seconds, percents)


def _ceiling(task: Task) -> Row:
    values, start = task.layers[task.last].values, time.perf_counter()
    percents = {name: probe_percent(values, F, task.train, task.test) for name, F in task.families.items()}
    return Row("supervised_probe", values.shape[1], time.perf_counter() - start, percents, "supervised")
