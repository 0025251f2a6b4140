"""Evidence on the Transformer setting, at its key frequencies; from what a run holds.

The kernel of the mean logit in the unembedding is R R^T / C with R the final residual stream at the last position: each
column of W_U has the gradient R / C. Its modes are therefore the left singular vectors of R, uncentred principal
components, and are had from the stored parameters without any kernel.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.alignment.overlap import centred_basis, overlap_of_bases
from tangentlens.baselines.activations import conjugate_functions
from tangentlens.baselines.leaderboard import Task, leaderboard
from tangentlens.baselines.loss_kernel import cross_entropies
from tangentlens.data.modular_addition import Split, labels, token_inputs, train_test_split
from tangentlens.features.functions import principal_functions, random_functions
from tangentlens.interventions.effects import Judge
from tangentlens.models.sites import Site
from tangentlens.networks.one_layer_transformer import OneLayerTransformer
from tangentlens.networks.stacked_training import StackedTraining
from tangentlens.null_models import permuted_columns, permuted_labels
from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement
from tangentlens.settings.ablation import ablation_curves, direction_figures, function_figures, parameter_figures
from tangentlens.settings.evidence_config import evidence_generator
from tangentlens.settings.figures import Figures, Findings, measured_in_parts, measurement
from tangentlens.settings.lead import lead_figures
from tangentlens.settings.random_subspaces import random_subspace_figures
from tangentlens.settings.ranking import leaderboard_figures
from tangentlens.settings.sensitivity import sensitivity
from tangentlens.settings.transformer import key_basis, network
from tangentlens.settings.transformer_config import Config
from tangentlens.training import cross_entropy

_FAMILIES = ("sum", "axis_sum")
_CURVE = 32  # functions taken out at most along the curves, the same for every network


@dataclass(frozen=True)
class _Subject:
    """One trained network of a stored run, and what it is judged by."""

    config: Config
    measured: Measurement
    model: OneLayerTransformer
    initial: OneLayerTransformer
    tokens: Int[Tensor, "N 3"]
    labels: Int[Tensor, " N"]
    split: Split
    keys: tuple[int, ...]
    modes: Float[Tensor, "N k"]
    bases: Mapping[str, Float[Tensor, "N _"]]

    @property
    def joint(self) -> int:
        """Modes 0..4K."""
        return 4 * len(self.keys) + 1

    def judge(self) -> Judge:
        return Judge(self.labels, self.split.test, cross_entropy, self.bases)

    def random(self, purpose: str) -> torch.Generator:
        return evidence_generator(self.measured.seed, purpose)

    def draws(self, purpose: str) -> Iterator[torch.Generator]:
        return (self.random(f"{purpose} {draw}") for draw in range(self.config.evidence.random_subspaces))


def evidence(config: Config, measured: Measurement, progress: Progress = silent) -> Measurement:
    """What a referee would ask of one trained network; docs/evidence.md defines every figure.

    A network that has not learned the task, or whose kernel names no key frequency, has none of it.

    Args:
        config: the setting.
        measured: what `measure` found of the network.
        progress: told the parts.
    """
    keys = tuple(measured.arrays["frequencies.kernel"].tolist())
    if not keys or measured.figures["learned.share"] < 1:
        return measurement(measured.seed, {}, {}, ())
    seed, parts = measured.seed, (_ablate, _move, _rank, _nulls, _lead)
    return measured_in_parts(seed, _subject(config, measured, keys), parts, f"seed {seed}: evidence", progress)


def _subject(config: Config, measured: Measurement, keys: tuple[int, ...]) -> _Subject:
    p, sizes, generator = config.data.p, config.model, torch.Generator().manual_seed(measured.seed)
    tokens = token_inputs(p)
    split = train_test_split(p * p, config.data.train_fraction, generator)
    initial = OneLayerTransformer(p, sizes.d_model, sizes.heads, sizes.d_mlp, generator=generator)
    model = network(config, {name: measured.arrays[f"parameter.{name}"] for name in initial.state_dict()})
    bases = {name: key_basis(name, p, keys) for name in _FAMILIES}
    return _Subject(
        config, measured, model, initial, tokens, labels(p), split, keys, _unembedding_modes(model, tokens), bases
    )


@torch.no_grad()
def _unembedding_modes(model: OneLayerTransformer, tokens: Int[Tensor, "N 3"]) -> Float[Tensor, "N k"]:
    """The unembedding kernel's modes, all that its rank allows."""
    return conjugate_functions(model.residual(tokens), model.d_model)


