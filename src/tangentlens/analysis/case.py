"""A subject, read and checked before anything long starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tangentlens.analysis.arguments.checkpoint_states import read_checkpoints
from tangentlens.analysis.arguments.features import Feature, FeatureSet, read_features
from tangentlens.analysis.arguments.fingerprint import fingerprint
from tangentlens.analysis.arguments.halves import halves
from tangentlens.analysis.arguments.inputs import read_inputs
from tangentlens.analysis.arguments.losses import ExampleLoss, example_loss, read_targets
from tangentlens.analysis.arguments.places import model_sites
from tangentlens.analysis.arguments.variants import REINITIALISE, check_untrained, variant
from tangentlens.analysis.discovery.shown import Shown, read_shown
from tangentlens.analysis.modes.kernel_modes import KernelOptions
from tangentlens.analysis.options import evidence_generator
from tangentlens.analysis.subject import Split, Subject
from tangentlens.errors import InvalidInputError
from tangentlens.kernels.budget import parse_budget
from tangentlens.kernels.groups import resolve_groups
from tangentlens.kernels.outputs import reduction
from tangentlens.models.functional import functional_model
from tangentlens.models.inputs import Inputs
from tangentlens.models.sites import Site
from tangentlens.progress import Progress, silent


@dataclass(frozen=True)
class Options:
    """How much an analysis computes.

    Attributes:
        modes: of each kernel, at most.
        seed: of the halves, permutations, controls and untrained networks.
        permutations: orders of each feature; None for 100 for each row of the table, between 999 and 19,999.
        resamples: bootstrap samples.
        untrained: networks drawn.
        controls: of each intervention at most; None for 40 for each feature, between 400 and 2,000.
        limit: examples read at most.
        memory_budget: bytes, "4GB", or None for a quarter of what is free.
    """

    modes: int = 25
    seed: int = 0
    permutations: int | None = None
    resamples: int = 1000
    untrained: int = 6
    controls: int | None = None
    limit: int | None = None
    memory_budget: int | float | str | None = None


@dataclass(frozen=True)
class Case:
    """A subject, read and checked.

    Attributes:
        subject: as it was given.
        options: how much to compute.
        inputs: one batch.
        N: number of inputs.
        left_out: examples that `limit` left out.
        outputs: (N, C) of the model.
        features: those that can be tested, and why others cannot.
        halves: rows to choose on, and to score on.
        targets: one for each input, or None.
        loss: its name, "" without targets.
        example_loss: of outputs and targets, or None.
        sites: by name, in the order of the network.
        shown: how an input is shown; None where nothing says it.
        fingerprint: of the model, before anything is done.
    """

    subject: Subject
    options: Options
    inputs: Inputs
    N: int
    left_out: int
    outputs: Float[Tensor, "N C"] = field(repr=False)
    features: FeatureSet
    halves: Split
    targets: Tensor | None
    loss: str
    example_loss: ExampleLoss | None
    sites: Mapping[str, Site]
    shown: Shown | None = None
    fingerprint: str = ""

    @property
    def model(self) -> nn.Module:
        """The user's."""
        return self.subject.model

    @property
    def kernel(self) -> KernelOptions:
        """Which kernels."""
        subject = self.subject
        return KernelOptions(
            self.options.modes, subject.groups, subject.outputs, subject.output, self.options.memory_budget
        )

    @property
    def checkpoints(self) -> Any:
        """States along training, as they were given."""
        return self.subject.checkpoints

    @property
    def by_name(self) -> dict[str, Feature]:
        """Features by name."""
        return {each.name: each for each in self.features.features}

    def cost(self, outputs: Float[Tensor, "n C"], rows: Tensor | None = None) -> Float[Tensor, " n"]:
        """What other outputs cost inputs: the increase of the loss, or without targets their squared change.

        The change is in units of the variance of the outputs, summed over them.

        Args:
            outputs: of some inputs.
            rows: which; all by default.
        """
        rows = torch.arange(self.N) if rows is None else rows
        if self.example_loss is None or self.targets is None:
            variance = (self.outputs - self.outputs.mean(dim=0)).square().sum(dim=1).mean().clamp_min(1e-30)
            change: Tensor = (outputs - self.outputs[rows]).square().sum(dim=1) / variance
            return change
        return self.example_loss(outputs, self.targets[rows].to(self.outputs.device)) - self._losses[rows]

    @cached_property
    def _losses(self) -> Float[Tensor, " N"]:
        """The loss of each input as the model stands."""
        assert self.example_loss is not None
        assert self.targets is not None
        return self.example_loss(self.outputs, self.targets.to(self.outputs.device))

    def generator(self, purpose: str) -> torch.Generator:
        """A source of random numbers of its own for one purpose."""
        return evidence_generator(self.options.seed, purpose)


