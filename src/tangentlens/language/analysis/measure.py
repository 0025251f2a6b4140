"""The paper's third setting: the grammar of the next word in the kernels of a language model.

Arrays of one seed, for L groups of parameters (in the order of the sweep's blocks, the lowest first), k modes, N
windows of T tokens, d coordinates, Lb labels, e windows shown of each mode; g is a geometry:
    windows.input_ids (N, T), windows.story (N,), labels.matrix, labels.train (N, Lb) uint8
    tokens.ids (M,)                                  every token that occurs, whose text is words["tokens.text"]
    g.values, g.residuals, g.residuals.error, g.converged, g.share (L, k)      residuals: estimated, of the full kernel
    g.scores, g.scores.second, g.scores.norm (L, N, k) float32; g.directions (L, k, d) float32
    g.raised.tokens, g.lowered.tokens (L, k, t) int64; g.raised.logits, g.lowered.logits (L, k, t) float32
    g.examples (L, k, e) int64, g.examples.shares (L, k, e, T) float32
    g.auroc, g.average_precision (L, k, Lb) float32, g.sign (L, k, Lb) int8    test half, sign from the train half
    g.auroc.low, g.auroc.high, g.p (L, k, Lb) float32    95 % interval over stories; p by Holm over all of a geometry
    g.chosen.mode (L, Lb) int64, g.chosen.sign (L, Lb) int8    chosen on the train half in every group for each label
    g.layer, g.mode (Lb,) int64                      the group chosen there too, and its mode
    pca.scores (B, N, k) float32 over the B blocks, and pca.auroc ... pca.mode as for a geometry
"""

import time
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.analysis.findings import Arrays, Figures, Findings, Intervals, measurement, merged
from tangentlens.language.analysis.alignment import (
    Method,
    Task,
    choice_arrays,
    intervals,
    layer_figures,
    method_figures,
    mode_table,
    scored,
)
from tangentlens.language.analysis.choice import choice_figures
from tangentlens.language.analysis.config import Config
from tangentlens.language.analysis.labels import label_notes, testable_labels
from tangentlens.language.analysis.modes import kinds, largest_residual, mode_findings, residual_notes, scores
from tangentlens.language.analysis.recorder import recorder
from tangentlens.language.analysis.residual_stream import residual_stream_pca
from tangentlens.language.analysis.tokens import token_texts
from tangentlens.language.analysis.windows import Prepared, described, stored_windows
from tangentlens.language.batches import Batch
from tangentlens.language.model import LanguageModel
from tangentlens.language.sweep.sweep import Sweep, sweep
from tangentlens.language.windows.windows import Windows
from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement
from tangentlens.store.figure_keys import BASELINE, WORST_RESIDUAL, geometry_of, method_of

_PAPER_LAYER = 16  # of its table


def measure(config: Config, seed: int, progress: Progress = silent, *, prepared: Prepared) -> Measurement:
    """Sweep the kernels in every geometry and compare their modes with grammar; experiments/gemma/README.md.

    Args:
        config: the setting.
        seed: of windows, halves and pilot.
        progress: receives the stages.
        prepared: by `gemma_windows.prepare`.
    """
    lm, windows = prepared.lm, stored_windows(prepared, seed)
    batch: Batch = {"input_ids": windows.input_ids}
    task, refused = testable_labels(config, windows, seed)
    swept: dict[str, Sweep] = {
        geometry: _sweep(config, prepared, batch, geometry, seed, progress) for geometry in config.kernel.geometries
    }
    found = merged(
        (
            _windows(windows, task),
            _rankings(config, lm, batch, swept, task, seed),
            *(mode_findings(geometry, each, lm, config, batch) for geometry, each in swept.items()),
            Findings({WORST_RESIDUAL: (largest_residual(swept), "ratio")}),
            Findings(choice_figures({geometry: kinds(each) for geometry, each in swept.items()}, task, seed)),
        )
    )
    ids = _occurring(found.arrays)
    words = {
        "groups": _groups(swept),
        "blocks": tuple(name for name, _ in lm.blocks),
        "geometries": tuple(config.kernel.geometries),
        "tokens.text": token_texts(lm.tokenizer, ids),
        "windows.word": windows.word,
        "windows.pos": windows.pos,
        "labels.names": task.names,
        "labels.family": tuple({"morph": "morphology"}.get(family, family) for family in task.families),
    }
    notes = (
        *_source_notes(lm, windows),
        *label_notes(windows, refused),
        *residual_notes(swept),
        *_interval_notes(found.intervals),
    )
    return measurement(seed, found.figures, {**found.arrays, "tokens.ids": ids}, notes, words, found.intervals)


