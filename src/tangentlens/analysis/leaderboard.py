"""The leaderboard of a subject, as figures."""

from tangentlens.analysis.findings import Figures, Findings, keyed
from tangentlens.analysis.options import EvidenceConfig
from tangentlens.analysis.subject import Subject
from tangentlens.controls.baselines.leaderboard import Task, leaderboard
from tangentlens.store.figure_keys import Ranked, RankedCost


def ranking(subject: Subject, _options: EvidenceConfig) -> Findings:
    """The leading modes beside every baseline at as many functions of the input.

    Figures `leaderboard.<method>.<family>.percent`, `leaderboard.<method>.dimension`, `leaderboard.<method>.seconds`.
    """
    task = Task(
        model=subject.model,
        inputs=subject.inputs,
        labels=subject.labels,
        example_loss=subject.example_loss,
        layers=subject.sites,
        last=subject.read,
        families=subject.features,
        train=subject.split.train,
        test=subject.split.test,
    )
    modes = subject.modes
    figures: Figures = {}
    for row in leaderboard(task, modes.leading, seconds=modes.seconds, generator=subject.random("leaderboard")):
        figures |= keyed({Ranked(row.method, family): percent for family, percent in row.percents.items()})
        costs = {"dimension": float(row.dimension), "seconds": row.seconds}
        figures |= keyed({RankedCost(row.method, name): cost for name, cost in costs.items()})
    return Findings(figures)
