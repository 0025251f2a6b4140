"""Kernels, alignments and performance along training, and the transition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tangentlens.alignment.overlap import centred_basis
from tangentlens.analysis.arguments.checkpoint_states import Checkpoint, read_checkpoints
from tangentlens.analysis.arguments.features import Feature
from tangentlens.analysis.arguments.performance import fits, performance, performance_name
from tangentlens.analysis.case import Case
from tangentlens.analysis.checkpoints.transitions import FeatureTransition, feature_transition
from tangentlens.analysis.findings import Arrays, Findings
from tangentlens.analysis.modes.kernel_modes import TOTAL, GroupModes, KernelModes, kernel_modes
from tangentlens.analysis.questions.learned import share
from tangentlens.analysis.questions.resampling import bootstrap_weights
from tangentlens.analysis.questions.scoring import choose, held_out, space_overlap
from tangentlens.eigen.tracking import ModeTracks, track_modes
from tangentlens.models.functional import functional_model
from tangentlens.progress import Progress
from tangentlens.records import Eigenpairs
from tangentlens.store.tables import table_parts

_RESAMPLES = 200


@dataclass(frozen=True)
class Snapshot:
    """What is kept of one checkpoint.

    Attributes:
        groups: modes.
        fits: (n, 2) of the scoring half (`performance.fits`); None without a performance.
        loss: on the scoring half.
        performance: there; NaN without targets.
        scores: (feature, group) -> held-out score of its own best mode, and share of the kernel, percent.
    """

    groups: Mapping[str, GroupModes]
    fits: Float[Tensor, "n 2"] | None
    loss: float
    performance: float
    scores: Mapping[tuple[str, str], tuple[float, float]]


def checkpoint_table(case: Case, _kernels: KernelModes, progress: Progress) -> Findings:
    """Tables "checkpoints", "training" and "transitions", and the film of training.

    "checkpoints": step, loss and accuracy (R^2 for numbers) on the scoring half, top eigenvalue, trace, and what the
    user measured (test_accuracy, train_accuracy, test_loss, train_loss; NaN where not given). "training": step,
    feature, group, score (its own best mode chosen on the choosing half) and share of the kernel. "transitions":
    feature, onset of the performance, peak of the share's growth, their difference lag with its interval over inputs,
    found (percent of resamples with both times), reason where a time is missing.

    Arrays: checkpoint.step (E,); for each group G checkpoint.values.G (E, k), NaN beyond the rank; checkpoint.tracks
    .values, .positions (E, k) and .overlaps (E - 1, k) of the total; checkpoint.film (E, k, F) percent of each feature
    in each mode of the total, features in words checkpoint.film.
    """
    checkpoints = read_checkpoints(case.subject.checkpoints)
    found: list[Snapshot] = []
    progress("checkpoints", 0, len(checkpoints))
    for checkpoint in checkpoints:
        found.append(snapshot(case, checkpoint))
        progress("checkpoints", len(found), len(checkpoints))
    steps = torch.tensor([each.step for each in checkpoints], dtype=torch.float64)
    times = _transitions(case, checkpoints, found)
    arrays: Arrays = {"checkpoint.step": steps, **_spectra(found), **_film(case, found)}
    words = {
        "checkpoint.film": tuple(feature.name for feature in case.features.features),
        "checkpoint.performance": (performance_name(case.outputs, case.targets, case.loss),),
    }
    tables = {
        "checkpoints": _checkpoint_columns(checkpoints, found),
        "training": _training_columns(steps, found),
        "transitions": _transition_columns(times),
    }
    for name, columns in tables.items():
        if len(next(iter(columns.values()))):
            more, names = table_parts(name, columns)
            arrays |= more
            words |= names
    return Findings(arrays=arrays, words=words, notes=_notes(times))


def snapshot(case: Case, checkpoint: Checkpoint) -> Snapshot:
    """The kernels of one checkpoint, its outputs' performance and every feature's alignment."""
    model = checkpoint.load(case.model)
    groups = kernel_modes(model, case.inputs, case.kernel, check=False).groups
    with torch.no_grad():
        outputs = functional_model(model, case.subject.output)({}, case.inputs)[case.halves.test]
    name, loss, fitted = performance_name(case.outputs, case.targets, case.loss), float("nan"), None
    targets = None if case.targets is None else case.targets[case.halves.test]
    if targets is not None and case.example_loss is not None:
        loss = float(case.example_loss(outputs, targets.to(outputs.device)).mean())
        fitted = fits(outputs, targets, name).cpu() if name else None
    scores = {
        (feature.name, group): (_score(case, modes, feature), _share(modes, feature))
        for feature in case.features.features
        for group, modes in groups.items()
    }
    return Snapshot(groups, fitted, loss, performance(outputs, targets, name), scores)


def _score(case: Case, modes: GroupModes, feature: Feature) -> float:
    if feature.kind == "space":
        return space_overlap(modes.vectors, feature)
    return held_out(modes.vectors, feature, choose(modes.vectors, feature, case.halves), case.halves)


def _share(modes: GroupModes, feature: Feature) -> float:
    return share(modes, feature.values, feature.present.nonzero().flatten())


def _spectra(found: Sequence[Snapshot]) -> Arrays:
    arrays: Arrays = {}
    for group in dict.fromkeys(name for each in found for name in each.groups):
        spectra = [each.groups[group].values if group in each.groups else torch.zeros(0) for each in found]
        k = max(len(values) for values in spectra)
        arrays[f"checkpoint.values.{group}"] = torch.stack(
            [torch.cat([values.double(), torch.full((k - len(values),), torch.nan).double()]) for values in spectra]
        )
    tracks = tracked([each.groups[TOTAL] for each in found])
    parts = {"values": tracks.values, "positions": tracks.positions, "overlaps": tracks.overlaps}
    return arrays | {f"checkpoint.tracks.{name}": value for name, value in parts.items()}


def tracked(modes: Sequence[GroupModes]) -> ModeTracks:
    """The modes of the first checkpoint followed to the last, as many as every checkpoint has."""
    k = min(each.count for each in modes)
    return track_modes(
        [
            Eigenpairs(each.values[:k].double(), each.vectors[:, :k].double(), each.residuals[:k].double(),
                       torch.ones(k, dtype=torch.bool), 0)
            for each in modes
        ]
    )  # fmt: skip


def _film(case: Case, found: Sequence[Snapshot]) -> Arrays:
    """Percent of each feature's centred space that each mode of the total holds."""
    if not case.features.features:
        return {}
    k = max(each.groups[TOTAL].count for each in found)
    return {"checkpoint.film": torch.stack([_frame(each.groups[TOTAL], case.features.features, k) for each in found])}


