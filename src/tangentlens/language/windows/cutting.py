"""Windows cut from texts by a rule, with the user's labels and a tagger's."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from tangentlens.errors import InvalidInputError
from tangentlens.language.windows import places
from tangentlens.language.windows.cut_rules import CutRules, resolved_rule
from tangentlens.language.windows.groups_of import batched
from tangentlens.language.windows.labelling import TaggedWord, Tagger
from tangentlens.language.windows.labelling import tagger as tagger_of
from tangentlens.language.windows.sampling import sample, strata
from tangentlens.language.windows.special_tokens import Frame, Framed, described, frame, padding_token
from tangentlens.language.windows.text_labels import Labels
from tangentlens.language.windows.text_windows import Cut, TextWindows, laid_out
from tangentlens.language.windows.texts import Texts
from tangentlens.language.windows.word_labels import word_labels, words_around
from tangentlens.progress import Progress, silent

_log = logging.getLogger(__name__)

_SPARE = 4  # texts that are looked at for each window wanted
_TOGETHER = 64  # texts tagged in one call
_AFTER = 40  # characters shown after a window


@dataclass(frozen=True)
class _Candidate:
    text: int
    tokens: int
    framed: Framed
    words: tuple[TaggedWord, ...]

    @property
    def character(self) -> int:
        return self.framed.tokens.ends[self.tokens - 1]


def cut_windows(
    texts: Texts,
    tokenizer: Any,
    rules: CutRules,
    *,
    labels: Labels | None = None,
    tagger: Tagger | str | None = None,
    progress: Progress = silent,
) -> TextWindows:
    """Cut windows from texts.

    At most four texts for each window wanted are tokenised and tagged, drawn with the seed in proportion to the first
    column of labels.

    Args:
        texts: where from (`read_texts`).
        tokenizer: of the model; a fast one.
        rules: how.
        labels: one value a text (`read_labels`); every window of a text has them.
        tagger: adds the columns next.pos, current.dep, previous.morph.Number, ...; a name loads it. None: no tagger.
        progress: receives how many texts are done.

    Raises:
        InvalidInputError: rules, labels, tokenizer or tagger cannot be used, found before any text is tokenised; or no
            text gives a window.
    """
    labels = dict(labels or {})
    at = resolved_rule(rules, texts, labels, tagger)
    around = frame(tokenizer, bos=rules.bos, template=rules.template, answer=at == "end")
    marks: tuple[tuple[int, ...], ...] = ((),) * len(texts)
    if at == "marked":
        texts, marks = places.marked(texts, rules.mark, rules.offsets)
    tagged = tagger_of(tagger, dependencies=True) if isinstance(tagger, str) else tagger
    rng = np.random.default_rng(rules.seed)
    chosen = _chosen_texts(texts, marks, labels, rules, at, rng)
    candidates: list[_Candidate] = []
    for text, framed, words in _read(texts.texts, chosen, around, tagged, progress):
        found = _places(at, texts.texts[text], framed, words, marks[text], rules.length)
        candidates += [_Candidate(text, place, framed, words) for place in found]
    columns = _columns(candidates, labels, tagged is not None)
    kept = _sampled(candidates, columns, rules, rng)
    source = {
        "text": dict(texts.source),
        "rules": {**asdict(rules), "at": at, "offsets": _offsets(rules.offsets)},
        "tagger": None if tagged is None else tagged.name,
        "tokenizer": described(tokenizer),
        "special": around.described,
        "texts_looked_at": len(chosen),
        "candidates": len(candidates),
    }
    columns = {name: tuple(values[place] for place in kept) for name, values in columns.items()}
    return _windows([candidates[place] for place in kept], texts, rules, around, columns, source)


def _chosen_texts(
    texts: Texts,
    marks: Sequence[tuple[int, ...]],
    labels: Labels,
    rules: CutRules,
    at: str | int,
    rng: np.random.Generator,
) -> list[int]:
    """The texts to look at."""
    usable = [row for row, text in enumerate(texts.texts) if text.strip() and (at != "marked" or marks[row])]
    first = next(iter(labels.values()), (None,) * len(texts))
    of = strata([first[row] for row in usable])
    most = rules.count if at == "end" else _SPARE * rules.count
    return [usable[place] for place in sample(of, usable, most, rng)]


def _read(
    texts: Sequence[str], chosen: Sequence[int], around: Frame, tagger: Tagger | None, progress: Progress
) -> Iterator[tuple[int, Framed, tuple[TaggedWord, ...]]]:
    """The chosen texts with their tokens and words."""
    stage = "tokenising texts" if tagger is None else "tagging texts"
    progress(stage, 0, len(chosen))
    done = 0
    for some in batched(chosen, _TOGETHER):
        words = ((),) * len(some) if tagger is None else tagger.tag([texts[row] for row in some])
        for row, found in zip(some, words, strict=True):
            yield row, around.tokenise(texts[row]), found
        done += len(some)
        progress(stage, done, len(chosen))


def _places(
    at: str | int, text: str, framed: Framed, words: tuple[TaggedWord, ...], marks: Sequence[int], length: int
) -> list[int]:
    """How many tokens of a text stand before each place at which a window may end."""
    tokens = framed.tokens
    if at == "end" or not tokens.ids:
        return places.last(tokens)
    if at == "marked":
        if places.divided(text, tokens, marks):
            _log.warning("a mark stands inside a token; the window ends before that token: %.60s", text)
        return places.at_marks(tokens, marks)
    if at == "word":
        return places.before_words(text, tokens, words, length)
    return places.every(tokens, int(at), length)


def _columns(candidates: Sequence[_Candidate], labels: Labels, tagged: bool) -> Labels:
    """The labels of the candidates, the user's first."""
    columns: Labels = {name: tuple(values[one.text] for one in candidates) for name, values in labels.items()}
    if tagged:
        columns |= word_labels([words_around(one.words, one.character) for one in candidates])
    return columns


def _sampled(candidates: Sequence[_Candidate], columns: Labels, rules: CutRules, rng: np.random.Generator) -> list[int]:
    """The candidates that become windows."""
    if not candidates:
        raise InvalidInputError(
            "no text gives a window", where="text", remedy='Give longer texts, a smaller k, or at="end".'
        )
    if len(candidates) < rules.count:
        _log.info("%d windows, fewer than the %d asked for: there are no more", len(candidates), rules.count)
    first = next(iter(columns.values()), (None,) * len(candidates))
    return sample(strata(first), [one.text for one in candidates], rules.count, rng)


def _windows(
    kept: Sequence[_Candidate],
    texts: Texts,
    rules: CutRules,
    around: Frame,
    columns: Labels,
    source: Mapping[str, Any],
) -> TextWindows:
    end = source["rules"]["at"] == "end"
    cuts = [Cut(one.framed, max(one.tokens - rules.length, 0), one.tokens, end) for one in kept]
    return TextWindows(
        **laid_out(cuts, rules.padding, padding_token(around.tokenizer)),
        text_index=torch.tensor([one.text for one in kept], dtype=torch.int64),
        character=torch.tensor([one.character for one in kept], dtype=torch.int64),
        after=tuple(texts.texts[one.text][one.character : one.character + _AFTER] for one in kept),
        labels={name: values for name, values in columns.items() if any(value is not None for value in values)},
        source=source,
        seed=rules.seed,
    )


def _offsets(offsets: Any) -> str | None:
    return offsets if offsets is None or isinstance(offsets, str) else "given"
