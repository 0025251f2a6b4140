"""Which layer finds which label, against principal components, and the paper's table again."""

import numpy as np

from tangentlens.report.blocks import Block, Lead, Note, Section
from tangentlens.report.held_out import Choice, choose
from tangentlens.report.language_run import LanguageRun, geometry_name, holds_language_model, language_run
from tangentlens.report.numbers import listing, several
from tangentlens.report.sections.label_table import label_tables
from tangentlens.report.sections.layer_map import layer_maps
from tangentlens.store import StoredRun
from tangentlens.store.figure_keys import BASELINE


def _build(run: StoredRun) -> tuple[Block, ...]:
    modes = language_run(run)
    if modes is None:
        return (Note("Not shown: the run holds no eigenvalues of any layer."),)
    if not modes.labels:
        return (Note("Not shown: the run has no labels, so nothing says what a mode's scores go with."),)
    choices = {name: choice for name in _sources(modes) if (choice := choose(modes, name)) is not None}
    absent = [_name(name) for name in _sources(modes) if name not in choices or modes.of(name, "auroc") is None]
    missing = (Note(f"Not shown: {listing(absent)}, whose scores or AUROC the run does not hold."),) if absent else ()
    return (*_lead(modes, choices), *missing, *layer_maps(modes, choices), *label_tables(run, modes, choices))


def _sources(modes: LanguageRun) -> tuple[str, ...]:
    return (*modes.geometries, BASELINE)


def _name(source: str) -> str:
    return "PCA" if source == BASELINE else f"the eNTK ({geometry_name(source)})"


def _lead(modes: LanguageRun, choices: dict[str, Choice]) -> tuple[Block, ...]:
    """How often the kernel beats the baseline, each at the layer that its own train half picks."""
    found = {name: modes.of(name, "auroc") for name in (modes.main, BASELINE) if name in choices}
    best = {name: choices[name].best(auroc) for name, auroc in found.items() if auroc is not None}
    if modes.main not in best or not np.isfinite(best[modes.main]).any():
        return ()
    own, other = best[modes.main], best.get(BASELINE)
    top = int(np.nanargmax(own))
    layer = modes.layers[choices[modes.main].layer[top]]
    most = f"{modes.labels[top]} is found best: AUROC {own[top]:.3f} by layer {layer}."
    if other is None:
        return (Lead(most),)
    better, worse = int((own > other).sum()), int((own < other).sum())
    return (
        Lead(
            f"Of {several(len(own), 'label')} the eNTK's modes find {better} better and {worse} worse than principal "
            f"components do, each at the layer its own train half picks. {most}"
        ),
    )


SECTION = Section("labels", "Which layer finds which label", _build, when=holds_language_model)
