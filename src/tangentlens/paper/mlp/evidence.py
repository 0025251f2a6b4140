"""Evidence on the MLP setting, from what a run holds: the network as a subject, and its null models."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.alignment.cliffs import paper_blocks
from tangentlens.analysis.options import evidence_generator
from tangentlens.analysis.steps import analyse
from tangentlens.analysis.subject import Modes, NullOverlaps, Space, Subject, stored_curves
from tangentlens.controls.baselines.loss_kernel import squared_errors
from tangentlens.controls.null_models import permuted_columns, permuted_labels
from tangentlens.models.sites import Site, entering, input_site, leaving
from tangentlens.paper.mlp.measure import Config, block_overlaps, draw, family_bases, read_kernel
from tangentlens.paper.mlp.network import QuadraticMLP
from tangentlens.paper.training import mean_squared_error
from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement
from tangentlens.store.figure_keys import EIGEN_SECONDS, KERNEL_SECONDS

_FAMILIES = {"first_cliff": "input", "sum": "sum", "difference": "difference"}  # by what keys call their overlap


def evidence(config: Config, measured: Measurement, progress: Progress = silent) -> Measurement:
    """What a referee would ask of one trained network; docs/evidence.md defines every figure.

    Args:
        config: the setting.
        measured: what `measure` found of the network.
        progress: receives the steps.
    """
    return analyse(subject(config, measured), config.evidence, progress=progress)


def subject(config: Config, measured: Measurement) -> Subject:
    """The network of a stored seed, its modes and what they are compared with."""
    drawn, seed, bases = draw(config, measured.seed), measured.seed, family_bases(config.data.p)
    model, inputs = drawn.model, drawn.inputs
    model.load_state_dict({name: measured.arrays[f"parameter.{name}"] for name in model.state_dict()})
    nulls = _Nulls(config, seed, bases, measured.arrays)
    size = _block(config)
    return Subject(
        name="mlp",
        seed=seed,
        model=model,
        inputs=inputs,
        labels=drawn.labels,
        split=drawn.split,
        loss=mean_squared_error,
        example_loss=squared_errors,
        features={family: bases[family] for family in _FAMILIES.values()},
        followed=("sum", "difference"),
        sites=_sites(model, inputs),
        read="activations",
        modes=_modes(config, measured),
        random=nulls.random,
        nulls={
            "untrained": nulls.untrained,
            "permuted_labels": nulls.permuted_labels,
            "permuted_inputs": lambda: nulls.permuted_inputs(model, inputs),
        },
        spaces={name: Space(size, family) for name, family in _FAMILIES.items()},
        curves=stored_curves(measured.arrays, config.analysis.onset_accuracy),
    )


def _block(config: Config) -> int:
    """Modes in one of the paper's blocks."""
    return 4 * (config.data.p // 2)


def _modes(config: Config, measured: Measurement) -> Modes:
    """The paper's two blocks and the modes that follow them, of equal dimension as far as the kernel goes."""
    modes, size = measured.arrays["modes"].to(torch.float64), _block(config)
    first, second = paper_blocks(config.data.p)
    following = range(second[-1] + 1, min(second[-1] + 1 + size, modes.shape[1]))
    named = {"first_cliff": first, "second_cliff": second, "following": following}
    blocks = {name: modes[:, list(places)] for name, places in named.items() if places}
    spent = measured.figures[KERNEL_SECONDS] + measured.figures[EIGEN_SECONDS]
    leading = modes[:, 1 : 2 * size + 1]
    return Modes(
        leading=leading,
        seconds=spent / len(measured.arrays["epoch"]),  # at one of the checkpoints
        ordered=modes[:, 1:],
        removed=range(0, modes.shape[1], max(1, size // 4)),
        blocks=blocks,
        size=size,
        whole=leading,
        both=2 * size,
        moved={"entk": blocks["first_cliff"], "second_cliff": blocks["second_cliff"]},
    )


def _sites(model: QuadraticMLP, inputs: Float[Tensor, "N inputs"]) -> dict[str, Site]:
    return {
        "inputs": input_site(model, inputs),
        "preactivations": leaving(model, inputs, "hidden"),
        "activations": entering(model, inputs, "readout"),
    }


class _Nulls:
    """The paper's overlaps where they should not be: untrained, other labels, other inputs."""

    def __init__(self, config: Config, seed: int, bases: Mapping[str, Tensor], arrays: Mapping[str, Tensor]) -> None:
        self._config, self._seed, self._bases, self._arrays = config, seed, bases, arrays

    def random(self, purpose: str) -> torch.Generator:
        return evidence_generator(self._seed, purpose)

    def untrained(self) -> NullOverlaps:
        """Those of the first checkpoint, which is before the first step."""
        return NullOverlaps({name: float(self._arrays[f"overlap.{each}"][0]) for name, each in _FAMILIES.items()})

    def permuted_labels(self) -> NullOverlaps:
        """Those of the same initial network trained the same way on labels in random order."""
        drawn = draw(self._config, self._seed)
        other = replace(drawn, labels=permuted_labels(drawn.labels, self.random("permuted labels")))
        training = self._config.training
        *_, last = other.train(training.model_copy(update={"measure_every": training.epochs}))
        return NullOverlaps(self._overlaps(other.model, other.inputs), 100 * last.train_accuracy)

    def permuted_inputs(self, model: QuadraticMLP, inputs: Float[Tensor, "N inputs"]) -> NullOverlaps:
        """Those of the trained network on inputs whose two parts are each in random order."""
        p = self._config.data.p
        return NullOverlaps(self._overlaps(model, permuted_columns(inputs, (p, p), self.random("permuted inputs"))))

    def _overlaps(self, model: QuadraticMLP, inputs: Float[Tensor, "N inputs"]) -> dict[str, float]:
        vectors = read_kernel(model, inputs, self._config).pairs.vectors
        found = block_overlaps(vectors, self._bases, self._config.data.p)
        return {name: found[family].percent for name, family in _FAMILIES.items()}