def _sites(subject: _Subject) -> dict[str, Site]:
    """Embeddings of all three positions, and the final residual stream at the last one; outputs are the p logits."""
    model, p = subject.model, subject.config.data.p
    with torch.no_grad():
        embedded, residual = model.embedded(subject.tokens), model.residual(subject.tokens)
    shape, flat = embedded.shape[1:], embedded.flatten(start_dim=1)

    def from_embeddings(values: Tensor) -> Tensor:
        return (model.residual_from(values.unflatten(1, shape)) @ model.W_U)[:, :p]

    def from_residual(values: Tensor) -> Tensor:
        return (values @ model.W_U)[:, :p]

    return {
        "embeddings": Site("embeddings", flat, from_embeddings, flat.mean(dim=0)),
        "residual": Site("residual", residual, from_residual, residual.mean(dim=0)),
    }


def _blocks(subject: _Subject) -> dict[str, Float[Tensor, "N _"]]:
    """The paper's two blocks, modes 0..2K and 2K + 1..4K, and 2K + 1 modes that follow; less their means.

    The kernel is not centred and its modes have means; without them, what is taken out leaves the mean logits alone.
    """
    d, modes = 2 * len(subject.keys), subject.modes
    named = {"sum_block": (0, d + 1), "axis_block": (d + 1, 2 * d + 1), "following": (2 * d + 1, 3 * d + 2)}
    return {name: centred_basis(modes[:, start:end]) for name, (start, end) in named.items() if start < modes.shape[1]}


def _ablate(subject: _Subject) -> Findings:
    """Blocks of modes out of the final residual stream and out of the weights, beside controls."""
    site, blocks, d = _sites(subject)["residual"], _blocks(subject), 2 * len(subject.keys) + 1
    judge, k, p = subject.judge(), subject.modes.shape[1], subject.config.data.p
    principal, joint = principal_functions(site.values, k), subject.joint
    small = {**blocks, "pca": principal[:, :d]}
    large = {"entk": centred_basis(subject.modes[:, :joint]), "pca": principal[:, :joint]}
    headline = function_figures(site, large, joint, judge, subject.draws("headline"))
    weights = parameter_figures(
        subject.model, subject.tokens, blocks, d, judge, subject.random("parameters"), output=lambda f: f[:, :p]
    )
    figures = {
        **function_figures(site, small, d, judge, subject.draws("functions")),
        **direction_figures(site, small, d, judge, subject.draws("directions")),
        **weights,
        **{key.replace("functions", "ablate", 1): value for key, value in headline.items()},
    }
    random = random_functions(len(subject.tokens), k, subject.random("curves"))
    ordered = {"entk": subject.modes - subject.modes.mean(dim=0), "pca": principal, "random": random}
    sizes = list(range(min(k, _CURVE) + 1))
    return Findings(
        {f"causal.transformer.{key}": value for key, value in figures.items()},
        ablation_curves(site, ordered, sizes, judge),
    )


def _move(subject: _Subject) -> Findings:
    """Embeddings and the final residual stream moved along leading modes and controls."""
    modes = {"entk": subject.modes}
    settings, test = subject.config.evidence, subject.split.test
    figures, arrays = sensitivity(_sites(subject), modes, subject.labels, test, settings, subject.random("sensitivity"))
    prefix = "settle.embeddings."
    headline = {
        key.replace(prefix, "settle."): value
        for key, value in figures.items()
        if key.startswith(f"{prefix}sensitivity_ratio")
    }
    return Findings({**figures, **headline}, arrays)