def _frame(modes: GroupModes, features: Sequence[Feature], k: int) -> UInt8[Tensor, "k F"]:
    frame = torch.zeros(k, len(features), dtype=torch.uint8)
    for place, feature in enumerate(features):
        F = centred_basis(feature.values[feature.present])
        V = modes.vectors[feature.present].double()
        V = V - V.mean(dim=0)
        V = V / torch.linalg.vector_norm(V, dim=0).clamp_min(1e-12)
        held = (F.T @ V).square().sum(dim=0)
        frame[: modes.count, place] = (100 * held).round().clamp(0, 100).to(torch.uint8)
    return frame


def _transitions(
    case: Case, checkpoints: Sequence[Checkpoint], found: Sequence[Snapshot]
) -> dict[str, FeatureTransition]:
    steps = torch.tensor([each.step for each in checkpoints], dtype=torch.float64)
    own = known_curve(checkpoints, "test_accuracy")
    fitted = [each.fits for each in found if each.fits is not None]
    curve = own
    if own is None and len(fitted) == len(found):
        curve = torch.tensor([each.performance for each in found], dtype=torch.float64)
    generator = case.generator("transition")
    draws = min(_RESAMPLES, case.options.resamples)
    times: dict[str, FeatureTransition] = {}
    for feature in case.features.features:
        shares = torch.tensor([each.scores[feature.name, TOTAL][1] for each in found], dtype=torch.float64)
        weights = bootstrap_weights(case.N, draws, generator) if len(found) > 2 else torch.zeros(0, case.N).double()
        moved = torch.stack([resampled_shares(each.groups[TOTAL], feature, weights) for each in found], dim=1)
        again = [curve] * len(weights)
        if own is None and curve is not None:
            again = list(_resampled_fits(fitted, weights[:, case.halves.test]))
        pairs = list(zip(again, moved, strict=True))
        times[feature.name] = feature_transition(steps, curve, shares, pairs)
    return times


