"""A Gemma-3 of a few thousand weights, written as a GGUF with the reference library."""

from pathlib import Path

import gguf
import torch
from gguf.constants import MODEL_ARCH, TokenType
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

WORDS = ("the", "cat", "sat", "on", "mat", "and", "saw", "a", "dog")


def vocabulary() -> list[str]:
    """Special tokens, bytes, letters, and the words with every prefix that merges need."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    prefixes = sorted(sorted({f"▁{word[:end]}" for word in WORDS for end in range(1, len(word) + 1)}), key=len)
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    return [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        *bytes_,
        "▁",
        ".",
        *letters,
        *sorted(prefixes, key=lambda p: (len(p), p)),
    ]


def tiny_gemma(seed: int = 0) -> Gemma3ForCausalLM:
    """A random one with grouped queries, a sliding layer and a full one, and tied embeddings."""
    config = Gemma3TextConfig(
        vocab_size=len(vocabulary()),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=32,
        query_pre_attn_scalar=256,
        sliding_window=8,
        max_position_embeddings=128,
        rms_norm_eps=1e-6,
    )
    model = Gemma3ForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def write_gguf(model: Gemma3ForCausalLM, path: Path, kind: gguf.GGMLQuantizationType) -> None:
    """The model as llama.cpp's converter writes it: matrices in blocks of `kind`, norms as weight + 1 in float32."""
    config = model.config
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(1e6)
    writer.add_sliding_window(config.sliding_window)
    _write_vocabulary(writer)
    names = gguf.get_tensor_name_map(MODEL_ARCH.GEMMA3, config.num_hidden_layers)
    for name, parameter in model.named_parameters():
        weight = parameter.detach().numpy()
        place = names.get_name(name.removesuffix(".weight")) + ".weight"
        if weight.ndim == 1:
            writer.add_tensor(place, weight + 1)
        else:
            writer.add_tensor(place, gguf.quants.quantize(weight, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_vocabulary(writer: gguf.GGUFWriter) -> None:
    tokens = vocabulary()
    kinds = [TokenType.CONTROL] * 4 + [TokenType.BYTE] * 256 + [TokenType.NORMAL] * (len(tokens) - 260)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(index) for index in range(len(tokens))])
    writer.add_token_types(kinds)
    for place, token in (("pad", 0), ("eos", 1), ("bos", 2), ("unk", 3)):
        getattr(writer, f"add_{place}_token_id")(token)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
