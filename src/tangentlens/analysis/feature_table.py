"""The step that answers the three questions about every feature, as one table."""

from collections.abc import Sequence

from tangentlens.analysis.alignment import align
from tangentlens.analysis.case import Case
from tangentlens.analysis.findings import Findings
from tangentlens.analysis.kernel_modes import TOTAL, GroupModes, KernelModes, kernel_modes
from tangentlens.analysis.learned import learned
from tangentlens.analysis.used import Setup, Use, use_of
from tangentlens.analysis.variants import untrained_models
from tangentlens.analysis.verdicts import Row, rows
from tangentlens.progress import Progress
from tangentlens.store.tables import table_parts

_PERMUTATIONS = (999, 19_999)


def feature_table(case: Case, kernels: KernelModes, progress: Progress) -> Findings:
    """Alignment of every feature in every group, beside untrained networks, and whether the network uses it.

    The table "alignment" has a row for each feature and group: feature, group, mode (-1 for a space, which all modes
    are compared with), sign, metric, score with its 95 % interval low..high, chance, p and p_corrected; untrained, the
    mean score of untrained networks; share and share_untrained, percent of the kernel along the feature; site, effect,
    control, worst_control, effect_low, effect_high, p_use of the intervention; the three verdicts; lives, 1 for the
    group in which the feature scores best on the choosing half.
    """
    features = case.features.features
    groups = kernels.groups
    permutations = case.options.permutations or min(
        max(_PERMUTATIONS[0], 100 * len(features) * len(groups)), _PERMUTATIONS[1]
    )
    progress("alignment", 0, 3)
    alignments = align(
        groups,
        features,
        case.halves,
        permutations=permutations,
        resamples=case.options.resamples,
        generator=case.generator("alignment"),
    )
    progress("alignment", 1, 3)
    untrained = _untrained(case, progress)
    differences = learned(
        alignments, case.by_name, groups, untrained, case.halves, case.generator("untrained networks")
    )
    uses = _uses(case, groups[TOTAL], [each.feature for each in alignments if each.group == TOTAL], progress)
    table = rows(
        alignments, differences, [uses.get(each.feature) if each.group == TOTAL else None for each in alignments]
    )
    progress("alignment", 3, 3)
    arrays, words = table_parts("alignment", _columns(table))
    return Findings(arrays=arrays, words=words, notes=_notes(case, len(untrained), permutations))


def _untrained(case: Case, progress: Progress) -> list[dict[str, GroupModes]]:
    """The modes of untrained networks."""
    found: list[dict[str, GroupModes]] = []
    models = untrained_models(case.model, case.subject.untrained, case.options.untrained, case.options.seed + 1)
    for model in models:
        progress("untrained networks", len(found), case.options.untrained)
        found.append(dict(kernel_modes(model, case.inputs, case.kernel, check=False).groups))
    return found


def _uses(case: Case, modes: GroupModes, features: Sequence[str], progress: Progress) -> dict[str, Use]:
    """Whether the network uses each feature; nothing where the model has no site."""
    if not case.sites:
        return {}
    setup = Setup(case.sites, case.cost, case.halves, case.features.features, case.options.controls)
    found: dict[str, Use] = {}
    for done, name in enumerate(features):
        progress("interventions", done, len(features))
        found[name] = use_of(case.by_name[name], modes, setup, case.generator(f"use of {name}"))
    return found


def _columns(table: Sequence[Row]) -> dict[str, list[str] | list[float] | list[int]]:
    nan = float("nan")
    return {
        "feature": [row.alignment.feature for row in table],
        "group": [row.alignment.group for row in table],
        "mode": [row.alignment.choice.mode if row.alignment.choice else -1 for row in table],
        "sign": [row.alignment.choice.sign if row.alignment.choice else 1 for row in table],
        "modes": [row.alignment.modes for row in table],
        "metric": [row.alignment.metric for row in table],
        "score": [row.alignment.score for row in table],
        "low": [row.alignment.low for row in table],
        "high": [row.alignment.high for row in table],
        "chance": [row.alignment.chance for row in table],
        "p": [row.alignment.p for row in table],
        "p_corrected": [row.p_corrected for row in table],
        "untrained": [row.difference.score if row.difference else nan for row in table],
        "share": [row.difference.share if row.difference else nan for row in table],
        "share_untrained": [row.difference.untrained if row.difference else nan for row in table],
        "share_low": [row.difference.low if row.difference else nan for row in table],
        "share_high": [row.difference.high if row.difference else nan for row in table],
        "p_learned": [row.difference.p if row.difference else nan for row in table],
        "site": [row.use.site if row.use else "" for row in table],
        "effect": [row.use.effect if row.use else nan for row in table],
        "control": [row.use.control if row.use else nan for row in table],
        "worst_control": [row.use.worst if row.use else nan for row in table],
        "effect_low": [row.use.low if row.use else nan for row in table],
        "effect_high": [row.use.high if row.use else nan for row in table],
        "ablation": [row.use.ablation if row.use else nan for row in table],
        "p_used": [row.use.p if row.use else nan for row in table],
        "controls": [row.use.drawn if row.use else 0 for row in table],
        "verdict_aligned": [str(row.aligned) for row in table],
        "verdict_learned": [str(row.learned) for row in table],
        "verdict_used": [str(row.used) for row in table],
        "lives": _lives(table),
    }


def _lives(table: Sequence[Row]) -> list[int]:
    """1 for the group, "total" aside, in which a feature has the highest share of the kernel; score without shares."""
    best: dict[str, tuple[float, int]] = {}
    for place, row in enumerate(table):
        if row.alignment.group == TOTAL:
            continue
        value = row.difference.share if row.difference else row.alignment.score
        if row.alignment.feature not in best or value > best[row.alignment.feature][0]:
            best[row.alignment.feature] = (value, place)
    chosen = {place for _, place in best.values()}
    return [int(place in chosen) for place in range(len(table))]


def _notes(case: Case, untrained: int, permutations: int) -> tuple[str, ...]:
    notes = [f"{permutations} permutations of every feature, the choice of mode and sign repeated in each"]
    notes += [f"feature {name} left out: {reason}" for name, reason in case.features.refused.items()]
    if untrained == 0:
        notes.append("learned: not done, needs untrained= (not every module has reset_parameters())")
    elif untrained == 1:
        notes.append("learned: compared with one untrained network; its interval is over inputs alone")
    return tuple(notes)
