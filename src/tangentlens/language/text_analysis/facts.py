"""Facts about every window: its labels, its last token, its length, and how sure and how right the model is there."""

from collections import Counter
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.analysis.discovery.facts import Fact, fact_of, feature_facts, usable
from tangentlens.language.batches import last_positions
from tangentlens.language.text_analysis.case import TextCase

_TOKENS = 12  # last tokens, the most frequent ones
_TOGETHER = 32  # windows in one forward pass


def window_facts(case: TextCase) -> tuple[Fact, ...]:
    """Facts that may explain a mode; what does not vary within both halves is left out."""
    found = [*feature_facts(case.features), *_tokens(case), *_texts(case), *_model(case)]
    return usable(found, case.halves)


def _tokens(case: TextCase) -> Iterator[Fact]:
    rows = case.windows.token_text
    last = [row[int(place)] for row, place in zip(rows, case.windows.position, strict=True)]
    for token, _ in Counter(last).most_common(_TOKENS):
        yield fact_of(f"ends in {token!r}", "token", torch.tensor([each == token for each in last]))
    yield fact_of("ends in a token seen before", "token", _repeated(case))


def _repeated(case: TextCase) -> Tensor:
    """Whether the last token stands earlier in its window too."""
    ids, mask = case.windows.input_ids, case.windows.attention_mask.bool()
    last = ids.gather(1, case.windows.position[:, None])
    return ((ids == last) & mask).sum(dim=1) > 1


def _texts(case: TextCase) -> Iterator[Fact]:
    texts = case.windows.text
    yield fact_of("tokens", "text", case.windows.attention_mask.sum(dim=1))
    yield fact_of("ends inside quotation marks", "text", torch.tensor([_quoted(text) for text in texts]))
    yield fact_of("ends in punctuation", "text", torch.tensor([text.rstrip()[-1:] in ".,;:!?" for text in texts]))
    yield fact_of("characters into the text", "text", case.windows.character)


def _quoted(text: str) -> bool:
    return text.count('"') % 2 == 1 or text.rfind("“") > text.rfind("”")


def _model(case: TextCase) -> Iterator[Fact]:
    entropy, largest = _confidence(case)
    yield fact_of("entropy of the model's next token", "model", entropy)
    yield fact_of("probability of its likeliest token", "model", largest)


@torch.no_grad()
def _confidence(case: TextCase) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    entropies, largest = [], []
    head = case.lm.head
    for rows in torch.arange(case.count).split(_TOGETHER):
        batch = {name: each[rows] for name, each in case.windows.batch.items()}
        hidden = case.lm.final_hidden(batch)[torch.arange(len(rows)), last_positions(batch)]
        logp = head.logits(hidden).float().log_softmax(dim=1)
        entropies.append(-(logp.exp() * logp).sum(dim=1).cpu())
        largest.append(logp.amax(dim=1).exp().cpu())
    return torch.cat(entropies), torch.cat(largest)
