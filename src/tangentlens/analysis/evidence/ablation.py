"""Ablations as figures and curves: blocks of modes and their controls of equal dimension taken out of a network.

In three spaces. "functions": the values at a site, as functions of the input, are projected off the block; needs all
inputs at once, so it asks what the block holds rather than what the network does. "directions": the values are
projected off the block's patterns (interventions.directions), one fixed projection for every input. "parameters": the
weights are projected off the block's parameter directions.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from tangentlens.alignment.overlap import orthonormal_basis
from tangentlens.analysis.evidence.trained_network import TrainedNetwork
from tangentlens.analysis.findings import Arrays, Findings, keyed
from tangentlens.analysis.options import EvidenceConfig
from tangentlens.controls.interventions.directions import parameter_directions, patterns, random_directions, span
from tangentlens.controls.interventions.edits import Edit, without_directions, without_functions
from tangentlens.controls.interventions.effects import Evaluation, effect_of, relative_change, variance_removed
from tangentlens.controls.interventions.steering import first_order
from tangentlens.features.functions import principal_functions, random_functions
from tangentlens.models.sites import Site, parameter_site
from tangentlens.store.figure_keys import BASELINE, MODES, RANDOM, Ablation, Key

# name -> (N, d) functions of the input
Blocks = Mapping[str, Float[Tensor, "N _"]]
# what was taken out -> statistic -> value
Effects = dict[str, dict[str, float]]


def ablations(network: TrainedNetwork, options: EvidenceConfig) -> Findings:
    """Blocks of modes out of what the last layer reads and out of the weights, beside controls.

    Figures `causal.<subject>.<space>.<block>.*`; `ablate` is the space of functions with all blocks at once.
    """
    site, modes, evaluation = network.sites[network.read], network.modes, network.evaluation
    k = modes.ordered.shape[1]
    principal = principal_functions(site.values, k)
    small = {**modes.blocks, BASELINE: principal[:, : modes.size]}
    large = {MODES: modes.whole, BASELINE: principal[:, : modes.both]}
    found = {
        "functions": function_effects(site, small, modes.size, evaluation, _draws(network, "functions", options)),
        "directions": direction_effects(site, small, modes.size, evaluation, _draws(network, "directions", options)),
        "parameters": parameter_effects(network),
        "ablate": function_effects(site, large, modes.both, evaluation, _draws(network, "headline", options)),
    }
    keys: dict[Key, float] = {
        Ablation(network.name, space, part, statistic): value
        for space, effects in found.items()
        for part, statistics in effects.items()
        for statistic, value in statistics.items()
    }
    random = random_functions(len(network.inputs), k, network.random("curves"))
    curves = ablation_curves(
        site, {MODES: modes.ordered, BASELINE: principal, RANDOM: random}, modes.removed, evaluation
    )
    return Findings(keyed(keys), curves)


def _draws(network: TrainedNetwork, purpose: str, options: EvidenceConfig) -> Iterator[Generator]:
    return (network.random(f"{purpose} {draw}") for draw in range(options.random_subspaces))


def function_effects(
    site: Site, blocks: Blocks, dimension: int, evaluation: Evaluation, draws: Iterator[Generator]
) -> Effects:
    """Of every block as functions, and the mean over draws of as many random functions."""
    edits = {name: [without_functions(orthonormal_basis(block))] for name, block in blocks.items()}
    N = len(site.values)
    edits[RANDOM] = [without_functions(random_functions(N, dimension, generator)) for generator in draws]
    return _effects(site, edits, evaluation)


def direction_effects(
    site: Site, blocks: Blocks, dimension: int, evaluation: Evaluation, draws: Iterator[Generator]
) -> Effects:
    """Of every block as directions; of random functions through the same map; of random directions."""
    N, w = site.values.shape
    generators = list(draws)
    edits = {name: [_off(site, patterns(site, block))] for name, block in blocks.items()}
    edits["random_functions"] = [_off(site, patterns(site, random_functions(N, dimension, g))) for g in generators]
    edits[RANDOM] = [_off(site, random_directions(w, min(dimension, w), g)) for g in generators]
    return _effects(site, edits, evaluation)


def parameter_effects(network: TrainedNetwork) -> Effects:
    """Of every block in the weights; of random functions through the same map; of random directions.

    `unpredicted` is ||F' - F - J dtheta|| / ||F' - F||: near 0 where the network answers linearly.
    """
    model, inputs, output, size = network.model, network.inputs, network.output, network.modes.size
    site, generator = parameter_site(model, inputs, output=output), network.random("parameter directions")
    functions = {**network.modes.blocks, "random_functions": random_functions(len(inputs), size, generator)}
    edits = {
        name: [_off(site, parameter_directions(model, inputs, each, output=output))] for name, each in functions.items()
    }
    edits[RANDOM] = [_off(site, random_directions(site.values.shape[1], size, generator))]
    effects = _effects(site, edits, network.evaluation)
    return {name: {**effects[name], "unpredicted": _unpredicted(site, edit)} for name, (edit,) in edits.items()}


def ablation_curves(site: Site, ordered: Blocks, sizes: Sequence[int], evaluation: Evaluation) -> Arrays:
    """Accuracy after taking out the first d of some ordered functions, for growing d, in both spaces of a site.

    `ablation.size` (S,), `ablation.functions.<name>.accuracy` and `ablation.directions.<name>.accuracy` (S,), percent.
    """
    arrays: Arrays = {"ablation.size": torch.tensor(sizes, dtype=torch.int64)}
    for name, functions in ordered.items():
        Q, P = torch.linalg.qr(functions).Q, patterns(site, functions)
        arrays[f"ablation.functions.{name}.accuracy"] = _curve(
            site, [without_functions(Q[:, :d]) for d in sizes], evaluation
        )
        arrays[f"ablation.directions.{name}.accuracy"] = _curve(site, [_off(site, P[:, :d]) for d in sizes], evaluation)
    return arrays


def _curve(site: Site, edits: Sequence[Edit], evaluation: Evaluation) -> Float[Tensor, " S"]:
    return torch.tensor([effect_of(site, edit, evaluation).accuracy for edit in edits], dtype=torch.float64)


def _off(site: Site, directions: Float[Tensor, "w k"]) -> Edit:
    return without_directions(span(directions), site.around)


def _effects(site: Site, edits: Mapping[str, Sequence[Edit]], evaluation: Evaluation) -> Effects:
    """Means over the edits of one name."""
    return {name: _mean([_statistics(site, edit, evaluation) for edit in alike]) for name, alike in edits.items()}


def _statistics(site: Site, edit: Edit, evaluation: Evaluation) -> dict[str, float]:
    effect = effect_of(site, edit, evaluation)
    return {
        "accuracy": effect.accuracy,
        "change": effect.change,
        "loss_change": effect.loss_change,
        "divergence": effect.divergence,
        "removed": variance_removed(site, edit),
        **{f"kept.{family}": effect.kept[family] for family in evaluation.families},
    }


def _mean(alike: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(each[name] for each in alike) / len(alike) for name in alike[0]}


def _unpredicted(site: Site, edit: Edit) -> float:
    with torch.no_grad():
        before, after = site.run(site.values), site.run(edit(site.values))
    happened = relative_change(before, after)
    return relative_change(before, after - first_order(site, edit)) / happened if happened > 0 else 0.0
