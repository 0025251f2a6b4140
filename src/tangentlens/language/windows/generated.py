"""Stories that a language model writes itself, for where there is no text."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.language.windows.journal import Journal
from tangentlens.language.windows.text import Stories
from tangentlens.progress import Progress, silent

_STAGE = "writing stories"
_TOGETHER = 32  # part of the procedure: the stories of a batch share one stream of random numbers
_LIKELIEST = 1024

OPENINGS = (
    "Once upon a time, there was a",
    "One day, a little",
    "There was once a small",
    "A long time ago, in a",
    "Every morning, the",
    "Tom and his",
    "Lily had a",
    "The old man and his",
)


@dataclass(frozen=True)
class WritingRules:
    """How stories are drawn from a model.

    Attributes:
        count: how many stories.
        tokens: how many each has at most, its opening included.
        temperature: logits are divided by it.
        nucleus: each token comes from the likeliest ones (1024 at most) that together have this probability (top-p,
            Holtzman et al. 2020).
        seed: of the draw.
        openings: the stories begin with these, in turn.
    """

    count: int
    tokens: int = 256
    temperature: float = 0.8
    nucleus: float = 0.95
    seed: int = 0
    openings: tuple[str, ...] = OPENINGS


def written_stories(
    model: Any,
    tokenizer: Any,
    rules: WritingRules,
    *,
    model_name: str = "",
    work: Path | None = None,
    progress: Progress = silent,
) -> Stories:
    """Stories sampled from the model when they are read; story i is decided by the seed, i and the rules.

    Stories with the same opening are drawn together, `_TOGETHER` at a time.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        tokenizer: its tokenizer.
        rules: how to draw.
        model_name: says which weights these are, for the record.
        work: folder for the finished stories, from which an interrupted draw goes on.
        progress: receives how many stories are written.

    Raises:
        InvalidInputError: the rules make no sense, or `work` holds other stories.
        StoreError: `work` cannot be written.
    """
    possible = rules.temperature > 0 and 0 < rules.nucleus <= 1
    if min(rules.count, rules.tokens, len(rules.openings)) < 1 or not possible:
        raise InvalidInputError(
            f"stories cannot be drawn by {rules}",
            where="rules",
            remedy="count, tokens and openings: at least 1; temperature: above 0; nucleus: in (0, 1].",
        )
    described = {key: str(value) for key, value in asdict(rules).items()}
    source = {"kind": "written by the model", "place": model_name or type(model).__name__, **described}
    path = None if work is None else Path(work) / "stories.jsonl"
    # with another count the same stories come first
    journal = Journal(path, {key: value for key, value in source.items() if key != "count"})
    return Stories(source, lambda: _read(model, tokenizer, rules, journal, progress))


def _read(model: Any, tokenizer: Any, rules: WritingRules, journal: Journal, progress: Progress) -> Iterator[str]:
    progress(_STAGE, 0, rules.count)
    for first in range(0, rules.count, _TOGETHER):
        key = str(first)
        if key not in journal:
            opening = rules.openings[first // _TOGETHER % len(rules.openings)]
            generator = torch.Generator().manual_seed(rules.seed * 1_000_003 + first)
            journal.add([(key, _written(model, tokenizer, opening, rules, generator))])
        last = min(first + _TOGETHER, rules.count)
        progress(_STAGE, last, rules.count)
        yield from journal[key][: last - first]


@torch.no_grad()
def _written(model: Any, tokenizer: Any, opening: str, rules: WritingRules, generator: torch.Generator) -> list[str]:
    """`_TOGETHER` stories with the same opening."""
    prompt = torch.tensor(tokenizer(opening)["input_ids"], device=model.device).expand(_TOGETHER, -1)
    tokens, past = prompt, None
    ended = torch.zeros(_TOGETHER, dtype=torch.bool, device=model.device)
    while tokens.shape[1] < rules.tokens and not bool(ended.all()):
        step = model(
            input_ids=tokens if past is None else tokens[:, -1:],
            attention_mask=torch.ones_like(tokens),
            past_key_values=past,
            use_cache=True,
            logits_to_keep=1,
        )
        past = step.past_key_values
        drawn = _draw(step.logits[:, -1].float().cpu(), rules, generator).to(model.device)
        tokens = torch.cat([tokens, drawn[:, None]], dim=1)
        ended |= drawn == tokenizer.eos_token_id
    return [_story(tokenizer, row, prompt.shape[1]) for row in tokens.tolist()]


def _draw(logits: Float[Tensor, "n v"], rules: WritingRules, generator: torch.Generator) -> Int[Tensor, " n"]:
    """One token for each row from its nucleus."""
    likely, places = (logits / rules.temperature).softmax(dim=-1).topk(min(_LIKELIEST, logits.shape[1]), dim=-1)
    before = likely.cumsum(dim=-1) - likely  # the first token always stays
    chosen = torch.multinomial(likely.where(before < rules.nucleus, 0), 1, generator=generator)
    return places.gather(1, chosen).squeeze(1)


def _story(tokenizer: Any, tokens: Sequence[int], opening: int) -> str:
    """The text up to the first end-of-text token after the opening."""
    written = list(tokens[opening:])
    if tokenizer.eos_token_id in written:
        written = written[: written.index(tokenizer.eos_token_id)]
    return str(tokenizer.decode([*tokens[:opening], *written], skip_special_tokens=True))
