"""Tokens whose logits a mode raises and lowers, and the text of tokens."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.analysis.findings import Arrays
from tangentlens.language.batches import Batch, last_positions
from tangentlens.language.geometry import LogitGeometry
from tangentlens.language.model import LanguageModel


def moved_tokens(
    lm: LanguageModel,
    geometry: LogitGeometry,
    directions: Float[Tensor, "L k d"],
    strongest: Int[Tensor, "L k"],
    batch: Batch,
    count: int,
) -> Arrays:
    """The tokens whose logits each output direction raises most and lowers most, against the mean of all tokens.

    A shift of all logits changes no probability, and the raw geometry's directions are mostly that: only the rest
    distinguishes tokens.

    Args:
        directions: unit, in the coordinates of S^(1/2) K_r S^(1/2).
        strongest: the window with the highest score on each mode: where S differs from window to window, its S.
        count: tokens of either kind.
    """
    flat = directions.flatten(0, 1)  # (M, d)
    windows = (torch.zeros_like(strongest) if geometry.constant else strongest).flatten()  # (M,) whose S sees a mode
    needed = windows.unique()
    states = _final_hidden(lm, {name: tensor[needed] for name, tensor in batch.items()})
    tables = {f"{kind}.tokens": torch.empty(len(flat), count, dtype=torch.int64) for kind in _KINDS}
    tables |= {f"{kind}.logits": torch.empty(len(flat), count) for kind in _KINDS}
    for window, hidden in zip(needed, states, strict=True):
        for modes in (windows == window).nonzero()[:, 0].split(_COLUMNS):
            logits = geometry.logit_directions(flat[modes].T, hidden)  # (V, m)
            logits = logits - logits.mean(dim=0)
            for kind, sign in _KINDS.items():
                found = torch.topk(sign * logits.T, count, dim=1)
                tables[f"{kind}.tokens"][modes] = found.indices.cpu()
                tables[f"{kind}.logits"][modes] = sign * found.values.float().cpu()
    return {name: table.unflatten(0, strongest.shape) for name, table in tables.items()}


def token_texts(tokenizer: Any, ids: Int[Tensor, " M"]) -> tuple[str, ...]:
    """The text of each token alone."""
    return tuple(tokenizer.decode([one], clean_up_tokenization_spaces=False) for one in ids.tolist())


def occurring_tokens(arrays: Arrays) -> Int[Tensor, " M"]:
    """Every token of the windows and of the lists of tokens among some arrays, ascending."""
    named = [array for name, array in arrays.items() if name.endswith((".tokens", ".input_ids"))]
    ids: Tensor = torch.cat([array.flatten() for array in named]).unique()
    return ids


_KINDS = {"raised": 1.0, "lowered": -1.0}
_COLUMNS = 32  # of V logits, at a time


@torch.no_grad()
def _final_hidden(lm: LanguageModel, batch: Batch) -> Float[Tensor, "N d"]:
    pieces = []
    for start in range(0, len(batch["input_ids"]), 64):
        some = {name: tensor[start : start + 64] for name, tensor in batch.items()}
        rows = torch.arange(len(some["input_ids"]))
        pieces.append(lm.final_hidden(some)[rows, last_positions(some)])
    return torch.cat(pieces)
