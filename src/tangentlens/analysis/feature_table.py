"""The step that answers the three questions about every feature, as one table."""

from collections.abc import Callable, Sequence
from typing import Any

from tangentlens.analysis.alignment import Alignment, align
from tangentlens.analysis.case import Case
from tangentlens.analysis.findings import Findings
from tangentlens.analysis.kernel_modes import TOTAL, GroupModes, KernelModes, kernel_modes
from tangentlens.analysis.learned import Difference, Untrained, learned
from tangentlens.analysis.used import Setup, Use, use_of
from tangentlens.analysis.variants import own_start, untrained_models
from tangentlens.analysis.verdicts import Row, rows
from tangentlens.progress import Progress
from tangentlens.store.tables import table_parts

_PERMUTATIONS, _CONTROLS = (999, 19_999), (400, 2000)  # least and most


def feature_table(case: Case, kernels: KernelModes, progress: Progress) -> Findings:
    """Alignment of every feature in every group, beside untrained networks, and whether the network uses it.

    The table "alignment" has a row for each feature and group: feature, group, mode (-1 for a space, which all modes
    are compared with), sign, metric, score with its 95 % interval low..high, chance, p and p_corrected; untrained, the
    mean score of untrained networks; share and share_untrained, percent of the kernel along the feature, and its gain
    with interval gain_low..gain_high and p_learned (`learned`); site, effect, control, worst_control, effect_low,
    effect_high and p_used of the intervention (`use_of`); the three verdicts; lives, 1 for the group whose kernel goes
    most along the feature.
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
    return Findings(arrays=arrays, words=words, notes=_notes(case, untrained, permutations))


def _untrained(case: Case, progress: Progress) -> Untrained:
    """The modes of untrained networks."""
    found: list[dict[str, GroupModes]] = []
    own = False
    models = untrained_models(case.model, case.subject.untrained, case.options.untrained, case.options.seed + 1)
    for model in models:
        progress("untrained networks", len(found), case.options.untrained)
        found.append(dict(kernel_modes(model, case.inputs, case.kernel, check=False).groups))
        own = own_start(case.model, model)
    return Untrained(found, own and len(found) == 1)


def _uses(case: Case, modes: GroupModes, features: Sequence[str], progress: Progress) -> dict[str, Use]:
    """Whether the network uses each feature; nothing where the model has no site."""
    if not case.sites:
        return {}
    controls = case.options.controls or min(max(_CONTROLS[0], 40 * len(features)), _CONTROLS[1])
    setup = Setup(case.sites, case.cost, case.halves, case.features.features, controls)
    found: dict[str, Use] = {}
    for done, name in enumerate(features):
        progress("interventions", done, len(features))
        found[name] = use_of(case.by_name[name], modes, setup, case.generator(f"use of {name}"))
    return found


_ALIGNMENT: dict[str, Callable[[Alignment], str | float | int]] = {
    "feature": lambda each: each.feature,
    "group": lambda each: each.group,
    "mode": lambda each: each.choice.mode if each.choice else -1,
    "sign": lambda each: each.choice.sign if each.choice else 1,
    "modes": lambda each: each.modes,
    "metric": lambda each: each.metric,
    "score": lambda each: each.score,
    "low": lambda each: each.low,
    "high": lambda each: each.high,
    "chance": lambda each: each.chance,
    "p": lambda each: each.p,
}
_DIFFERENCE: dict[str, Callable[[Difference], float]] = {
    "untrained": lambda each: each.score,
    "share": lambda each: each.share,
    "share_untrained": lambda each: each.untrained,
    "gain": lambda each: each.gain,
    "gain_low": lambda each: each.low,
    "gain_high": lambda each: each.high,
    "p_learned": lambda each: each.p,
}
_USE: dict[str, Callable[[Use], float]] = {
    "effect": lambda each: each.effect,
    "control": lambda each: each.control,
    "worst_control": lambda each: each.worst,
    "effect_low": lambda each: each.low,
    "effect_high": lambda each: each.high,
    "ablation": lambda each: each.ablation,
    "p_used": lambda each: each.p,
}


def _columns(table: Sequence[Row]) -> dict[str, list[Any]]:
    nan = float("nan")
    return {
        **{name: [of(row.alignment) for row in table] for name, of in _ALIGNMENT.items()},
        "p_corrected": [row.p_corrected for row in table],
        **{name: [of(row.difference) if row.difference else nan for row in table] for name, of in _DIFFERENCE.items()},
        "site": [row.use.site if row.use else "" for row in table],
        **{name: [of(row.use) if row.use else nan for row in table] for name, of in _USE.items()},
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


def _notes(case: Case, untrained: Untrained, permutations: int) -> tuple[str, ...]:
    notes = [f"{permutations} permutations of every feature, the choice of mode and sign repeated in each"]
    notes += [f"feature {name} left out: {reason}" for name, reason in case.features.refused.items()]
    count = len(untrained.groups)
    if count == 0:
        notes.append("learned: not done, needs untrained= (not every module has reset_parameters())")
    elif untrained.own:
        notes.append("learned: compared with the network's own initial state")
    else:
        notes.append(f"learned: compared with {count} untrained network{'s' if count > 1 else ''}")
    return tuple(notes)