def known_curve(checkpoints: Sequence[Checkpoint], name: str) -> Float[Tensor, " E"] | None:
    """What the user measured at every checkpoint; None where one lacks it."""
    values = [each.known.get(name) for each in checkpoints]
    known = [value for value in values if value is not None]
    return torch.tensor(known, dtype=torch.float64) if len(known) == len(values) else None


def _resampled_fits(fitted: Sequence[Tensor], weights: Float[Tensor, "B n"]) -> Float[Tensor, "B E"]:
    sums = torch.stack([weights @ each for each in fitted], dim=1)  # (B, E, 2)
    return 1 - sums[..., 0] / sums[..., 1]


def resampled_shares(modes: GroupModes, feature: Feature, weights: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
    """The share of the kernel along a feature where input i counts weights[b, i] times.

    With weighted covariances A of the feature's columns, C of columns and modes and c_k of mode k,
    100 tr(A^+ C Lambda C^T) / sum_k lambda_k c_k.
    """
    there = feature.present
    W = weights[:, there]
    F, V = centred_basis(feature.values[there]), modes.vectors[there].double()
    total = W.sum(dim=1).clamp_min(1e-300)
    means_F, means_V = W @ F / total[:, None], W @ V / total[:, None]
    r, k = F.shape[1], V.shape[1]
    A = (W @ (F[:, :, None] * F[:, None, :]).flatten(1)).unflatten(1, (r, r)) / total[:, None, None]
    C = (W @ (F[:, :, None] * V[:, None, :]).flatten(1)).unflatten(1, (r, k)) / total[:, None, None]
    A = A - means_F[:, :, None] * means_F[:, None, :]
    C = C - means_F[:, :, None] * means_V[:, None, :]
    spread = W @ V.square() / total[:, None] - means_V.square()
    values = modes.values.double()
    along = torch.einsum("bij,bjk,bik,k->b", torch.linalg.pinv(A, hermitian=True, rtol=1e-9), C, C, values)
    return 100 * along / (spread @ values).clamp_min(1e-300)


def _checkpoint_columns(
    checkpoints: Sequence[Checkpoint], found: Sequence[Snapshot]
) -> dict[str, list[str] | list[float]]:
    columns: dict[str, list[str] | list[float]] = {
        "step": [each.step for each in checkpoints],
        "loss": [each.loss for each in found],
        "accuracy": [each.performance for each in found],
        "top_eigenvalue": [float(each.groups[TOTAL].values[0]) for each in found],
        "trace": [each.groups[TOTAL].trace for each in found],
    }
    nan = float("nan")
    for name in ("test_accuracy", "train_accuracy", "test_loss", "train_loss"):
        columns[name] = [each.known.get(name, nan) for each in checkpoints]
    return columns


def _training_columns(steps: Tensor, found: Sequence[Snapshot]) -> dict[str, list[str] | list[float]]:
    rows = [
        (step, feature, group, *values)
        for step, each in zip(steps.tolist(), found, strict=True)
        for (feature, group), values in each.scores.items()
    ]
    return {
        "step": [row[0] for row in rows],
        "feature": [row[1] for row in rows],
        "group": [row[2] for row in rows],
        "score": [row[3] for row in rows],
        "share": [row[4] for row in rows],
    }


def _transition_columns(times: Mapping[str, FeatureTransition]) -> dict[str, list[str] | list[float]]:
    numbers = ("onset", "peak", "lag", "low", "high", "found")
    return {
        "feature": list(times),
        **{name: [float(getattr(each, name)) for each in times.values()] for name in numbers},
        "reason": [each.reason for each in times.values()],
    }


def _notes(times: Mapping[str, FeatureTransition]) -> tuple[str, ...]:
    reasons: dict[str, list[str]] = {}
    for name, each in times.items():
        if each.reason:
            reasons.setdefault(each.reason, []).append(name)
    return tuple(f"no transition of {', '.join(names)}: {reason}" for reason, names in reasons.items())