def _rank(subject: _Subject) -> Findings:
    """Modes 0..4K of the unembedding against every baseline at as many functions of the input."""
    p = subject.config.data.p
    task = Task(
        model=subject.model,
        inputs=subject.tokens,
        labels=subject.labels,
        example_loss=lambda logits, y: cross_entropies(logits[:, :p], y),
        layers=_sites(subject),
        last="residual",
        families=subject.bases,
        train=subject.split.train,
        test=subject.split.test,
    )
    spent = subject.measured.figures["kernel.seconds"] + subject.measured.figures["eigen.seconds"]
    rows = leaderboard(task, subject.modes[:, : subject.joint], seconds=spent, generator=subject.random("leaderboard"))
    return Findings(leaderboard_figures(rows))


def _nulls(subject: _Subject) -> Findings:
    """The paper's overlaps where they should not be: untrained, other labels, shuffled inputs, random subspaces."""
    relabelled, accuracy = _trained_on_permuted_labels(subject)
    shuffled = permuted_columns(subject.tokens, (1, 1, 1), subject.random("permuted inputs"))
    figures: Figures = {
        **_overlap_figures("untrained", subject, _unembedding_modes(subject.initial, subject.tokens)),
        **_overlap_figures("permuted_labels", subject, _unembedding_modes(relabelled, subject.tokens)),
        "null.permuted_labels.train.accuracy": (100 * accuracy, "percent"),
        **_overlap_figures("permuted_inputs", subject, _unembedding_modes(subject.model, shuffled)),
    }
    for name, (start, end) in _ranges(subject).items():
        figures |= random_subspace_figures(
            name,
            dimension=end - start,
            features=subject.bases[name],
            draws=subject.config.evidence.null_draws,
            generator=subject.random(f"random subspaces {name}"),
        )
    return Findings(figures)


def _trained_on_permuted_labels(subject: _Subject) -> tuple[OneLayerTransformer, float]:
    """The same initial network after the paper's epochs on labels in random order, and its train accuracy."""
    config, sizes, settings = subject.config, subject.config.model, subject.config.training
    p, generator = config.data.p, torch.Generator().manual_seed(subject.measured.seed)
    train = train_test_split(p * p, config.data.train_fraction, generator).train
    initial = OneLayerTransformer(p, sizes.d_model, sizes.heads, sizes.d_mlp, generator=generator)
    other = permuted_labels(subject.labels, subject.random("permuted labels"))
    stack = StackedTraining(
        [initial],
        subject.tokens[train][None],
        other[train][None],
        objective=lambda logits, y: cross_entropy(logits[:, :p], y),
        optimiser=partial(torch.optim.AdamW, lr=settings.learning_rate, weight_decay=settings.weight_decay),
        generators=[generator],
        batch=settings.batch_size,
    )
    for _ in range(settings.epochs):
        stack.run_epoch()
    trained = network(config, stack.snapshot(0))
    with torch.no_grad():
        right = trained(subject.tokens[train])[:, :p].argmax(dim=1) == other[train]
    return trained, float(right.double().mean())


def _ranges(subject: _Subject) -> dict[str, tuple[int, int]]:
    """The modes that the paper holds against each family."""
    d = 2 * len(subject.keys)
    return {"sum": (0, d + 1), "axis_sum": (d + 1, 2 * d + 1)}


def _overlap_figures(null: str, subject: _Subject, modes: Float[Tensor, "N k"]) -> Figures:
    return {
        f"null.{null}.overlap.{name}.percent": (
            overlap_of_bases(modes[:, start:end], subject.bases[name]).percent,
            "percent",
        )
        for name, (start, end) in _ranges(subject).items()
    }


def _lead(subject: _Subject) -> Findings:
    """Whether the kernel's change comes before generalisation, and near it; runs of before have no null for that."""
    arrays = subject.measured.arrays
    nulls = arrays.get("overlap.null", torch.zeros(len(arrays["epoch"]), 0))
    figures = lead_figures(
        arrays["epoch"],
        arrays["test.accuracy"],
        arrays["test.loss"],
        arrays["overlap.sum"],
        nulls,
        threshold=subject.config.analysis.onset_accuracy,
    )
    return Findings(figures)
