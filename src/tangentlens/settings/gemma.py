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
    g.layer, g.mode (Lb,) int64                      chosen on the train half for each label
    pca.scores (B, N, k) float32 over the B blocks, and pca.auroc ... pca.mode as for a geometry
"""

import time
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.baselines.residual_stream import residual_stream_pca
from tangentlens.data.splits import balanced_half
from tangentlens.data.windows import Windows
from tangentlens.features.grammar import Labels, morphology_labels, pos_labels, pos_twins, repetitions, select_labels
from tangentlens.kernels.sweep import Sweep, sweep
from tangentlens.models.batches import Batch
from tangentlens.models.language_model import LanguageModel
from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement
from tangentlens.settings.figures import Arrays, Figures, Intervals, measurement
from tangentlens.settings.gemma_alignment import (
    Method,
    Task,
    intervals,
    judged,
    layer_figures,
    method_figures,
    method_of,
    mode_table,
)
from tangentlens.settings.gemma_choice import choice_figures
from tangentlens.settings.gemma_config import Config
from tangentlens.settings.gemma_reading import reading
from tangentlens.settings.gemma_tokens import moved_tokens, token_texts
from tangentlens.settings.gemma_windows import Prepared, described, stored_windows

_PAPER_LAYER = 16  # of its table


def measure(config: Config, seed: int, progress: Progress = silent, *, prepared: Prepared) -> Measurement:
    """Sweep the kernels in every geometry and hold their modes against grammar; experiments/gemma/README.md.

    Args:
        config: the setting.
        seed: of windows, halves and pilot.
        progress: told the stages.
        prepared: by `gemma_windows.prepare`.
    """
    lm, windows = prepared.lm, stored_windows(prepared, seed)
    batch: Batch = {"input_ids": windows.input_ids}
    task, refused = _task(config, windows, seed)
    swept: dict[str, Sweep] = {
        geometry: _sweep(config, prepared, batch, geometry, seed, progress) for geometry in config.kernel.geometries
    }
    began = time.perf_counter()
    k = min(config.kernel.modes, len(windows) - 1, lm.d_model)
    scores = {method_of(geometry): _readings(found, "scores").permute(1, 0, 2) for geometry, found in swept.items()}
    scores["pca"] = residual_stream_pca(lm, batch, k).permute(1, 0, 2)
    methods = {name: judged(name, values, task) for name, values in scores.items()}
    pca_seconds = time.perf_counter() - began
    resamples = config.scoring.resamples
    leads, spreads = intervals(list(methods.values()), "pca", task, resamples=resamples, seed=seed)
    figures: Figures = {"pca.seconds": (pca_seconds, "seconds"), **leads}
    arrays: Arrays = _window_arrays(windows, task)
    for name, method in methods.items():
        figures |= method_figures(method, task)
        arrays |= {f"{_prefix(name)}.{key}": table for key, table in mode_table(scores[name], task).items()}
        arrays |= {f"{_prefix(name)}.layer": method.chosen.layer, f"{_prefix(name)}.mode": method.chosen.mode}
        figures |= _paper_layer_figures(method, task, lm, [] if name == "pca" else list(_first(swept).groups))
    arrays["pca.scores"] = scores["pca"].permute(1, 0, 2).float()
    worst = max(float(_residuals(found).max()) for found in swept.values())
    figures["eigenpairs.worst_residual"] = (worst, "ratio")  # estimated, of the full kernels
    for geometry, found in swept.items():
        figures |= _sweep_figures(method_of(geometry), found, len(windows))
        arrays |= _sweep_arrays(geometry, found, lm, config, batch)
    figures |= choice_figures({geometry: _kinds(found) for geometry, found in swept.items()}, task, seed)
    ids = _occurring(arrays)
    arrays["tokens.ids"] = ids
    words = {
        "groups": _first(swept).groups,
        "blocks": tuple(name for name, _ in lm.blocks),
        "geometries": tuple(config.kernel.geometries),
        "tokens.text": token_texts(lm.tokenizer, ids),
        "windows.word": windows.word,
        "windows.pos": windows.pos,
        "labels.names": task.names,
        "labels.family": tuple({"pos": "pos", "morph": "morphology"}[family] for family in task.families),
    }
    notes = (
        *_source_notes(lm, windows),
        *_label_notes(windows, refused),
        *_residual_notes(swept),
        *_interval_notes(spreads),
    )
    return measurement(seed, figures, arrays, notes, words, spreads)


def _task(config: Config, windows: Windows, seed: int) -> tuple[Task, Mapping[str, str]]:
    """The labels that can be tested, and the halves."""
    rules = config.labels
    pos = pos_labels(windows.pos, [name for name in config.windows.pos if name in windows.pos])
    selected = select_labels(
        morphology_labels(windows.morphology),
        windows.word,
        support=rules.support,
        distinct=rules.distinct,
        largest_share=rules.largest_share,
    )
    labels = torch.cat([pos.matrix, selected.labels.matrix], dim=1)
    names = (*pos.names, *selected.labels.names)
    families = ("pos",) * len(pos.names) + ("morph",) * len(selected.labels.names)
    train = balanced_half(labels, seed=seed, groups=windows.story)
    return Task(names, families, labels, train, windows.story), selected.refused


def _sweep(config: Config, prepared: Prepared, batch: Batch, geometry: str, seed: int, progress: Progress) -> Sweep:
    """One sweep, kept in the run's folder until the run is complete."""
    length = batch["input_ids"].shape[1]
    return sweep(
        prepared.lm,
        batch,
        geometry=geometry,
        seed=seed,
        read=reading(length, config.scoring.examples),
        work=prepared.of_seed(seed) / f"sweep-{geometry}",
        progress=lambda stage, done, total: progress(f"{geometry}: {stage}", done, total),
        **config.kernel.sweep_options,
    )


