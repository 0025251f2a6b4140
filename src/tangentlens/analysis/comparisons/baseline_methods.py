"""Every way of finding features that the kernel's modes are compared with, at one budget of columns."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression, RidgeCV
from torch import Tensor, nn

from tangentlens.analysis.arguments.features import Feature
from tangentlens.analysis.arguments.losses import ExampleLoss
from tangentlens.analysis.case import Case
from tangentlens.analysis.comparisons.paired_scores import quality
from tangentlens.analysis.modes.kernel_modes import TOTAL, KernelModes
from tangentlens.analysis.questions.scoring import correlation, rows_of
from tangentlens.controls.baselines.loss_kernel import loss_kernel_functions
from tangentlens.controls.baselines.principal import gradient_scores, principal_scores
from tangentlens.controls.baselines.sparse import (
    dictionary_codes,
    independent_components,
    random_atom_codes,
    random_projections,
)
from tangentlens.errors import TangentlensError
from tangentlens.features.functions import random_functions
from tangentlens.models.outputs import PickOutput, pick_output
from tangentlens.models.sites import Site, input_site

KERNEL = "kernel modes"
_COORDINATES = 256  # principal coordinates of a site that probes and dictionaries read
_NEURONS = 2048  # of a site, those of largest variance
_RIDGES = tuple(10.0**power for power in range(-4, 5))

# A feature -> the columns that are scored on it; (N, d)
Columns = Callable[[Feature], Tensor]


@dataclass(frozen=True)
class Method:
    """Columns over the inputs from one method.

    Attributes:
        name, where: the method, and the group or site that it reads.
        sees: "nothing", or which labels of the choosing half it is fitted to or picked by.
        budget: number of columns that a space is compared with.
        seconds: wall time to get the columns; NaN where they were at hand.
        columns: of a feature.
        shared: (N, d) the columns of all binary and real features, where they are the same.
        fitted: whether a column is a prediction of the feature rather than a direction to be chosen.
    """

    name: str
    where: str
    sees: str
    budget: int
    seconds: float
    columns: Columns = field(repr=False)
    shared: Tensor | None = field(repr=False, default=None)
    fitted: bool = False


@dataclass(frozen=True)
class Field:
    """What the methods share.

    Attributes:
        case: the model and its features.
        k: columns of each method, as many as the kernel has modes.
        sites: where activations are read, "inputs" among them where they are real numbers.
        notes: sentences for the reader, added to.
    """

    case: Case
    k: int
    sites: dict[str, Site]
    notes: list[str]


def field_of(case: Case, kernels: KernelModes) -> Field:
    """The sites of the case, and the inputs."""
    sites = dict(case.sites)
    notes: list[str] = []
    single = case.inputs
    if "inputs" not in sites:
        if isinstance(single, Tensor) and single.is_floating_point():
            sites = {"inputs": input_site(case.model, single, output=case.subject.output), **sites}
        else:
            notes.append("PCA of inputs and AGOP: not done, the inputs are not one tensor of real numbers")
    return Field(case, kernels.groups[TOTAL].count, sites, notes)


def methods(shared: Field, kernels: KernelModes) -> Iterator[Method]:
    """All methods, the kernel's modes first; columns of a method are formed when it is reached."""
    yield from _kernel_methods(shared, kernels)
    yield from _site_methods(shared)
    yield from _other_methods(shared)


def _same(name: str, where: str, make: Callable[[], Tensor], sees: str = "nothing") -> Method:
    """A method whose columns are the same for every feature."""
    start = time.perf_counter()
    columns = make()
    seconds = time.perf_counter() - start
    return Method(name, where, sees, columns.shape[1], seconds, lambda _: columns, columns)


def _kernel_methods(shared: Field, kernels: KernelModes) -> Iterator[Method]:
    nan, case = float("nan"), shared.case
    total = kernels.groups[TOTAL].vectors
    yield Method(KERNEL, TOTAL, "nothing", shared.k, nan, lambda _: total, total)
    groups = {name: each.vectors for name, each in kernels.groups.items() if name != TOTAL}
    if groups:
        best = max(groups, key=lambda name: quality(groups[name], case.features.features, case.halves))
        vectors = groups[best][:, : shared.k]
        yield Method(f"{KERNEL}, best group", best, "features, to pick the group", vectors.shape[1], nan,
                     lambda _: vectors, vectors)  # fmt: skip


def _site_methods(shared: Field) -> Iterator[Method]:
    """What is done at every site; then what is done at the one whose principal components do best."""
    case, k = shared.case, shared.k
    best: tuple[float, str, Tensor] | None = None
    for name, site in shared.sites.items():
        random = case.generator(f"baselines at {name}")
        most = max(k, min(_COORDINATES, max(site.values.shape)))
        start = time.perf_counter()
        scores = principal_scores(site.values, most)
        seconds = time.perf_counter() - start
        if not scores.shape[1]:
            shared.notes.append(f"baselines at {name}: not done, its values are the same for every input")
            continue
        leading = scores[:, :k]
        yield Method("PCA", name, "nothing", leading.shape[1], seconds, _constant(leading), leading)
        yield _gradients(shared, name, site, random)
        yield _neurons(shared, name, site)
        yield _same("random directions", name, lambda s=site, r=random: random_projections(s.values, k, r))  # type: ignore[misc]
        yield Method("difference of means", name, "features", 1, 0.0, _mean_differences(site, case), fitted=False)
        yield Method("linear probe", name, "features", 1, 0.0, _probe(scores, case), fitted=True)
        reached = quality(leading, case.features.features, case.halves)
        if best is None or reached > best[0]:
            best = reached, name, scores
    if best is not None:
        yield from _decompositions(shared, best[1], best[2])


