"""Scores, figures and arrays of a sweep's modes in one geometry."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.analysis.findings import Arrays, Figures, Findings, keyed
from tangentlens.language.analysis.config import ScoringConfig
from tangentlens.language.analysis.subject import LanguageSubject
from tangentlens.language.analysis.tokens import moved_tokens
from tangentlens.language.sweep.groups import MLP_OUTPUT
from tangentlens.language.sweep.result import Sweep
from tangentlens.store.figure_keys import RankOneShare, SweepCost, SweepResidual, WindowCount, method_of


def scores(found: Sweep) -> Float[Tensor, "N layers k"]:
    """The score of every window on every mode."""
    return _recorded(found, "scores").permute(1, 0, 2)


def mode_findings(geometry: str, found: Sweep, subject: LanguageSubject, scoring: ScoringConfig) -> Findings:
    """Figures and arrays of one geometry's sweep."""
    arrays = _sweep_arrays(found, subject, scoring.tokens)
    figures = _sweep_figures(method_of(geometry), found, len(subject.input_ids))
    return Findings(figures, {f"{geometry}.{name}": array for name, array in arrays.items()})


def largest_residual(swept: Mapping[str, Sweep]) -> float:
    """Of any mode of any geometry in the full kernel, estimated."""
    return max(float(_residuals(found).max()) for found in swept.values())


def residual_notes(swept: Mapping[str, Sweep]) -> tuple[str, ...]:
    """Geometries with modes that are no single eigenvectors of the full kernel."""
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
            notes.append(f"{geometry}: sampled entries of the kernels equal plain autograd to {found.check:.0e}")
        if float(found.left_out.max()) > 0:
            notes.append(
                f"{geometry}: improbable tokens are sketched; along its directions a window's softmax covariance errs "
                f"by up to {float(found.left_out.max()):.1e} (measured, part of every residual)"
            )
    return tuple(notes)


def scores_by_class(found: Sweep) -> dict[str, dict[str, Float[Tensor, "N layers k"]]]:
    """Class of weights -> way to score a mode -> scores; a class with the same groups as an earlier one is left out."""
    first, second = _recorded(found, "scores"), _recorded(found, "second")
    ways = {"first": first, "norm": _recorded(found, "norm"), "first_two": torch.cat([first, second], dim=2)}
    rows = {name: [i for i, group in enumerate(found.groups) if _in(group, name)] for name in _CLASSES}
    distinct = {tuple(places): name for name, places in reversed(rows.items()) if places}
    return {
        name: {way: values[rows[name]].permute(1, 0, 2) for way, values in ways.items()}
        for name in _CLASSES
        if name in distinct.values()
    }


# class of weights -> patterns over names of groups
_CLASSES: Mapping[str, tuple[str, ...]] = {
    "down_proj": tuple(f"{pattern.removesuffix('.weight')}*" for pattern in MLP_OUTPUT),
    "attention": ("*attn*", "*attention*"),
    "all": ("*",),
}


def _in(group: str, name: str) -> bool:
    return any(fnmatchcase(group, pattern) for pattern in _CLASSES[name])


def _recorded(found: Sweep, name: str) -> Tensor:
    """A recorded statistic of every group: (L, ...)."""
    return torch.stack([modes.statistics[name] for modes in found.modes.values()])


def _residuals(found: Sweep) -> Float[Tensor, "layers k"]:
    """Of every mode in the full kernel, estimated."""
    return torch.stack([modes.residuals for modes in found.modes.values()])


def _sweep_figures(method: str, found: Sweep, windows: int) -> Figures:
    residuals = _residuals(found)
    compressed = torch.stack([modes.pairs.residuals for modes in found.modes.values()])
    products = float(sum(modes.pairs.products for modes in found.modes.values()))
    return keyed(
        {
            SweepCost(method, "seconds"): found.seconds,
            SweepCost(method, "products"): products,
            SweepResidual(method, "median"): float(residuals.median()),
            SweepResidual(method, "largest"): float(residuals.max()),
            SweepResidual(method, "compressed.largest"): float(compressed.max()),
            RankOneShare(method, "median"): float(_recorded(found, "share").median()),
            WindowCount(method): float(windows),
        }
    )


def _sweep_arrays(found: Sweep, subject: LanguageSubject, tokens: int) -> Arrays:
    modes = tuple(found.modes.values())
    directions = _recorded(found, "direction").mT  # (L, k, d)
    ranked = _recorded(found, "scores")
    return {
        "values": torch.stack([m.pairs.values for m in modes]),
        "residuals": _residuals(found),
        "residuals.error": torch.stack([m.outside_error for m in modes]),
        "converged": torch.stack([m.pairs.converged for m in modes]).to(torch.uint8),
        "scores": ranked,
        "scores.second": _recorded(found, "second"),
        "scores.norm": _recorded(found, "norm"),
        "share": _recorded(found, "share"),
        "directions": directions.float(),
        "examples": _recorded(found, "examples"),
        "examples.shares": _recorded(found, "token_shares"),
        **moved_tokens(subject.lm, found.geometry, directions, ranked.argmax(dim=1), subject.batch, tokens),
    }
