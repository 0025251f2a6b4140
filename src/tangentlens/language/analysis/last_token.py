"""Next-token probabilities when the residual stream at a window's last token is changed at a block.

Nothing before the last token is touched, so its keys and values are computed once and kept: an intervention then costs
a forward pass of one token a window.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tangentlens.controls.interventions.edits import Edit
from tangentlens.errors import InvalidInputError
from tangentlens.language.batches import Batch
from tangentlens.language.chain import hidden_of
from tangentlens.language.model import LanguageModel


@dataclass(frozen=True)
class LastTokens:
    """The last token of some windows over a cache of what stands before it.

    Attributes:
        lm: the model.
        tokens: (n, 1) the last tokens.
        cache: keys and values of all others; never changed.
    """

    lm: LanguageModel
    tokens: Tensor
    cache: Any

    @torch.no_grad()
    def log_probabilities(self, block: int | None = None, edit: Edit | None = None) -> Float[Tensor, "n V"]:
        """Logarithms of the next token's probabilities, with the output of a block edited at the last token.

        Args:
            block: index of the block; None for the model as it is.
            edit: from (n, d) to (n, d).
        """

        def change(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
            hidden: Tensor = hidden_of(output)
            changed = edit(hidden[:, -1])[:, None] if edit else hidden
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        handles = [] if block is None else [self.lm.blocks[block][1].register_forward_hook(change)]
        try:
            found = self.lm.model(input_ids=self.tokens, past_key_values=copy.deepcopy(self.cache), use_cache=True)
        finally:
            for handle in handles:
                handle.remove()
        logits: Tensor = found.logits[:, -1]
        return logits.log_softmax(dim=1)


@torch.no_grad()
def last_tokens(lm: LanguageModel, batch: Batch) -> LastTokens:
    """Run all but the last token of windows without padding.

    Raises:
        InvalidInputError: a window is padded, or has one token.
    """
    ids, mask = batch["input_ids"], batch.get("attention_mask")
    if ids.shape[1] < 2 or (mask is not None and not bool(mask.all())):
        raise InvalidInputError(
            "interventions at the last token need windows without padding, of two tokens or more", where="batch"
        )
    before = lm.model(input_ids=ids[:, :-1], use_cache=True, logits_to_keep=1)
    return LastTokens(lm, ids[:, -1:], before.past_key_values)