def _prefix(method: str) -> str:
    """How arrays call a method."""
    return {"entk": "raw"}.get(method, method.removeprefix("entk_"))


def _first(swept: Mapping[str, Sweep]) -> Sweep:
    return next(iter(swept.values()))


def _readings(found: Sweep, name: str) -> Tensor:
    """A reading of every group: (L, ...)."""
    return torch.stack([modes.readings[name] for modes in found.modes.values()])


def _residuals(found: Sweep) -> Float[Tensor, "layers k"]:
    """Of every mode in the full kernel, estimated."""
    return torch.stack([modes.residuals for modes in found.modes.values()])


def _kinds(found: Sweep) -> dict[str, dict[str, Float[Tensor, "N layers k"]]]:
    """Classes of weights, each with other groups than those before it -> their scores, by the way to score a mode."""
    classes = {"down_proj": "mlp.down_proj", "attention": "attn", "all": ""}
    first, second = _readings(found, "scores"), _readings(found, "second")
    kinds = {"first": first, "norm": _readings(found, "norm"), "first_two": torch.cat([first, second], dim=2)}
    rows = {name: [i for i, group in enumerate(found.groups) if part in group] for name, part in classes.items()}
    distinct = {tuple(places): name for name, places in reversed(rows.items()) if places}
    return {
        name: {kind: values[rows[name]].permute(1, 0, 2) for kind, values in kinds.items()}
        for name in classes
        if name in distinct.values()
    }


def _paper_layer_figures(method: Method, task: Task, lm: LanguageModel, groups: Sequence[str]) -> Figures:
    """The layer of the paper's table, where the model and the groups have it."""
    blocks = [name for name, _ in lm.blocks]
    if len(blocks) <= _PAPER_LAYER:
        return {}
    places = (
        [i for i, group in enumerate(groups) if group.startswith(f"{blocks[_PAPER_LAYER]}.")]
        if groups
        else [_PAPER_LAYER]
    )
    return layer_figures(method, task, places[0], "paper_layer") if len(places) == 1 else {}


