"""Search of stories for windows whose next word, as the model writes it, has a wanted part of speech."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tangentlens.errors import InvalidInputError
from tangentlens.language.windows.boundaries import Boundary, Tokens, boundaries, tokenise
from tangentlens.language.windows.continuation import NextWord, continuation_text, continue_greedily, next_word
from tangentlens.language.windows.groups_of import batched
from tangentlens.language.windows.journal import Journal
from tangentlens.language.windows.labelling import Tagger
from tangentlens.language.windows.text import Stories
from tangentlens.language.windows.windows import Windows
from tangentlens.progress import Progress, silent

_log = logging.getLogger(__name__)

_ROUND = 64  # stories between two looks at the quotas: part of the procedure, not of its speed
_BATCH = 32  # windows in one forward pass
_STAGE = "finding windows"


@dataclass(frozen=True, kw_only=True)
class WindowRules:
    """Rules of a search for windows; the defaults are those of arXiv 2510.00468.

    Attributes:
        length: tokens of a window; no special tokens.
        quotas: part of speech -> number of windows whose next word has it.
        continuation: tokens that the model writes to give the next word.
        per_story: how many boundaries of a story may be tried; one each for all stories before a second for any.
        seed: of the random boundaries.
        max_stories: how many stories to read at most.
        allow_fewer: take what is there where a quota cannot be filled, instead of refusing.
    """

    length: int = 64
    quotas: Mapping[str, int]
    continuation: int = 3
    per_story: int = 1
    seed: int = 0
    max_stories: int = 20_000
    allow_fewer: bool = False


@dataclass
class _Story:
    """A story that has been read, with the boundaries not yet tried, in random order."""

    index: int
    text: str
    tokens: Tokens
    untried: list[Boundary]


@dataclass(frozen=True)
class _Candidate:
    story: _Story
    boundary: Boundary

    @property
    def key(self) -> str:
        return f"{self.story.index}:{self.boundary.tokens}"

    def window(self, length: int) -> tuple[int, ...]:
        return self.story.tokens.ids[self.boundary.tokens - length : self.boundary.tokens]


def build_windows(
    stories: Stories,
    model: Any,
    tokenizer: Any,
    tagger: Tagger,
    rules: WindowRules,
    *,
    model_name: str = "",
    work: Path | None = None,
    progress: Progress = silent,
) -> Windows:
    """Look for windows in stories until every quota is filled.

    A candidate is a random boundary of a story, just before a word whose part of speech has an open quota. The model
    continues the window greedily; the story up to the boundary and the continuation are tagged together; the first
    word that starts at or after the boundary gives the label. The candidate is kept if that word has the part of
    speech of the story's own next word. The outcome depends on stories, model, tagger and rules alone.

    Args:
        stories: where to look; read as far as needed.
        model: a causal language model of transformers, in evaluation mode.
        tokenizer: its fast tokenizer.
        tagger: labels words.
        rules: of the search.
        model_name: says which weights these are, for the record.
        work: folder for the finished candidates, from which an interrupted search goes on.
        progress: receives how many windows have been found.

    Raises:
        InvalidInputError: a quota cannot be filled, no story is long enough for one window, the tokenizer has no
            offsets, or `work` holds candidates of another search.
        StoreError: `work` cannot be written.
    """
    _check(rules)
    search = _Search(model, tokenizer, tagger, rules, _journal(stories, tagger, rules, model_name, work))
    kept: list[tuple[_Candidate, NextWord]] = []
    total = sum(rules.quotas.values())
    tried = 0
    progress(_STAGE, 0, total)
    for some in search.rounds(stories):
        candidates = list(_drawn(some, _open(rules, kept)))
        tried += len(candidates)
        for candidate, word in zip(candidates, search.words(candidates), strict=True):
            if word is not None and word.pos == candidate.boundary.pos and word.pos in _open(rules, kept):
                kept.append((candidate, word))
        progress(_STAGE, len(kept), total)
        if not _open(rules, kept):
            break
    _check_found(search, rules, kept)
    progress(_STAGE, total, total)
    found = {"stories": search.read, "candidates": tried, "windows": len(kept)}
    source = {"text": dict(stories.source), "model": model_name, "labels": tagger.name, "rules": asdict(rules), **found}
    return _windows(kept, rules, tokenizer, source)


class _Search:
    """The steps of a search."""

    def __init__(self, model: Any, tokenizer: Any, tagger: Tagger, rules: WindowRules, journal: Journal) -> None:
        self._model, self._tokenizer, self._tagger = model, tokenizer, tagger
        self._rules, self._journal = rules, journal
        self.read = 0
        self.long_enough = 0

    def rounds(self, stories: Iterable[str]) -> Iterator[Sequence[_Story]]:
        """All stories in rounds, the first time as they are read; again for every further window of a story."""
        pool: list[_Story] = []
        for some in batched(islice(stories, self._rules.max_stories), _ROUND):
            fresh = self._stories(some)
            pool += fresh if self._rules.per_story > 1 else []
            yield fresh
        for _ in range(1, self._rules.per_story):
            yield from batched(pool, _ROUND)

    def words(self, candidates: Sequence[_Candidate]) -> list[NextWord | None]:
        """The model's word at each candidate."""
        for some in batched([one for one in candidates if one.key not in self._journal], _BATCH):
            found = zip(some, self._words(some), strict=True)
            self._journal.add((one.key, None if word is None else asdict(word)) for one, word in found)
        pieces = [self._journal[one.key] for one in candidates]
        return [None if piece is None else NextWord(**piece) for piece in pieces]

    def _stories(self, texts: Sequence[str]) -> list[_Story]:
        read = []
        for text, words in zip(texts, self._tagger.tag(texts), strict=True):
            tokens = tokenise(self._tokenizer, text)
            self.long_enough += len(tokens.ids) > self._rules.length
            found = boundaries(text, tokens, words, self._rules.quotas, self._rules.length)
            order = np.random.default_rng([self._rules.seed, self.read]).permutation(len(found))
            read.append(_Story(self.read, text, tokens, [found[place] for place in order]))
            self.read += 1
        return read

    def _words(self, candidates: Sequence[_Candidate]) -> list[NextWord | None]:
        windows = [one.window(self._rules.length) for one in candidates]
        ids = torch.tensor(windows, device=self._model.device)
        written = continue_greedily(self._model, ids, self._rules.continuation).tolist()
        texts = [
            one.story.text[: one.boundary.character] + continuation_text(self._tokenizer, window, new)
            for one, window, new in zip(candidates, windows, written, strict=True)
        ]
        tagged = zip(candidates, self._tagger.tag(texts), strict=True)
        return [next_word(words, one.boundary.character) for one, words in tagged]