def prepare(subject: Subject, options: Options, progress: Progress = silent) -> Case:
    """Read and check everything that was given; nothing long starts before.

    Raises:
        InvalidInputError: an argument cannot be used; names which.
        UnsupportedModelError: the model is not in eval mode, or cannot be called as a function.
    """
    _check_options(options)
    if not isinstance(subject.model, nn.Module):
        raise InvalidInputError(
            f"a {type(subject.model).__name__} is no model", where="model", remedy="Give a torch.nn.Module."
        )
    check_untrained(subject.model, subject.untrained)
    if subject.checkpoints is not None:
        read_checkpoints(subject.checkpoints)
    before = fingerprint(subject.model)
    device = next((p.device for p in subject.model.parameters()), torch.device("cpu"))
    memory = parse_budget(options.memory_budget, device)
    batch = read_inputs(subject.inputs, subject.model, limit=options.limit, memory=memory, progress=progress)
    if batch.N < 16:
        raise InvalidInputError(
            f"{batch.N} inputs", where="inputs", remedy="Give at least 16: half of them choose, half of them score."
        )
    outputs = _outputs(subject, batch.inputs)
    _check_kernel(subject, outputs.shape[1])
    _check_states(subject)
    targets = read_targets(batch.labels if subject.targets is None else _first(subject.targets, batch.N), batch.N)
    name, loss = ("", None) if targets is None else example_loss(subject.loss, targets, outputs.cpu())
    features = read_features(_limited(subject.features, batch.N, batch.left_out), batch.N)
    split = halves(subject.split, features.features, batch.N, options.seed)
    shown = read_shown(
        subject.show, batch.inputs, batch.N, given=subject.inputs, columns=subject.columns, left_out=batch.left_out
    )
    sites = model_sites(subject.model, batch.inputs, subject.sites, output=subject.output)
    return Case(
        subject, options, batch.inputs, batch.N, batch.left_out, outputs, features, split, targets, name, loss, sites,
        shown,
        before,
    )  # fmt: skip


def _first(values: Any, N: int) -> Any:
    """The first N of some values, where `limit` left inputs out."""
    try:
        return values[:N] if len(values) > N else values
    except TypeError:
        return values


def _limited(features: Any, N: int, left_out: int) -> Any:
    if not left_out or features is None:
        return features
    if hasattr(features, "columns") and hasattr(features, "iloc"):
        return features.iloc[:N]
    return {name: _first(values, N) for name, values in features.items()} if isinstance(features, Mapping) else features


def _outputs(subject: Subject, inputs: Inputs) -> Float[Tensor, "N C"]:
    view = functional_model(subject.model, subject.output)
    with torch.no_grad():
        outputs = view({}, inputs)
    return outputs.detach().clone()


def _check_kernel(subject: Subject, outputs: int) -> None:
    """Groups and reduction of the outputs, before any kernel is formed."""
    parameters = dict(subject.model.named_parameters())
    trainable = {name: (name,) for name, parameter in parameters.items() if parameter.requires_grad}
    resolve_groups(trainable, subject.groups, tuple(name for name in parameters if name not in trainable))
    rows = reduction(subject.outputs).rows_per_example(outputs)
    if rows != 1:
        raise InvalidInputError(
            f"the kernel has {rows} rows for each input",
            where="outputs",
            remedy="Give 'trace', 'mean', the index of an output or weights: an analysis scores inputs, not outputs.",
        )


def _check_states(subject: Subject) -> None:
    """States that are at hand fit the model; functions are called later."""
    given = {"untrained": subject.untrained, **{f"retrained[{n!r}]": s for n, s in (subject.retrained or {}).items()}}
    for where, state in given.items():
        if state is not None and not callable(state) and state != REINITIALISE:
            variant(subject.model, state, where)


def _check_options(options: Options) -> None:
    for name in ("modes", "resamples", "untrained", "controls", "permutations"):
        value = getattr(options, name)
        if name in ("controls", "permutations") and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidInputError(f"{name}={value!r}", where=name, remedy="Give a number, at least 1.")
    if isinstance(options.seed, bool) or not isinstance(options.seed, int) or options.seed < 0:
        raise InvalidInputError(f"seed={options.seed!r}", where="seed", remedy="Give a number, at least 0.")
