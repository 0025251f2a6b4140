"""Tiny random models of transformers, built from configs without a network."""

import torch
import transformers
from torch import nn

from tests.support.model_grammar.registry import STEMS, word
from tests.support.model_grammar.stems import VOCABULARY

transformers.logging.set_verbosity_error()


def _text(T):
    return {"vocab_size": VOCABULARY, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2} | {
        "intermediate_size": 10,
        "max_position_embeddings": T + 4,
        "pad_token_id": 0,
    }


def _bert(T):
    return transformers.BertModel(transformers.BertConfig(**_text(T)), add_pooling_layer=False)


def _distilbert(T):
    config = {"vocab_size": VOCABULARY, "dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 10}
    return transformers.DistilBertModel(transformers.DistilBertConfig(**config, max_position_embeddings=T + 4))


def _gpt2(T):
    config = {"vocab_size": VOCABULARY, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": T + 4}
    return transformers.GPT2Model(transformers.GPT2Config(**config, bos_token_id=1, eos_token_id=2, use_cache=False))


def _llama(T):
    return transformers.LlamaModel(transformers.LlamaConfig(**_text(T), num_key_value_heads=1, use_cache=False))


def _vit(T):
    small = {k: v for k, v in _text(T).items() if k not in ("vocab_size", "max_position_embeddings", "pad_token_id")}
    return transformers.ViTModel(
        transformers.ViTConfig(**small, image_size=(2, 2 * max(1, T - 1)), patch_size=2), add_pooling_layer=False
    )


def _enter(name, build, pictures=False):
    @word(STEMS, name, "transformers", rounds=name == "LlamaModel")  # its norm rounds to float32
    class Whole(nn.Module):
        def __init__(self, draw, d, T):
            super().__init__()
            self.T, self.model, self.fit = T, build(T), nn.Linear(8, d)

        def example(self, n, generator):
            if pictures:
                return torch.randn(n, 3, 2, 2 * max(1, self.T - 1), generator=generator)
            return torch.randint(1, VOCABULARY, (n, self.T), generator=generator)

        def forward(self, x):
            return self.fit(self.model(x).last_hidden_state[:, : self.T])

    return Whole


TRANSFORMERS = ("BertModel", "DistilBertModel", "GPT2Model", "LlamaModel", "ViTModel")
for _name, _build in zip(TRANSFORMERS, (_bert, _distilbert, _gpt2, _llama, _vit), strict=True):
    _enter(_name, _build, pictures=_name == "ViTModel")
