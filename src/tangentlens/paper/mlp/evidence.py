"""Evidence on the MLP setting, from what a run holds: the network with its modes, and its null models."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from tangentlens.alignment.cliffs import paper_blocks
from tangentlens.alignment.overlap import overlap_of_bases
from tangentlens.analysis.evidence.trained_network import Modes, NullOverlaps, Space, TrainedNetwork, stored_curves
from tangentlens.analysis.evidence_steps import collect_evidence
from tangentlens.analysis.options import evidence_generator
from tangentlens.controls.baselines.loss_kernel import squared_errors
from tangentlens.controls.null_models import permuted_columns, permuted_labels
from tangentlens.models.sites import entering, input_site, leaving
from tangentlens.paper.mlp.config import Config
from tangentlens.paper.mlp.network import QuadraticMLP
from tangentlens.paper.mlp.subject import Drawn, draw, family_bases, paper_modes, read_kernel
from tangentlens.paper.training import mean_squared_error
from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement
from tangentlens.store.figure_keys import EIGEN_SECONDS, KERNEL_SECONDS, MODES

_FAMILIES = {"first_cliff": "input", "sum": "sum", "difference": "difference"}  # by what keys call their overlap


def evidence(config: Config, measured: Measurement, progress: Progress = silent) -> Measurement:
    """Nulls, interventions and baselines of one trained network; docs/evidence.md defines every figure.

    Args:
        config: the setting.
        measured: what `measure` found of the network.
        progress: receives the steps.
    """
    return collect_evidence(trained_network(config, measured), config.evidence, progress=progress)


def trained_network(config: Config, measured: Measurement) -> TrainedNetwork:
    """The network of a stored seed, its modes and what they are compared with."""
    drawn, bases = draw(config, measured.seed), family_bases(config.data.p)
    model, inputs = drawn.model, drawn.inputs
    model.load_state_dict({name: measured.arrays[f"parameter.{name}"] for name in model.state_dict()})
    size = 4 * (config.data.p // 2)
    return TrainedNetwork(
        name="mlp",
        seed=measured.seed,
        model=model,
        inputs=inputs,
        labels=drawn.labels,
        split=drawn.split,
        loss=mean_squared_error,
        example_loss=squared_errors,
        features={family: bases[family] for family in _FAMILIES.values()},
        followed=("sum", "difference"),
        sites={
            "inputs": input_site(model, inputs),
            "preactivations": leaving(model, inputs, "hidden"),
            "activations": entering(model, inputs, "readout"),
        },
        read="activations",
        modes=_modes(config, measured, size),
        random=partial(evidence_generator, measured.seed),
        nulls=_nulls(config, measured, drawn, bases),
        spaces={name: Space(size, family) for name, family in _FAMILIES.items()},
        curves=stored_curves(measured.arrays, config.analysis.onset_accuracy),
    )


def _modes(config: Config, measured: Measurement, size: int) -> Modes:
    """The paper's two blocks of `size` modes and as many that follow them, as far as the kernel goes."""
    modes = measured.arrays["modes"].to(torch.float64)
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
        moved={MODES: blocks["first_cliff"], "second_cliff": blocks["second_cliff"]},
    )


def _nulls(
    config: Config, measured: Measurement, trained: Drawn, bases: Mapping[str, Tensor]
) -> dict[str, Callable[[], NullOverlaps]]:
    """The paper's overlaps of the first checkpoint, of a network trained on other labels, and on other inputs."""
    p, training = config.data.p, config.training

    def overlaps(model: QuadraticMLP, inputs: Tensor) -> dict[str, float]:
        modes = paper_modes(read_kernel(model, inputs, config).pairs.vectors, p)
        return {name: overlap_of_bases(modes[each], bases[each]).percent for name, each in _FAMILIES.items()}

    def random(purpose: str) -> torch.Generator:
        return evidence_generator(measured.seed, purpose)

    def retrained() -> NullOverlaps:
        drawn = draw(config, measured.seed)
        other = replace(drawn, labels=permuted_labels(drawn.labels, random("permuted labels")))
        *_, last = other.train(training.model_copy(update={"measure_every": training.epochs}))
        return NullOverlaps(overlaps(other.model, other.inputs), 100 * last.train_accuracy)

    first = {name: float(measured.arrays[f"overlap.{each}"][0]) for name, each in _FAMILIES.items()}
    return {
        "untrained": lambda: NullOverlaps(first),
        "permuted_labels": retrained,
        "permuted_inputs": lambda: NullOverlaps(
            overlaps(trained.model, permuted_columns(trained.inputs, (p, p), random("permuted inputs")))
        ),
    }