def _constant(columns: Tensor) -> Columns:
    return lambda _: columns


def _gradients(shared: Field, name: str, site: Site, random: torch.Generator) -> Method:
    start = time.perf_counter()
    columns, used = gradient_scores(site, shared.k, random)
    seconds = time.perf_counter() - start
    if used < shared.case.N:
        shared.notes.append(f"gradients at {name}: directions from {used} of {shared.case.N} inputs")
    method = "AGOP" if name == "inputs" else "gradient PCA"
    return Method(method, name, "nothing", columns.shape[1], seconds, _constant(columns), columns)


def _decompositions(shared: Field, name: str, scores: Tensor) -> Iterator[Method]:
    k, seed, case = shared.k, shared.case.options.seed, shared.case
    sees = "features, to pick the site"
    yield _same("ICA", name, lambda: independent_components(scores, k, seed), sees)
    yield _same("sparse dictionary", name, lambda: dictionary_codes(scores, k, seed), sees)
    random = case.generator("random atoms")
    yield _same("random atoms", name, lambda: random_atom_codes(scores, k, random), sees)


def _other_methods(shared: Field) -> Iterator[Method]:
    case, k = shared.case, shared.k
    if shared.sites:
        last = list(shared.sites)[-1]
        values = shared.sites[last].values
        yield _same("conjugate kernel", last, lambda: principal_scores(values, k, centred=False))
    targets, loss = case.targets, case.example_loss
    if targets is not None and loss is not None:
        try:
            yield _same("loss kernel", "loss", lambda: _loss_kernel(case, targets, loss, k), "targets")
        except TangentlensError as error:
            shared.notes.append(f"loss kernel: not done, {error}")
    random = case.generator("random functions")
    yield _same("random functions", "", lambda: random_functions(case.N, min(k, case.N - 1), random))


class _Picked(nn.Module):
    """A model that returns what the user picks of its output."""

    def __init__(self, model: nn.Module, pick: PickOutput) -> None:
        super().__init__()
        self.model, self._pick = model, pick

    def forward(self, *batch: Tensor, **named: Tensor) -> Tensor:
        picked: Tensor = self._pick(self.model(*batch, **named))
        return picked


def _loss_kernel(case: Case, targets: Tensor, loss: ExampleLoss, k: int) -> Tensor:
    model = _Picked(case.model, case.subject.output or pick_output).train(case.model.training)
    return loss_kernel_functions(model, case.inputs, targets.to(case.outputs.device), loss, k).cpu()


def _neurons(shared: Field, name: str, site: Site) -> Method:
    """Single neurons: of a binary or real feature the best of all; of a space the k that go with it most."""
    values = site.values.detach().cpu().to(torch.float64)
    if values.shape[1] > _NEURONS:
        kept = values.var(dim=0).argsort(descending=True, stable=True)[:_NEURONS].sort().values
        shared.notes.append(f"single neurons at {name}: the {_NEURONS} of largest variance of {values.shape[1]}")
        values = values[:, kept]

    def columns(feature: Feature) -> Tensor:
        if feature.kind != "space":
            return values
        rows = rows_of(feature, shared.case.halves.train)
        related = correlation(values[rows], feature.values[rows]).square().sum(dim=1)
        return values[:, related.argsort(descending=True, stable=True)[: shared.k]]

    budget = min(shared.k, values.shape[1])
    return Method("single neurons", name, "features, to pick the neuron", budget, 0.0, columns, values)


def _mean_differences(site: Site, case: Case) -> Columns:
    """The direction from the mean of the negatives to that of the positives; of a real feature Z^T (y - mean y)."""
    Z = (site.values - site.around).detach().cpu().to(torch.float64)

    def columns(feature: Feature) -> Tensor:
        rows = rows_of(feature, case.halves.train)
        y = feature.values[rows]
        return Z @ ((Z[rows] - Z[rows].mean(dim=0)).T @ (y - y.mean(dim=0)))

    return columns


def _probe(scores: Float[Tensor, "N d"], case: Case) -> Columns:
    """Predictions of a logistic regression of a binary feature, of a ridge regression of the others."""
    X = _scaled(scores[:, :_COORDINATES]).numpy()

    def columns(feature: Feature) -> Tensor:
        rows = rows_of(feature, case.halves.train)
        y = feature.values[rows].numpy()
        if feature.kind == "binary":
            probe = LogisticRegression(max_iter=200).fit(X[rows], y[:, 0])
            return torch.from_numpy(probe.decision_function(X))[:, None]
        fitted = RidgeCV(alphas=_RIDGES).fit(X[rows], y).predict(X)
        return torch.from_numpy(fitted).reshape(case.N, -1).to(torch.float64)

    return columns


def _scaled(X: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
    """Mean square 1 over all coordinates, which keeps their ratios."""
    return X / X.square().mean().sqrt().clamp_min(1e-300)
