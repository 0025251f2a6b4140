"""Stories of our own, tokenizers of both habits and tiny random models, for tests that need text."""

import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tangentlens.language.windows.labelling import TaggedWord, Tagger
from tangentlens.language.windows.text import Stories

NAMES = ("Ada", "Ben", "Cleo", "Dov", "Eli", "Fay")
THINGS = ("boat", "kite", "lamp", "drum", "stone", "bell", "rope", "cup")
DEEDS = ("saw", "took", "lost", "hid", "drew", "kept")
POS = ("NOUN", "VERB", "PUNCT")


def story(seed: int, sentences: int = 6) -> str:
    """Sentences such as "Ada saw the red boat, and Ben hid a cup." on several lines."""
    draw = random.Random(seed)
    lines = [
        f"{draw.choice(NAMES)} {draw.choice(DEEDS)} the {draw.choice(THINGS)}, and {draw.choice(NAMES)} "
        f"{draw.choice(DEEDS)} a {draw.choice(THINGS)}."
        for _ in range(sentences)
    ]
    return " ".join(lines[:3]) + "\n" + " ".join(lines[3:])


def stories(count: int) -> Stories:
    return Stories({"kind": "test", "place": "here"}, lambda: map(story, range(count)))


def given(texts: Sequence[str]) -> Stories:
    return Stories({"kind": "test", "place": "here"}, lambda: iter(texts))


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """GPT-2's habit: the space before a word is in its token, but not in its place."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    _train(tokenizer, vocab_size=380, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)


def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """Gemma's and Llama's habit: the space before a word is in its token, and in its place; bytes for what is rare."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    _train(tokenizer, vocab_size=200)
    learned = json.loads(tokenizer.to_str())["model"]
    for byte in range(256):
        learned["vocab"][f"<0x{byte:02X}>"] = len(learned["vocab"])
    merges = [tuple(merge) for merge in learned["merges"]]
    tokenizer.model = models.BPE(vocab=learned["vocab"], merges=merges, byte_fallback=True)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)


TOKENIZERS = {"byte level": byte_level_tokenizer, "metaspace": metaspace_tokenizer}


def _train(tokenizer: Tokenizer, **options: Any) -> None:
    trainer = trainers.BpeTrainer(show_progress=False, **options)
    tokenizer.train_from_iterator([story(seed) for seed in range(40)], trainer)


def tiny_llama(vocabulary: int, seed: int = 0) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return model


def write_model(folder: Path) -> None:
    """A tiny model and its tokenizer in folder/model, and stories that it has learned to go on with."""
    tokenizer = byte_level_tokenizer()
    model = trained(tiny_llama(len(tokenizer)), tokenizer)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    (folder / "stories.txt").write_text("\n<|endoftext|>\n".join(story(seed) for seed in range(60)), "utf-8")


def trained(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """So much of training that the model's next words have parts of speech."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        rows = [tokenizer(story(seed))["input_ids"][:48] for seed in range(64)]
        ids = torch.tensor([row for row in rows if len(row) == 48])
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.08)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(60):
            optimiser.zero_grad()
            model(input_ids=ids, labels=ids).loss.backward()
            optimiser.step()
        optimiser.zero_grad()
    return model.eval()


def _tag(texts: Sequence[str]) -> Iterator[tuple[TaggedWord, ...]]:
    for text in texts:
        yield tuple(_word(match) for match in re.finditer(r"\w+|[^\w\s]", text))


def _word(match: re.Match[str]) -> TaggedWord:
    word = match.group()
    pos = "PUNCT" if not word[0].isalnum() else POS[len(word) % 2]
    return TaggedWord(word, match.start(), match.end(), pos, {"Length": str(len(word))})


# labels words by a rule that needs no grammar: words of even length are nouns, others verbs
RULE_TAGGER = Tagger("rule", _tag)
