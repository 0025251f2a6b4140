"""Principal components of a language model's residual stream, layer by layer: the baseline of its kernels."""

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.features.functions import principal_functions
from tangentlens.language.batches import Batch, last_positions
from tangentlens.language.model import LanguageModel
from tangentlens.language.sweep.stages import HIDDEN, cut

_WINDOWS = 64  # run at once


def residual_stream(lm: LanguageModel, batch: Batch) -> Float[Tensor, "blocks N d"]:
    """The residual stream after every block at each window's last real position."""
    chain = cut(lm, batch)
    pieces = []
    for start in range(0, len(batch["input_ids"]), _WINDOWS):
        some = {name: tensor[start : start + _WINDOWS] for name, tensor in batch.items()}
        above = chain.inputs(some)[2:]  # the prologue and the first block are fed by no block
        last = last_positions(some)
        rows = torch.arange(len(last))
        pieces.append(torch.stack([inputs[HIDDEN][rows, last].cpu() for inputs in above]))
    return torch.cat(pieces, dim=1)


def residual_stream_pca(lm: LanguageModel, batch: Batch, k: int) -> Float[Tensor, "blocks N d"]:
    """Scores of the windows on the k leading principal components of each block's residual stream, of length 1."""
    return torch.stack([principal_functions(layer, k) for layer in residual_stream(lm, batch)])
