"""The leaderboard of a network, as figures."""

from tangentlens.analysis.evidence.trained_network import TrainedNetwork
from tangentlens.analysis.findings import Figures, Findings, keyed
from tangentlens.analysis.options import EvidenceConfig
from tangentlens.controls.baselines.leaderboard import Task, leaderboard
from tangentlens.store.figure_keys import Ranked, RankedCost


def ranking(network: TrainedNetwork, _options: EvidenceConfig) -> Findings:
    """The leading modes beside every baseline at as many functions of the input.

    Figures `leaderboard.<method>.<family>.percent`, `leaderboard.<method>.dimension`, `leaderboard.<method>.seconds`.
    """
    task = Task(
        model=network.model,
        inputs=network.inputs,
        labels=network.labels,
        example_loss=network.example_loss,
        layers=network.sites,
        last=network.read,
        families=network.features,
        train=network.split.train,
        test=network.split.test,
    )
    modes = network.modes
    figures: Figures = {}
    for row in leaderboard(task, modes.leading, seconds=modes.seconds, generator=network.random("leaderboard")):
        figures |= keyed({Ranked(row.method, family): percent for family, percent in row.percents.items()})
        costs = {"dimension": float(row.dimension), "seconds": row.seconds}
        figures |= keyed({RankedCost(row.method, name): cost for name, cost in costs.items()})
    return Findings(figures)
