"""Evidence on the Transformer setting, from what a run holds: the network with its modes, and its null models."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.alignment.overlap import centred_basis, overlap_of_bases
from tangentlens.analysis.evidence.trained_network import Modes, NullOverlaps, Space, TrainedNetwork, stored_curves
from tangentlens.analysis.evidence_steps import collect_evidence
from tangentlens.analysis.findings import measurement
from tangentlens.analysis.options import evidence_generator
from tangentlens.controls.baselines.loss_kernel import cross_entropies
from tangentlens.controls.null_models import permuted_columns, permuted_labels
from tangentlens.paper.modular_addition.data import labels, token_inputs
from tangentlens.paper.training import cross_entropy
from tangentlens.paper.transformer.config import Config
from tangentlens.paper.transformer.network import OneLayerTransformer
from tangentlens.paper.transformer.subject import draw, key_basis, network, paper_ranges, sites, unembedding_modes
from tangentlens.paper.transformer.training import stacked
from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement
from tangentlens.store.figure_keys import EIGEN_SECONDS, KERNEL_SECONDS, LEARNED, MODES

_FAMILIES = ("sum", "axis_sum")
_CURVE = 32  # functions taken out at most along the curves, the same for every network
_PURPOSES = {"parameter directions": "parameters"}  # as the draws of this setting have always been called


def evidence(config: Config, measured: Measurement, progress: Progress = silent) -> Measurement:
    """Nulls, interventions and baselines of one trained network; docs/evidence.md defines every figure.

    A network that has not learned the task, or whose kernel names no key frequency, has none of it.

    Args:
        config: the setting.
        measured: what `measure` found of the network.
        progress: receives the steps.
    """
    keys = tuple(measured.arrays["frequencies.kernel"].tolist())
    if not keys or measured.figures[LEARNED] < 1:
        return measurement(measured.seed, {}, {}, ())
    return collect_evidence(trained_network(config, measured, keys), config.evidence, progress=progress)


def trained_network(config: Config, measured: Measurement, keys: tuple[int, ...]) -> TrainedNetwork:
    """The network of a stored seed, its modes at the key frequencies, and what they are compared with."""
    p, drawn, tokens = config.data.p, draw(config, measured.seed), token_inputs(config.data.p)
    model = network(config, {name: measured.arrays[f"parameter.{name}"] for name in drawn.model.state_dict()})
    nulls = _Nulls(config, measured.seed, {name: key_basis(name, p, keys) for name in _FAMILIES}, len(keys))
    return TrainedNetwork(
        name="transformer",
        seed=measured.seed,
        model=model,
        inputs=tokens,
        labels=labels(p),
        split=drawn.split,
        loss=cross_entropy,
        example_loss=lambda logits, y: cross_entropies(logits[:, :p], y),
        features=nulls.bases,
        followed=_FAMILIES,
        sites=sites(model, tokens, p),
        read="residual",
        modes=_modes(unembedding_modes(model, tokens), len(keys), measured),
        random=nulls.random,
        output=lambda outputs: outputs[:, :p],
        nulls={
            "untrained": lambda: NullOverlaps(nulls.overlaps(drawn.model, tokens)),
            "permuted_labels": nulls.permuted_labels,
            "permuted_inputs": lambda: nulls.permuted_inputs(model, tokens),
        },
        spaces={name: Space(end - start, name) for name, (start, end) in paper_ranges(len(keys)).items()},
        curves=stored_curves(measured.arrays, config.analysis.onset_accuracy),
    )


def _modes(modes: Float[Tensor, "N k"], frequencies: int, measured: Measurement) -> Modes:
    """The paper's two blocks and 2K + 1 modes that follow.

    The kernel is not centred and its modes have means; the blocks are taken out less their means, which leaves the mean
    logits alone.
    """
    k, both, d = modes.shape[1], 4 * frequencies + 1, 2 * frequencies + 1
    named = {"sum_block": (0, d), "axis_block": (d, both), "following": (both, both + d)}
    return Modes(
        leading=modes[:, :both],
        seconds=measured.figures[KERNEL_SECONDS] + measured.figures[EIGEN_SECONDS],
        ordered=modes - modes.mean(dim=0),
        removed=range(min(k, _CURVE) + 1),
        blocks={name: centred_basis(modes[:, start:end]) for name, (start, end) in named.items() if start < k},
        size=d,
        whole=centred_basis(modes[:, :both]),
        both=both,
        moved={MODES: modes},
    )


class _Nulls:
    """The paper's overlaps of an untrained network, of one trained on other labels, and on shuffled inputs."""

    def __init__(self, config: Config, seed: int, bases: Mapping[str, Tensor], frequencies: int) -> None:
        self._config, self._seed, self._frequencies = config, seed, frequencies
        self.bases = bases

    def random(self, purpose: str) -> torch.Generator:
        return evidence_generator(self._seed, _PURPOSES.get(purpose, purpose))

    def overlaps(self, model: OneLayerTransformer, tokens: Int[Tensor, "N 3"]) -> dict[str, float]:
        """Percent of each family inside the modes that the paper compares with it."""
        modes = unembedding_modes(model, tokens)
        return {
            name: overlap_of_bases(modes[:, start:end], self.bases[name]).percent
            for name, (start, end) in paper_ranges(self._frequencies).items()
        }

    def permuted_labels(self) -> NullOverlaps:
        """Overlaps of the same initial network after the paper's epochs on labels in random order."""
        model, accuracy = self.trained_on_permuted_labels()
        return NullOverlaps(self.overlaps(model, token_inputs(self._config.data.p)), 100 * accuracy)

    def trained_on_permuted_labels(self) -> tuple[OneLayerTransformer, float]:
        """Train the initial network on labels in random order; returns it with its train accuracy, 0..1."""
        p, drawn = self._config.data.p, draw(self._config, self._seed)
        other = permuted_labels(labels(p), self.random("permuted labels"))
        stack = stacked(self._config, [drawn], other)
        for _ in range(self._config.training.epochs):
            stack.run_epoch()
        trained, rows = network(self._config, stack.snapshot(0)), drawn.split.train
        with torch.no_grad():
            right = trained(token_inputs(p)[rows])[:, :p].argmax(dim=1) == other[rows]
        return trained, float(right.double().mean())

    def permuted_inputs(self, model: OneLayerTransformer, tokens: Int[Tensor, "N 3"]) -> NullOverlaps:
        """Overlaps of the trained network on tokens whose positions are each in random order."""
        return NullOverlaps(self.overlaps(model, permuted_columns(tokens, (1, 1, 1), self.random("permuted inputs"))))
