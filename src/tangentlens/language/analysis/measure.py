"""Measurement of one seed: modes of a language model's kernels against labels of the next word.

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

from tangentlens.analysis.findings import Findings, Intervals, measurement, merged
from tangentlens.language.analysis.alignment import layer_figures, method_figures, mode_table
from tangentlens.language.analysis.choice import choice_figures
from tangentlens.language.analysis.config import Config
from tangentlens.language.analysis.labels import label_notes, testable_labels
from tangentlens.language.analysis.method import Method, choice_arrays, scored
from tangentlens.language.analysis.modes import (
    largest_residual,
    mode_findings,
    residual_notes,
    scores,
    scores_by_class,
)
from tangentlens.language.analysis.recorder import recorder
from tangentlens.language.analysis.residual_stream import residual_stream_pca
from tangentlens.language.analysis.story_bootstrap import intervals
from tangentlens.language.analysis.subject import LanguageSubject, new_subject
from tangentlens.language.analysis.tokens import occurring_tokens, token_texts
from tangentlens.language.analysis.windows import Prepared, described, stored_windows
from tangentlens.language.model import LanguageModel
from tangentlens.language.sweep.options import SweepOptions
from tangentlens.language.sweep.result import Sweep
from tangentlens.language.sweep.sweep import run_sweep
from tangentlens.language.windows.windows import Windows
from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement
from tangentlens.store.figure_keys import (
    BASELINE,
    BASELINE_SECONDS,
    WORST_RESIDUAL,
    geometry_of,
    method_of,
    stored_family,
)


def measure(
    config: Config,
    seed: int,
    progress: Progress = silent,
    *,
    prepared: Prepared,
    blocks: Mapping[str, int] | None = None,
) -> Measurement:
    """Sweep the kernels in every geometry and compare their modes with labels of the next word.

    Args:
        config: of the run.
        seed: of windows, halves and pilot.
        progress: receives the stages.
        prepared: by `windows.prepare`.
        blocks: name -> index of a block whose macro figures are also given under that name.
    """
    windows = stored_windows(prepared, seed)
    task, refused = testable_labels(config, windows, seed)
    subject = new_subject(config, prepared.lm, windows, task, seed)
    swept = {geometry: _swept(subject, config, prepared, geometry, progress) for geometry in subject.geometries}
    classes = {geometry: scores_by_class(each) for geometry, each in swept.items()}
    found = merged(
        (
            _inputs(subject),
            _rankings(subject, config, swept, blocks or {}),
            *(mode_findings(geometry, each, subject, config.scoring) for geometry, each in swept.items()),
            Findings({WORST_RESIDUAL: (largest_residual(swept), "ratio")}),
            Findings(choice_figures(classes, task, seed)),
        )
    )
    arrays = {**found.arrays, "tokens.ids": occurring_tokens(found.arrays)}
    notes = (
        *_source_notes(subject.lm, windows),
        *label_notes(windows, refused),
        *residual_notes(swept),
        *_interval_notes(found.intervals),
    )
    words = _words(subject, windows, arrays["tokens.ids"])
    return measurement(seed, found.figures, arrays, notes, words, found.intervals)


def _swept(subject: LanguageSubject, config: Config, prepared: Prepared, geometry: str, progress: Progress) -> Sweep:
    """One sweep, kept in the run's folder until the run is complete."""
    record = recorder(subject.input_ids.shape[1], config.scoring.examples)
    options = SweepOptions(geometry=geometry, seed=subject.seed, record=record, **config.kernel.sweep_options)
    return run_sweep(
        subject.lm,
        subject.batch,
        options,
        work=prepared.of_seed(subject.seed) / f"sweep-{geometry}",
        progress=lambda stage, done, total: progress(f"{geometry}: {stage}", done, total),
    )


def _inputs(subject: LanguageSubject) -> Findings:
    task = subject.task
    arrays = {
        "windows.input_ids": subject.input_ids,
        "windows.story": task.story,
        "labels.matrix": task.labels.to(torch.uint8),
        "labels.train": task.train.to(torch.uint8)[:, None].expand(task.labels.shape),
    }
    return Findings({}, arrays)


def _words(subject: LanguageSubject, windows: Windows, ids: Tensor) -> dict[str, tuple[str, ...]]:
    return {
        "groups": subject.groups,
        "blocks": subject.blocks,
        "geometries": subject.geometries,
        "tokens.text": token_texts(subject.lm.tokenizer, ids),
        "windows.word": windows.word,
        "windows.pos": windows.pos,
        "labels.names": subject.task.names,
        "labels.family": tuple(map(stored_family, subject.task.families)),
    }


def _rankings(
    subject: LanguageSubject, config: Config, swept: Mapping[str, Sweep], blocks: Mapping[str, int]
) -> Findings:
    """How well the modes of every geometry, and principal components, rank the labels."""
    began, task = time.perf_counter(), subject.task
    k = min(config.kernel.modes, len(task.labels) - 1, subject.lm.d_model)
    ranked = {method_of(geometry): scores(found) for geometry, found in swept.items()}
    ranked[BASELINE] = residual_stream_pca(subject.lm, subject.batch, k).permute(1, 0, 2)
    methods = {name: scored(name, values, task) for name, values in ranked.items()}
    seconds = {BASELINE_SECONDS: (time.perf_counter() - began, "seconds")}
    resamples = config.scoring.resamples
    leads, spreads = intervals(list(methods.values()), BASELINE, task, resamples=resamples, seed=subject.seed)
    arrays = {f"{BASELINE}.scores": ranked[BASELINE].permute(1, 0, 2).float()}
    each = [_ranking(subject, method, ranked[name], blocks) for name, method in methods.items()]
    return merged((Findings({**seconds, **leads}, arrays, spreads), *each))


def _ranking(
    subject: LanguageSubject, method: Method, ranked: Float[Tensor, "N layers k"], blocks: Mapping[str, int]
) -> Findings:
    figures = method_figures(method, subject.task)
    for name, block in blocks.items():
        layer = subject.layer_of(method.name, block)
        figures |= {} if layer is None else layer_figures(method, subject.task, layer, name)
    tables = {**mode_table(ranked, subject.task), **choice_arrays(method)}
    arrays = {f"{geometry_of(method.name)}.{name}": table for name, table in tables.items()}
    return Findings(figures, arrays)


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