def _sweep_figures(method: str, found: Sweep, windows: int) -> Figures:
    residuals = _residuals(found)
    compressed = torch.stack([modes.pairs.residuals for modes in found.modes.values()])
    products = float(sum(modes.pairs.products for modes in found.modes.values()))
    return {
        f"sweep.{method}.seconds": (found.seconds, "seconds"),
        f"sweep.{method}.products": (products, "count"),
        f"residual.{method}.median": (float(residuals.median()), "ratio"),
        f"residual.{method}.largest": (float(residuals.max()), "ratio"),
        f"residual.{method}.compressed.largest": (float(compressed.max()), "ratio"),
        f"rank_one_share.{method}.median": (float(_readings(found, "share").median()), "ratio"),
        f"windows.{method}.count": (float(windows), "count"),
    }


def _sweep_arrays(geometry: str, found: Sweep, lm: LanguageModel, config: Config, batch: Batch) -> Arrays:
    modes = tuple(found.modes.values())
    directions = _readings(found, "direction").mT  # (L, k, d)
    scores = _readings(found, "scores")
    arrays: Arrays = {
        "values": torch.stack([m.pairs.values for m in modes]),
        "residuals": _residuals(found),
        "residuals.error": torch.stack([m.outside_error for m in modes]),
        "converged": torch.stack([m.pairs.converged for m in modes]).to(torch.uint8),
        "scores": scores,
        "scores.second": _readings(found, "second"),
        "scores.norm": _readings(found, "norm"),
        "share": _readings(found, "share"),
        "directions": directions.float(),
        "examples": _readings(found, "examples"),
        "examples.shares": _readings(found, "token_shares"),
        **moved_tokens(lm, found.geometry, directions, scores.argmax(dim=1), batch, config.scoring.tokens),
    }
    return {f"{geometry}.{name}": array for name, array in arrays.items()}


def _window_arrays(windows: Windows, task: Task) -> Arrays:
    return {
        "windows.input_ids": windows.input_ids,
        "windows.story": windows.story,
        "labels.matrix": task.labels.to(torch.uint8),
        "labels.train": task.train.to(torch.uint8)[:, None].expand(task.labels.shape),
    }


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


def _label_notes(windows: Windows, refused: Mapping[str, str]) -> tuple[str, ...]:
    pos = pos_labels(windows.pos)
    morphology = morphology_labels(windows.morphology)
    kept = Labels(morphology.names, morphology.matrix).restrict([n for n in morphology.names if n not in refused])
    notes = [
        f"{r.first} and {r.second} are on almost the same windows (Jaccard {r.jaccard:.2f})" for r in repetitions(kept)
    ]
    notes += [
        f"{t.label} is almost {t.pos} (purity {t.purity:.2f}, coverage {t.coverage:.2f})" for t in pos_twins(kept, pos)
    ]
    if refused:
        notes.append("labels left out: " + "; ".join(f"{name} ({reason})" for name, reason in refused.items()))
    return tuple(notes)


def _interval_notes(spreads: Intervals) -> tuple[str, ...]:
    if spreads:
        return ()
    return ("no intervals: some resample of the stories leaves a label without a window; take more windows",)


def _residual_notes(swept: Mapping[str, Sweep]) -> tuple[str, ...]:
    notes = []
    for geometry, found in swept.items():
        residuals = _residuals(found)
        rough = int((residuals > 0.5).sum())
        if rough:
            notes.append(
                f"{geometry}: {rough} of {residuals.numel()} modes have an estimated residual above 0.5 in the full "
                "kernel: read them as directions of a space, not one by one"
            )
        if found.check is not None:
            notes.append(f"{geometry}: sampled entries of the kernels are plain autograd's to {found.check:.0e}")
        if float(found.left_out.max()) > 0:
            notes.append(
                f"{geometry}: improbable tokens are sketched; along its directions a window's softmax covariance errs "
                f"by up to {float(found.left_out.max()):.1e} (measured, part of every residual)"
            )
    return tuple(notes)