def _journal(stories: Stories, tagger: Tagger, rules: WindowRules, model_name: str, work: Path | None) -> Journal:
    """Keyed by all that decides the word at a boundary: no seed, no quotas, no number of windows of a story."""
    sizes = {"length": rules.length, "continuation": rules.continuation}
    made_from = {"text": dict(stories.source), "model": model_name, "labels": tagger.name, **sizes}
    return Journal(None if work is None else Path(work) / "candidates.jsonl", made_from)


def _check(rules: WindowRules) -> None:
    sizes = {"length": rules.length, "continuation": rules.continuation, "per_story": rules.per_story}
    wrong = [name for name, size in sizes.items() if size < 1]
    wrong += [f"the quota of {pos}" for pos, quota in rules.quotas.items() if quota < 1]
    if wrong or not rules.quotas:
        raise InvalidInputError(
            f"{', '.join(wrong) or 'the number of quotas'} must be at least 1", where="rules", remedy="Raise it."
        )


def _open(rules: WindowRules, kept: Sequence[tuple[_Candidate, NextWord]]) -> set[str]:
    """The parts of speech whose quota is not filled."""
    found = Counter(word.pos for _, word in kept)
    return {pos for pos, quota in rules.quotas.items() if found[pos] < quota}


def _drawn(stories: Sequence[_Story], wanted: set[str]) -> Iterator[_Candidate]:
    """From each story the next boundary of a wanted part of speech, in the story's random order."""
    for story in stories:
        place = next((i for i, boundary in enumerate(story.untried) if boundary.pos in wanted), None)
        if place is not None:
            yield _Candidate(story, story.untried.pop(place))


def _check_found(search: _Search, rules: WindowRules, kept: Sequence[tuple[_Candidate, NextWord]]) -> None:
    if not search.long_enough:
        raise InvalidInputError(
            f"none of {search.read} stories has more than {rules.length} tokens",
            where="stories",
            remedy="Give longer stories, or a smaller length.",
        )
    found = Counter(word.pos for _, word in kept)
    missing = [f"{pos} {found[pos]} of {rules.quotas[pos]}" for pos in rules.quotas if pos in _open(rules, kept)]
    if not missing:
        return
    what = f"{search.read} stories gave too few windows: {', '.join(missing)}"
    if not (rules.allow_fewer and kept):
        raise InvalidInputError(
            what,
            where="quotas",
            remedy="Give more stories, raise per_story or max_stories, lower the quotas, or allow fewer.",
        )
    _log.warning("%s; going on with %d windows", what, len(kept))


def _windows(
    kept: Sequence[tuple[_Candidate, NextWord]], rules: WindowRules, tokenizer: Any, source: Mapping[str, Any]
) -> Windows:
    ids = [candidate.window(rules.length) for candidate, _ in kept]
    return Windows(
        input_ids=torch.tensor(ids, dtype=torch.int64),
        story=torch.tensor([candidate.story.index for candidate, _ in kept], dtype=torch.int64),
        text=tuple(tokenizer.decode(list(window), clean_up_tokenization_spaces=False) for window in ids),
        word=tuple(word.text for _, word in kept),
        pos=tuple(word.pos for _, word in kept),
        morphology=tuple(word.morphology for _, word in kept),
        source=source,
        seed=rules.seed,
    )
