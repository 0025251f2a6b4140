"""Tokens that modes raise and lower."""

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="the extra `language` is not installed")
pytest.importorskip("spacy", reason="the extra `language` is not installed")

from tangentlens.language.analysis.tokens import moved_tokens
from tangentlens.language.model import language_model
from tangentlens.language.sweep.fisher import logit_geometry


def test_moved_tokens_are_distinguished_from_a_shift_of_all(stored):
    (record,) = stored.seeds
    assert (record.array("raw.raised.logits") > 0).all()
    assert (record.array("raw.lowered.logits") < 0).all()
    assert (np.diff(record.array("raw.raised.logits"), axis=2) <= 0).all()


@pytest.mark.parametrize("name", ["raw", "fisher"])
def test_moved_tokens_are_those_of_every_mode_at_its_own_window(place, name):
    lm = language_model(str(place / "model"))
    ids = torch.randint(len(lm.unembedding), (5, 12), generator=torch.Generator().manual_seed(0))
    directions = torch.randn(3, 4, lm.d_model, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    strongest = torch.tensor([[0, 3, 3, 1], [1, 1, 4, 0], [3, 0, 1, 4]])
    found = moved_tokens(lm, logit_geometry(lm.head, name), directions, strongest, {"input_ids": ids}, 6)
    with torch.no_grad():
        states = lm.final_hidden({"input_ids": ids})[:, -1]
    for layer, mode in np.ndindex(3, 4):
        vector, state = directions[layer, mode, :, None], states[strongest[layer, mode]]
        logits = logit_geometry(lm.head, name).logit_directions(vector, state)[:, 0]
        order = logits.argsort()
        assert found["raised.tokens"][layer, mode].tolist() == order.flip(0)[:6].tolist()
        assert found["lowered.tokens"][layer, mode].tolist() == order[:6].tolist()
        torch.testing.assert_close(found["lowered.logits"][layer, mode], (logits - logits.mean())[order[:6]].float())
