"""Recorder of a mode's statistics during a sweep: scores of windows, output directions, shares of tokens."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.alignment.mode_scores import mode_scores
from tangentlens.language.sweep.approximate_modes import ApproximateModes, Recorder
from tangentlens.language.sweep.compressed import CompressedKernel
from tangentlens.language.sweep.token_shares import token_shares


def recorder(length: int, examples: int) -> Recorder:
    """A recorder of every mode's statistics on windows of `length` tokens; it shows `examples` of them.

    It gives, for N windows, d coordinates of the geometry and k modes:
        scores (N, k)           signed projection on the mode's first singular direction (arXiv 2510.00468)
        second (N, k)           the same on its second one
        norm (N, k)             length of the mode at the window
        share (k,)              share of the mode in the first direction
        direction (d, k)        the first direction
        examples (k, e)         the windows with the highest scores, then those with the lowest, lowest first
        token_shares (k, e, T)  what each token adds to their scores
    """

    def record(kernel: CompressedKernel, modes: ApproximateModes, basis: Tensor) -> Mapping[str, Tensor]:
        own = basis.cpu()
        v = own @ modes.pairs.vectors.cpu().unflatten(0, (kernel.windows, kernel.directions))  # (N, d, k)
        first = mode_scores(v)
        second = mode_scores(v - torch.einsum("nk,dk->ndk", first.scores, first.directions))
        shown = extremes(first.scores, examples)
        values = modes.pairs.values.cpu()
        along = own.mT @ first.directions  # (r, k) or (N, r, k)
        shares = token_shares(kernel, modes.pairs.vectors, along, shown, length, modes.moves).cpu()
        return {
            "scores": first.scores.float(),
            "second": second.scores.float(),
            "norm": v.norm(dim=1).float(),
            "share": first.shares,
            "direction": first.directions,
            "examples": shown,
            "token_shares": (shares / values[:, None, None]).float(),
        }

    return record


def extremes(scores: Float[Tensor, "N k"], count: int) -> Int[Tensor, "k e"]:
    """The windows with the highest scores of each column, descending, then those with the lowest, ascending."""
    half = min(max(1, count // 2), len(scores) // 2)
    order = scores.argsort(dim=0, descending=True, stable=True).T
    return torch.cat([order[:, :half], order[:, -half:].flip(1)], dim=1)
