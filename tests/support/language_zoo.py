"""Tiny random language models of every family that a sweep is tested on, in float64, with a plain oracle."""

import pytest
import torch
from torch import Tensor

transformers = pytest.importorskip("transformers", reason="the extra `language` is not installed")

_ROTARY = {
    "vocab_size": 37,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = {**_ROTARY, "num_key_value_heads": 2}  # two queries share a key


def _gpt2() -> torch.nn.Module:
    config = transformers.GPT2Config(
        vocab_size=37, n_embd=16, n_layer=2, n_head=4, n_positions=32, bos_token_id=1, eos_token_id=2
    )
    return transformers.GPT2LMHeadModel(config)


FAMILIES = {
    "gpt2": _gpt2,
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**_GROUPED)),
    "gemma3": lambda: transformers.Gemma3ForCausalLM(
        transformers.Gemma3TextConfig(**_GROUPED, head_dim=4, sliding_window=4)
    ),
    "gpt_neox": lambda: transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**_ROTARY)),
    "bloom": lambda: transformers.BloomForCausalLM(
        transformers.BloomConfig(vocab_size=37, hidden_size=16, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2)
    ),
    "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**_GROUPED)),
    "qwen3": lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**_GROUPED, head_dim=4)),
}


def tiny(family: str) -> torch.nn.Module:
    """A random model of that family with 16 output coordinates and 37 tokens."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FAMILIES[family]()
        for parameter in model.parameters():  # biases and scales too, so that nothing vanishes by accident
            torch.nn.init.normal_(parameter, std=0.3)
    return model.double().eval()


def windows(count: int = 5, length: int = 6, seed: int = 1) -> dict[str, Tensor]:
    """Random token windows without padding."""
    generator = torch.Generator().manual_seed(seed)
    return {"input_ids": torch.randint(3, 37, (count, length), generator=generator)}


def jacobian(model: torch.nn.Module, batch: dict[str, Tensor], name: str, positions: Tensor) -> Tensor:
    """d r / d parameter at each window's position by one backward pass for every number: (N, d, size)."""
    parameter = dict(model.named_parameters())[name]
    arguments = dict(batch)
    if "attention_mask" in batch:
        arguments["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    hidden = model.base_model(**arguments, use_cache=False).last_hidden_state
    rows = []
    for i, position in enumerate(positions.tolist()):
        for c in range(hidden.shape[2]):
            (gradient,) = torch.autograd.grad(hidden[i, position, c], parameter, retain_graph=True)
            rows.append(gradient.flatten())
    return torch.stack(rows).view(len(positions), hidden.shape[2], -1)
