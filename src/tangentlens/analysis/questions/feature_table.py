"""The step that answers the three questions about every feature, as one table."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from tangentlens.analysis.arguments.variants import own_start, untrained_models
from tangentlens.analysis.case import Case
from tangentlens.analysis.findings import Findings, merged
from tangentlens.analysis.interventions.intervention_places import intervention_rows, spot
from tangentlens.analysis.modes.kernel_modes import TOTAL, GroupModes, KernelModes, kernel_modes
from tangentlens.analysis.questions.alignment import align
from tangentlens.analysis.questions.learned import Difference, learned
from tangentlens.analysis.questions.used import Setup, Use, use_of
from tangentlens.analysis.questions.verdicts import Row, rows
from tangentlens.progress import Progress
from tangentlens.store.tables import table_parts

_PERMUTATIONS, _CONTROLS = (999, 19_999), (400, 2000)  # least and most
_NAN = float("nan")

# columns of the table: name -> how it is read, and what stands where there is nothing to read
_OF_ROWS: Mapping[str, Callable[[Row], Any]] = {
    "feature": lambda row: row.alignment.feature,
    "group": lambda row: row.alignment.group,
    "mode": lambda row: row.alignment.choice.mode if row.alignment.choice else -1,
    "sign": lambda row: row.alignment.choice.sign if row.alignment.choice else 1,
    "modes": lambda row: row.alignment.modes,
    "metric": lambda row: row.alignment.metric,
    "score": lambda row: row.alignment.score,
    "low": lambda row: row.alignment.low,
    "high": lambda row: row.alignment.high,
    "chance": lambda row: row.alignment.chance,
    "p": lambda row: row.alignment.p,
    "p_corrected": lambda row: row.p_corrected,
}
_OF_DIFFERENCES: Mapping[str, Callable[[Difference], float]] = {
    "untrained": lambda difference: difference.score,
    "share": lambda difference: difference.share,
    "share_untrained": lambda difference: difference.share_untrained,
    "predicted": lambda difference: difference.predicted,
    "predicted_untrained": lambda difference: difference.predicted_untrained,
    "gain": lambda difference: difference.predicted - difference.predicted_untrained,
    "gain_low": lambda difference: difference.low,
    "gain_high": lambda difference: difference.high,
    "p_learned": lambda difference: difference.p,
}
_OF_USES: Mapping[str, tuple[Callable[[Use], Any], Any]] = {
    "site": (lambda use: use.site, ""),
    "effect": (lambda use: use.effect, _NAN),
    "control": (lambda use: use.control, _NAN),
    "worst_control": (lambda use: use.worst, _NAN),
    "effect_low": (lambda use: use.low, _NAN),
    "effect_high": (lambda use: use.high, _NAN),
    "ablation": (lambda use: use.ablation, _NAN),
    "p_used": (lambda use: use.p, _NAN),
    "controls": (lambda use: use.drawn, 0),
}


def feature_table(case: Case, kernels: KernelModes, progress: Progress) -> Findings:
    """Alignment of every feature in every group, beside untrained networks, and whether the network uses it.

    The table "alignment" has a row for each feature and group: feature, group, mode (-1 for a space, which all modes
    are compared with), sign, metric, score with its 95 % interval low..high, chance, p and p_corrected; untrained, the
    mean score of untrained networks; share and share_untrained, percent of the kernel along the feature; predicted and
    predicted_untrained, R^2 of the feature's kernel ridge regression, and their difference gain with interval
    gain_low..gain_high and p_learned (`learned`); site, effect, control, worst_control, effect_low,
    effect_high and p_used of the intervention (`use_of`); the three verdicts; lives, 1 for the group whose kernel goes
    most along the feature.
    """
    features = case.features.features
    groups = kernels.groups
    permutations = case.options.permutations or enough_permutations(len(features) * len(groups))
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
    untrained, own = _untrained(case, progress)
    differences = learned(
        alignments, case.by_name, groups, untrained, case.halves, case.generator("untrained networks")
    )
    uses = _uses(case, groups[TOTAL], [each.feature for each in alignments if each.group == TOTAL], progress)
    table = rows(
        alignments, differences, [uses.get(each.feature) if each.group == TOTAL else None for each in alignments]
    )
    progress("alignment", 3, 3)
    notes = _notes(case, len(untrained), own, permutations)
    return merged((alignment_findings(table), Findings(notes=notes)))


def alignment_findings(table: Sequence[Row]) -> Findings:
    """The table "alignment" of rows of any analysis."""
    arrays, words = table_parts("alignment", _columns(table))
    return Findings(arrays=arrays, words=words)


def enough_permutations(rows: int) -> int:
    """So many that Holm's correction over a table of that many rows can leave a p below 0.05."""
    return min(max(_PERMUTATIONS[0], 100 * rows), _PERMUTATIONS[1])


def _untrained(case: Case, progress: Progress) -> tuple[list[Mapping[str, GroupModes]], bool]:
    """The modes of untrained networks, and whether they are one, the trained one's own start."""
    found: list[Mapping[str, GroupModes]] = []
    models = untrained_models(case.model, case.subject.untrained, case.options.untrained, case.options.seed + 1)
    for model in models:
        progress("untrained networks", len(found), case.options.untrained)
        found.append(kernel_modes(model, case.inputs, case.kernel, check=False).groups)
    return found, len(found) == 1 and own_start(case.model, model)


def _uses(case: Case, modes: GroupModes, features: Sequence[str], progress: Progress) -> dict[str, Use]:
    """Whether the network uses each feature; nothing where the model has no site."""
    if not case.sites:
        return {}
    controls = case.options.controls or min(max(_CONTROLS[0], 40 * len(features)), _CONTROLS[1])
    where = intervention_rows(case)
    setup = Setup(
        case.sites, cache(lambda site: spot(case, site, where)), case.cost, where, case.features.features, controls
    )
    found: dict[str, Use] = {}
    for done, name in enumerate(features):
        progress("interventions", done, len(features))
        found[name] = use_of(case.by_name[name], modes, setup, case.generator(f"use of {name}"))
    return found


def _columns(table: Sequence[Row]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [read(row) for row in table] for name, read in _OF_ROWS.items()}
    for name, of in _OF_DIFFERENCES.items():
        columns[name] = [_NAN if row.difference is None else of(row.difference) for row in table]
    for name, (of_use, absent) in _OF_USES.items():
        columns[name] = [absent if row.use is None else of_use(row.use) for row in table]
    return columns | {
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


def _notes(case: Case, count: int, own: bool, permutations: int) -> tuple[str, ...]:
    notes = [f"{permutations} permutations of every feature, the choice of mode and sign repeated in each"]
    notes += [f"feature {name} left out: {reason}" for name, reason in case.features.refused.items()]
    if count == 0:
        notes.append("learned: not done, needs untrained= (not every module has reset_parameters())")
    elif own:
        notes.append("learned: compared with the network's own initial state")
    else:
        notes.append(f"learned: compared with {count} untrained network{'s' if count > 1 else ''}")
    return tuple(notes)
