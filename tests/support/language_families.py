"""Tiny random language models of the causal families of transformers, for the conformance of sweeps."""

from typing import Any

import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 23

# what a config calls its sizes; a family takes those that its config knows
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "word_embed_proj_dim"), 16),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "dff", "ffn_hidden_size", "decoder_ffn_dim"), 20),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "sliding_window"), 32),
    "decoder_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "rotary_dim": 4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 12,
    "shared_expert_intermediate_size": 12,
    "is_decoder": True,
}
# families whose sizes go by other names, or that need a choice
_CHOICES: dict[str, dict[str, Any]] = {
    "cohere": {"logit_scale": 0.3},
    "cohere2": {"logit_scale": 0.3},
    "gemma2": {"final_logit_softcapping": 3.0},
    "gemma3_text": {"sliding_window": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 4},
    "granite": {"logits_scaling": 3.0, "residual_multiplier": 0.7, "embedding_multiplier": 2.0},
    "minicpm3": {
        "q_lora_rank": 8,
        "kv_lora_rank": 8,
        "qk_nope_head_dim": 4,
        "qk_rope_head_dim": 4,
        "v_head_dim": 4,
        "num_key_value_heads": 4,
        "head_dim": 4,
        "dim_model_base": 8,
        "scale_depth": 1.4,
        "scale_emb": 2,
    },
    "opt": {"word_embed_proj_dim": 12},
    "qwen2_moe": {"decoder_sparse_step": 1},
}
_UNKNOWN = {"falcon": ("head_dim",), "mpt": ("head_dim",), "gpt_bigcode": ("num_key_value_heads",)}

DENSE = (
    *("apertus", "arcee", "biogpt", "bloom", "codegen", "cohere", "cohere2", "ctrl", "cwm", "diffllama", "ernie4_5"),
    *("exaone4", "falcon", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "gpt2", "gpt_bigcode", "gpt_neo"),
    *("gpt_neox", "gpt_neox_japanese", "gptj", "granite", "helium", "hunyuan_v1_dense", "hyperclovax", "jais2"),
    *("llama", "minicpm3", "ministral", "ministral3", "mistral", "modernbert-decoder", "mpt", "nanochat", "nemotron"),
    *("olmo", "olmo2", "olmo3", "openai-gpt", "opt", "persimmon", "phi", "phi3", "qwen2", "qwen3", "seed_oss"),
    *("smollm3", "stablelm", "starcoder2", "vaultgemma", "xglm"),
)
EXPERTS = ("cohere2_moe", "gpt_oss", "granitemoe", "mixtral", "olmoe", "phimoe", "qwen2_moe", "jetmoe")
OTHERS = ("bert", "lfm2", "mamba", "recurrent_gemma", "roberta", "rwkv", "xlm")
FAMILIES = (*DENSE, *EXPERTS, *OTHERS)


# families whose own code runs in no float64
FLOAT32 = ("xglm", *EXPERTS)


def tiny(family: str, **choices: Any) -> torch.nn.Module:
    """A random model of that family in evaluation mode, float64 where it can be; biases and scales are random too."""
    known = transformers.AutoConfig.for_model(family)
    sizes = {name: size for name, size in _SIZES.items() if hasattr(known, name)}
    for name in _UNKNOWN.get(family, ()):
        sizes.pop(name, None)
    config = transformers.AutoConfig.for_model(family, **{**sizes, **_CHOICES.get(family, {}), **choices})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: torch.nn.Module = getattr(transformers, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[family])(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval() if family in FLOAT32 else model.double().eval()
