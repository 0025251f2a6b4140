"""Evidence on the MLP setting: causal tests, the settling question, null models, dynamics; from what a run holds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.alignment.cliffs import paper_blocks
from tangentlens.baselines.leaderboard import Task, leaderboard
from tangentlens.baselines.loss_kernel import squared_errors
from tangentlens.data.modular_addition import Split, labels, one_hot_inputs, train_test_split
from tangentlens.features.functions import principal_functions, random_functions
from tangentlens.interventions.effects import Judge
from tangentlens.models.sites import Site, entering, input_site, leaving
from tangentlens.networks.quadratic_mlp import QuadraticMLP
from tangentlens.null_models import permuted_columns, permuted_labels
from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement, SubspaceOverlap
from tangentlens.settings.ablation import ablation_curves, direction_figures, function_figures, parameter_figures
from tangentlens.settings.evidence_config import evidence_generator
from tangentlens.settings.figures import Figures, Findings, measured_in_parts
from tangentlens.settings.lead import lead_figures
from tangentlens.settings.mlp import Config, block_overlaps, family_bases, read_kernel
from tangentlens.settings.random_subspaces import random_subspace_figures
from tangentlens.settings.ranking import leaderboard_figures
from tangentlens.settings.sensitivity import sensitivity
from tangentlens.training import mean_squared_error, train


@dataclass(frozen=True)
class _Subject:
    """One trained network of a stored run, and what it is judged by."""

    config: Config
    measured: Measurement
    model: QuadraticMLP
    inputs: Float[Tensor, "N inputs"]
    labels: Int[Tensor, " N"]
    split: Split
    modes: Float[Tensor, "N k"]
    bases: Mapping[str, Float[Tensor, "N _"]]

    @property
    def block(self) -> int:
        """Modes in one of the paper's blocks."""
        return 4 * (self.config.data.p // 2)

    @property
    def judge(self) -> Judge:
        families = {name: self.bases[name] for name in ("sum", "difference")}
        return Judge(self.labels, self.split.test, mean_squared_error, families)

    def random(self, purpose: str) -> torch.Generator:
        return evidence_generator(self.measured.seed, purpose)


def evidence(config: Config, measured: Measurement, progress: Progress = silent) -> Measurement:
    """What a referee would ask of one trained network; docs/evidence.md defines every figure.

    Args:
        config: the setting.
        measured: what `measure` found of the network.
        progress: told the parts.
    """
    seed, parts = measured.seed, (_ablate, _move, _rank, _nulls, _lead)
    return measured_in_parts(seed, _subject(config, measured), parts, f"seed {seed}: evidence", progress)


def _subject(config: Config, measured: Measurement) -> _Subject:
    p, generator, arrays = config.data.p, torch.Generator().manual_seed(measured.seed), measured.arrays
    inputs = one_hot_inputs(p)
    split = train_test_split(len(inputs), config.data.train_fraction, generator)
    model = QuadraticMLP(p, config.model.width, generator)
    stored = {name: arrays[f"parameter.{name}"] for name in model.state_dict()}
    model.load_state_dict(stored)
    modes = arrays["modes"].to(torch.float64)
    return _Subject(config, measured, model, inputs, labels(p), split, modes, family_bases(p))


def _blocks(subject: _Subject) -> dict[str, Float[Tensor, "N _"]]:
    """The paper's two blocks and the modes that follow them, of equal dimension as far as the kernel goes."""
    first, second = paper_blocks(subject.config.data.p)
    following = range(second[-1] + 1, min(second[-1] + 1 + subject.block, subject.modes.shape[1]))
    named = {"first_cliff": first, "second_cliff": second, "following": following}
    return {name: subject.modes[:, list(modes)] for name, modes in named.items() if modes}


def _ablate(subject: _Subject) -> Findings:
    """Blocks of modes out of the hidden layer's activations and out of the weights, beside controls."""
    site, blocks, d = entering(subject.model, subject.inputs, "readout"), _blocks(subject), subject.block
    judge, count, k = subject.judge, subject.config.evidence.random_subspaces, subject.modes.shape[1] - 1
    principal = principal_functions(site.values, k)
    small = {**blocks, "pca": principal[:, :d]}
    large = {"entk": subject.modes[:, 1 : 2 * d + 1], "pca": principal[:, : 2 * d]}
    headline = function_figures(site, large, 2 * d, judge, _draws(subject, "headline", count))
    figures = {
        **function_figures(site, small, d, judge, _draws(subject, "functions", count)),
        **direction_figures(site, small, d, judge, _draws(subject, "directions", count)),
        **parameter_figures(subject.model, subject.inputs, blocks, d, judge, subject.random("parameter directions")),
        **{key.replace("functions", "ablate", 1): value for key, value in headline.items()},
    }
    ordered = {
        "entk": subject.modes[:, 1:],
        "pca": principal,
        "random": random_functions(len(subject.inputs), k, subject.random("curves")),
    }
    sizes = list(range(0, k + 1, max(1, d // 4)))
    return Findings(
        {f"causal.mlp.{key}": value for key, value in figures.items()}, ablation_curves(site, ordered, sizes, judge)
    )


def _draws(subject: _Subject, purpose: str, count: int) -> Iterator[torch.Generator]:
    return (subject.random(f"{purpose} {draw}") for draw in range(count))


def _rank(subject: _Subject) -> Findings:
    """The modes of both blocks against every baseline at as many functions of the input."""
    task = Task(
        model=subject.model,
        inputs=subject.inputs,
        labels=subject.labels,
        example_loss=squared_errors,
        layers=_sites(subject),
        last="activations",
        families={name: subject.bases[name] for name in ("input", "sum", "difference")},
        train=subject.split.train,
        test=subject.split.test,
    )
    modes = subject.modes[:, 1 : 2 * subject.block + 1]
    spent = subject.measured.figures["kernel.seconds"] + subject.measured.figures["eigen.seconds"]
    seconds = spent / len(subject.measured.arrays["epoch"])  # at one of the checkpoints
    rows = leaderboard(task, modes, seconds=seconds, generator=subject.random("leaderboard"))
    return Findings(leaderboard_figures(rows))


def _sites(subject: _Subject) -> dict[str, Site]:
    model, inputs = subject.model, subject.inputs
    return {
        "inputs": input_site(model, inputs),
        "preactivations": leaving(model, inputs, "hidden"),
        "activations": entering(model, inputs, "readout"),
    }


def _move(subject: _Subject) -> Findings:
    """Inputs, preactivations and activations moved along leading modes and controls."""
    blocks = _blocks(subject)
    modes = {"entk": blocks["first_cliff"], "second_cliff": blocks["second_cliff"]}
    figures, arrays = sensitivity(
        _sites(subject),
        modes,
        subject.labels,
        subject.split.test,
        subject.config.evidence,
        subject.random("sensitivity"),
    )
    headline = {
        key.replace("settle.inputs.", "settle."): value
        for key, value in figures.items()
        if key.startswith("settle.inputs.sensitivity_ratio.entk")
    }
    return Findings({**figures, **headline}, arrays)


def _nulls(subject: _Subject) -> Findings:
    """The paper's overlaps where they should not be: untrained, other labels, other inputs."""
    curves = {name: float(subject.measured.arrays[f"overlap.{name}"][0]) for name in ("input", "sum", "difference")}
    figures = _overlap_figures("untrained", curves)
    relabelled, accuracy = _trained_on_permuted_labels(subject)
    figures |= _overlap_figures("permuted_labels", relabelled)
    figures["null.permuted_labels.train.accuracy"] = (accuracy, "percent")
    p, config = subject.config.data.p, subject.config.evidence
    shuffled = permuted_columns(subject.inputs, (p, p), subject.random("permuted inputs"))
    figures |= _overlap_figures("permuted_inputs", _overlaps(subject, subject.model, shuffled))
    for name, family in (("first_cliff", "input"), ("sum", "sum"), ("difference", "difference")):
        figures |= random_subspace_figures(
            name,
            dimension=subject.block,
            features=subject.bases[family],
            draws=config.null_draws,
            generator=subject.random(f"random subspaces {name}"),
        )
    return Findings(figures)


def _trained_on_permuted_labels(subject: _Subject) -> tuple[dict[str, float], float]:
    """Overlaps of the same initial network trained the same way on labels in random order, and its train accuracy."""
    config, generator = subject.config, torch.Generator().manual_seed(subject.measured.seed)
    split = train_test_split(len(subject.inputs), config.data.train_fraction, generator)
    model = QuadraticMLP(config.data.p, config.model.width, generator)
    other = permuted_labels(subject.labels, subject.random("permuted labels"))
    settings = config.training.model_copy(update={"measure_every": config.training.epochs})
    *_, last = train(model, subject.inputs, other, split.train, split.test, mean_squared_error, settings, generator)
    return _overlaps(subject, model, subject.inputs), 100 * last.train_accuracy


def _overlaps(subject: _Subject, model: QuadraticMLP, inputs: Float[Tensor, "N inputs"]) -> dict[str, float]:
    vectors = read_kernel(model, inputs, subject.config).pairs.vectors
    found: dict[str, SubspaceOverlap] = block_overlaps(vectors, subject.bases, subject.config.data.p)
    return {name: overlap.percent for name, overlap in found.items()}


def _overlap_figures(null: str, percents: Mapping[str, float]) -> Figures:
    names = {"input": "first_cliff"}
    return {
        f"null.{null}.overlap.{names.get(name, name)}.percent": (value, "percent") for name, value in percents.items()
    }


def _lead(subject: _Subject) -> Findings:
    """Whether the kernel's change comes near the onset of generalisation, and before it."""
    arrays, threshold = subject.measured.arrays, subject.config.analysis.onset_accuracy
    curves = (arrays[name] for name in ("epoch", "test.accuracy", "test.loss", "overlap.sum", "overlap.null"))
    return Findings(lead_figures(*curves, threshold=threshold))
