"""Do the modes matter? Ablations and shifts of modes at every site, in the weights and at the inputs, beside controls.

Directions are found on the choosing half, effects measured on the scoring half. See `trials` for the evidence and
`controls.interventions.matched` for the map that modes and controls go through.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tangentlens.analysis.case import Case
from tangentlens.analysis.findings import Findings
from tangentlens.analysis.interventions.intervention_places import all_parameters, intervention_rows, value_places
from tangentlens.analysis.interventions.intervention_trials import AtPlace, Bench
from tangentlens.analysis.interventions.mode_blocks import ModeBlock, mode_blocks
from tangentlens.analysis.interventions.readout import Readout
from tangentlens.analysis.interventions.trials import Evidence, Meter, Trial, evidence
from tangentlens.analysis.interventions.weight_edits import weight_edits
from tangentlens.analysis.modes.kernel_modes import TOTAL, KernelModes
from tangentlens.kernels.budget import parse_budget
from tangentlens.progress import Progress
from tangentlens.store.tables import table_parts

_IN_WEIGHTS = 8  # modes of a block in the weights, at most
_COPIES = 8  # of the directions of one block that are held at once

_LABELS = ("site", "space", "action", "what", "feature", "feature_read")
_NUMBERS = (
    "size", "dose", "loss_change", "accuracy_change", "output_change", "unpredicted", "feature_kept",
    "feature_kept_control", "random",
)  # fmt: skip
_EDIT_LABELS = ("parameter", "what", "feature")
_EDIT_NUMBERS = ("dose", "loss_change", "accuracy_change", "output_change", "feature_kept", "random_functions")
# column -> field of Evidence
_EVIDENCE = {
    "effect": "effect", "control_mean": "control_mean", "control_worst": "control_worst", "low": "low", "high": "high",
    "pca": "principal", "pca_low": "principal_low", "pca_high": "principal_high", "p": "p",
    "p_corrected": "p_corrected",
}  # fmt: skip


def interventions(case: Case, kernels: KernelModes, progress: Progress) -> Findings:
    """Tables "interventions" and "weight_edits".

    "interventions" has a row for each intervention: site, space ("inputs", "activations", "parameters"), action
    ("ablate", "steer"), what (modes), size; dose, in units of the values' spread (of the norm of all parameters), NaN
    for an ablation; effect, the mean increase of the loss (without targets the squared change of the outputs in units
    of their variance); loss_change; accuracy_change, percentage points, or change of R^2; output_change, in units of
    the outputs' variation; unpredicted, the share of that change which first order does not give; feature, the one
    that lies in these modes best, feature_kept, percent of its amplitude that is left in what feature_read names, and
    feature_kept_control, the mean over controls; control_mean and control_worst over random functions through the same
    map, low and high of effect - control_mean; pca, pca_low, pca_high the same for principal components; random, mean
    effect of random directions; p, p_corrected, verdict.

    "weight_edits" has a row for each weight matrix, mode and dose (share of the matrix's norm): its controls are
    random directions of the same matrix, random_functions the mean effect of random functions carried by J^T.
    """
    rows, modes = intervention_rows(case), kernels.groups[TOTAL]
    meter = Meter.of(case, rows.scoring)
    bench = Bench(case, modes, rows, meter, Readout(case, rows, meter.bases))
    blocks = mode_blocks(modes, case.features.features, case.halves)
    narrow, total = _narrow(bench, blocks), len(case.sites) + 2
    ablated: list[Trial] = []
    steered: list[Trial] = []
    progress("ablation and steering", 0, total)
    for done, place in enumerate(value_places(case, rows, modes.count), start=1):
        there = AtPlace(bench, place, max(len(block.modes) for block in blocks))
        ablated.extend(there.ablations(blocks))
        steered.extend(there.shifts(blocks))
        progress("ablation and steering", done, total)
    if narrow:
        most = max(len(block.modes) for block in narrow)
        there = AtPlace(bench, all_parameters(case, rows, most), most)
        ablated.extend(there.ablations(narrow))
        steered.extend(there.shifts(narrow))
    progress("ablation and steering", total - 1, total)
    edits = weight_edits(case, modes, rows, meter, bench.controls)
    progress("ablation and steering", total, total)
    return _findings(bench, (ablated, steered), edits, narrow=bool(narrow))


def _findings(bench: Bench, families: Sequence[list[Trial]], edits: list[Trial], *, narrow: bool) -> Findings:
    case = bench.case
    resamples, generator = case.options.resamples, case.generator("intervals of interventions")
    tested = [(family, evidence(family, resamples, generator)) for family in (*families, edits)]
    ablations, shifts, last = [list(zip(*pair, strict=True)) for pair in tested]
    arrays, words = table_parts("interventions", _columns([*ablations, *shifts], _LABELS, _NUMBERS))
    more, names = table_parts("weight_edits", _columns(last, _EDIT_LABELS, _EDIT_NUMBERS))
    words |= {"interventions.performance": (bench.meter.name,), "interventions.loss": (case.loss,)}
    return Findings(arrays=arrays | more, words=words | names, notes=_notes(bench, narrow=narrow))


def _columns(
    pairs: Sequence[tuple[Trial, Evidence]], labels: Sequence[str], numbers: Sequence[str]
) -> Mapping[str, list[str] | list[float]]:
    columns: dict[str, list[str] | list[float]] = {name: [trial.labels[name] for trial, _ in pairs] for name in labels}
    columns |= {name: [float(trial.numbers[name]) for trial, _ in pairs] for name in numbers}
    columns |= {name: [float(getattr(each, field)) for _, each in pairs] for name, field in _EVIDENCE.items()}
    columns["verdict"] = [each.sentence for _, each in pairs]
    return columns


def _narrow(bench: Bench, blocks: Sequence[ModeBlock]) -> tuple[ModeBlock, ...]:
    """What is intervened on in the weights: blocks cut to their leading modes, as many as memory holds."""
    case = bench.case
    parameters = sum(p.numel() for p in case.model.parameters() if p.requires_grad)
    memory = parse_budget(case.options.memory_budget, case.outputs.device)
    most = min(_IN_WEIGHTS, int(memory) // (8 * parameters * (_COPIES + bench.controls)))
    found: dict[tuple[int, ...], ModeBlock] = {}
    for block in blocks if most else ():
        cut = block.modes[:most]
        name = f"mode {cut[0]}" if len(cut) == 1 else f"modes {cut[0]} to {cut[-1]}"
        found.setdefault(cut, replace(block, name=name, modes=cut))
    return tuple(found.values())


def _notes(bench: Bench, *, narrow: bool) -> tuple[str, ...]:
    halves, rows = bench.case.halves, bench.rows
    notes = [
        f"interventions: directions from {len(rows.choosing)} inputs, effects on {len(rows.scoring)} others, "
        f"{bench.controls} random functions behind each"
    ]
    if len(rows.scoring) < len(halves.test):
        notes.append(f"interventions: {len(halves.test) - len(rows.scoring)} inputs of the scoring half are not used")
    if not narrow:
        notes.append("interventions: the weights are not edited, their directions need more memory than memory_budget")
    return tuple(notes)
