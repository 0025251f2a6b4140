"""Interventions over a cache against a plain forward pass of the whole windows with the same change."""

import pytest
import torch

pytest.importorskip("transformers", reason="the extra `language` is not installed")

from tangentlens.controls.interventions.edits import without_directions
from tangentlens.errors import InvalidInputError
from tangentlens.language.analysis.last_token import last_tokens
from tangentlens.language.chain import hidden_of
from tangentlens.language.model import language_model
from tests.support import language_zoo as zoo


@pytest.mark.parametrize("family", zoo.FAMILIES)
@pytest.mark.parametrize("block", [0, 1])
def test_an_edit_over_the_cache_is_the_edit_in_a_whole_forward_pass(family, block):
    model, batch = zoo.tiny(family), zoo.windows(4, 7)
    lm = language_model(model)
    basis = torch.linalg.qr(torch.randn(16, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    edit = without_directions(basis, torch.full((16,), 0.1, dtype=torch.float64))

    def change(_module, _args, output):
        hidden = hidden_of(output).clone()
        hidden[:, -1] = edit(hidden[:, -1])
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    cached = last_tokens(lm, batch)
    plain = model(**batch).logits[:, -1].log_softmax(1).detach()
    assert torch.allclose(cached.log_probabilities(), plain, rtol=0, atol=1e-5)
    handle = lm.blocks[block][1].register_forward_hook(change)
    changed = model(**batch).logits[:, -1].log_softmax(1).detach()
    handle.remove()
    assert torch.allclose(cached.log_probabilities(block, edit), changed, rtol=0, atol=1e-5)
    assert float((changed - plain).abs().max()) > 1e-3
    assert torch.allclose(cached.log_probabilities(), plain, rtol=0, atol=1e-5)  # the cache and the model are as before


def test_padding_is_refused():
    lm, batch = language_model(zoo.tiny("llama")), zoo.windows(3, 5)
    with pytest.raises(InvalidInputError, match="without padding"):
        last_tokens(lm, {**batch, "attention_mask": torch.tensor([[0, 1, 1, 1, 1]] * 3)})
    with pytest.raises(InvalidInputError, match="two tokens"):
        last_tokens(lm, {"input_ids": batch["input_ids"][:, :1]})