def _sweep(config: Config, prepared: Prepared, batch: Batch, geometry: str, seed: int, progress: Progress) -> Sweep:
    """One sweep, kept in the run's folder until the run is complete."""
    length = batch["input_ids"].shape[1]
    return sweep(
        prepared.lm,
        batch,
        geometry=geometry,
        seed=seed,
        record=recorder(length, config.scoring.examples),
        work=prepared.of_seed(seed) / f"sweep-{geometry}",
        progress=lambda stage, done, total: progress(f"{geometry}: {stage}", done, total),
        **config.kernel.sweep_options,
    )


def _paper_layer(method: str, lm: LanguageModel, swept: Mapping[str, Sweep]) -> int | None:
    """Where a method has the layer of the paper's table; None where the model or the groups have none such."""
    blocks = [name for name, _ in lm.blocks]
    if len(blocks) <= _PAPER_LAYER:
        return None
    if method == BASELINE:
        return _PAPER_LAYER
    places = [i for i, group in enumerate(_groups(swept)) if group.startswith(f"{blocks[_PAPER_LAYER]}.")]
    return places[0] if len(places) == 1 else None


def _groups(swept: Mapping[str, Sweep]) -> tuple[str, ...]:
    return tuple(next(iter(swept.values())).groups)


def _windows(windows: Windows, task: Task) -> Findings:
    arrays = {
        "windows.input_ids": windows.input_ids,
        "windows.story": windows.story,
        "labels.matrix": task.labels.to(torch.uint8),
        "labels.train": task.train.to(torch.uint8)[:, None].expand(task.labels.shape),
    }
    return Findings({}, arrays)


def _rankings(
    config: Config, lm: LanguageModel, batch: Batch, swept: Mapping[str, Sweep], task: Task, seed: int
) -> Findings:
    """How well the modes of every geometry, and principal components, rank the labels."""
    began = time.perf_counter()
    k = min(config.kernel.modes, len(task.labels) - 1, lm.d_model)
    ranked = {method_of(geometry): scores(found) for geometry, found in swept.items()}
    ranked[BASELINE] = residual_stream_pca(lm, batch, k).permute(1, 0, 2)
    methods = {name: scored(name, values, task) for name, values in ranked.items()}
    seconds: Figures = {"pca.seconds": (time.perf_counter() - began, "seconds")}
    resamples = config.scoring.resamples
    leads, spreads = intervals(list(methods.values()), BASELINE, task, resamples=resamples, seed=seed)
    arrays = {f"{BASELINE}.scores": ranked[BASELINE].permute(1, 0, 2).float()}
    each = [_ranking(method, ranked[name], task, _paper_layer(name, lm, swept)) for name, method in methods.items()]
    return merged((Findings({**seconds, **leads}, arrays, spreads), *each))


def _ranking(method: Method, ranked: Float[Tensor, "N layers k"], task: Task, paper_layer: int | None) -> Findings:
    at_layer = {} if paper_layer is None else layer_figures(method, task, paper_layer, "paper_layer")
    tables = {**mode_table(ranked, task), **choice_arrays(method)}
    arrays = {f"{geometry_of(method.name)}.{name}": table for name, table in tables.items()}
    return Findings({**method_figures(method, task), **at_layer}, arrays)


def _occurring(arrays: Arrays) -> Tensor:
    """Every token of the windows and of the lists of tokens, ascending."""
    named = [array for name, array in arrays.items() if name.endswith((".tokens", ".input_ids"))]
    ids: Tensor = torch.cat([array.flatten() for array in named]).unique()
    return ids


def _source_notes(lm: LanguageModel, windows: Windows) -> tuple[str, ...]:
    text = ", ".join(f"{key} {value}" for key, value in windows.source["text"].items())
    notes = [f"model {described(lm)}", f"text: {text}; labels: {windows.source['labels']}"]
    if lm.source is not None and lm.source.note:
        notes.append(lm.source.note)
    return tuple(notes)


def _interval_notes(spreads: Intervals) -> tuple[str, ...]:
    if spreads:
        return ()
    return ("no intervals: some resample of the stories leaves a label without a window; take more windows",)
