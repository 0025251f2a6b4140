"""Windows of text with any labels: the record that an analysis of a language model is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from tangentlens.analysis.arguments.features import FeatureSet
from tangentlens.errors import InvalidInputError
from tangentlens.language.windows.special_tokens import Framed, described, frame, padding_token
from tangentlens.language.windows.text_labels import Value, label_features

PADDING = ("right", "left")


@dataclass(frozen=True)
class TextWindows:
    """N windows of at most T tokens, each a piece of a text that ends where the model's outputs are analysed.

    Attributes:
        input_ids: (N, T) tokens; shorter windows are padded.
        attention_mask: (N, T) 1 for a token, 0 for padding, on either side.
        special: (N, T) the tokens that were added: beginning of text, chat template.
        position: (N,) the token whose outputs are analysed: each window's last one.
        text_index: (N,) the text that each was cut from; windows of one text may overlap.
        character: (N,) the place in that text where the window ends.
        text: the text of each window, without what was added.
        token_text: the text of each token, "" for padding; those that were not added make up `text`.
        after: what stands after the window in its text, a few words.
        labels: column -> one value a window, None where there is none; a tuple of strings holds several classes.
        source: text, rule, tagger, tokenizer, special tokens, and how many candidates there were.
        seed: of the sample.
    """

    input_ids: Int[Tensor, "N T"]
    attention_mask: Int[Tensor, "N T"]
    special: Bool[Tensor, "N T"]
    position: Int[Tensor, " N"]
    text_index: Int[Tensor, " N"]
    character: Int[Tensor, " N"]
    text: tuple[str, ...]
    token_text: tuple[tuple[str, ...], ...]
    after: tuple[str, ...]
    labels: Mapping[str, tuple[Value, ...]]
    source: Mapping[str, Any]
    seed: int

    def __len__(self) -> int:
        """N."""
        return len(self.text)

    @property
    def batch(self) -> dict[str, Tensor]:
        """input_ids and, where a window is padded, attention_mask: what a sweep takes."""
        whole = bool(self.attention_mask.all())
        return {"input_ids": self.input_ids} | ({} if whole else {"attention_mask": self.attention_mask})

    @property
    def padding(self) -> str:
        """The side on which windows are padded."""
        return str(self.source["rules"]["padding"])

    def features(self) -> FeatureSet:
        """The labels that can be tested, as features of an analysis, and why others cannot."""
        return label_features(self.labels, len(self))


@dataclass(frozen=True)
class Cut:
    """A window before it is laid out.

    Attributes:
        framed: the tokenised text.
        first, last: its tokens from `first` up to `last`, not included.
        end: whether what stands after the text belongs to the window.
    """

    framed: Framed
    first: int
    last: int
    end: bool

    @property
    def ids(self) -> tuple[int, ...]:
        """The tokens of the window, those added included."""
        framed = self.framed
        return (*framed.before, *framed.tokens.ids[self.first : self.last], *(framed.after if self.end else ()))

    @property
    def added(self) -> tuple[bool, ...]:
        """Which of them were added."""
        framed = self.framed
        own = (False,) * (self.last - self.first)
        return (*(True,) * len(framed.before), *own, *(True,) * (len(framed.after) if self.end else 0))

    @property
    def token_text(self) -> tuple[str, ...]:
        """The text of each."""
        framed = self.framed
        return (
            *framed.before_text,
            *framed.pieces[self.first : self.last],
            *(framed.after_text if self.end else ()),
        )

    @property
    def text(self) -> str:
        """The text of the window, without what was added."""
        return "".join(self.framed.pieces[self.first : self.last])

    @property
    def character(self) -> int:
        """Where it ends in its text."""
        return self.framed.tokens.ends[self.last - 1]


def laid_out(cuts: Sequence[Cut], padding: str, token: int) -> dict[str, Any]:
    """The fields of `TextWindows` that hold tokens, padded on one side."""
    length = max(len(cut.ids) for cut in cuts)

    def padded(row: Sequence[Any], filler: Any) -> tuple[Any, ...]:
        missing = (filler,) * (length - len(row))
        return (*row, *missing) if padding == "right" else (*missing, *row)

    sizes = torch.tensor([len(cut.ids) for cut in cuts])
    return {
        "input_ids": torch.tensor([padded(cut.ids, token) for cut in cuts], dtype=torch.int64),
        "attention_mask": torch.tensor([padded((1,) * len(cut.ids), 0) for cut in cuts], dtype=torch.int64),
        "special": torch.tensor([padded(cut.added, False) for cut in cuts], dtype=torch.bool),
        "position": sizes - 1 if padding == "right" else torch.full_like(sizes, length - 1),
        "token_text": tuple(padded(cut.token_text, "") for cut in cuts),
        "text": tuple(cut.text for cut in cuts),
    }


def retokenised(windows: TextWindows, tokenizer: Any) -> TextWindows:
    """The same pieces of the same texts in the tokens of another tokenizer; labels and places stay.

    Where the tokens have the same numbers the windows come back as they are. Otherwise windows begin and end at the
    same characters, and may differ in their number of tokens; special tokens are those of the other tokenizer.

    Args:
        windows: windows of any tokenizer.
        tokenizer: the other one; it must be fast.

    Raises:
        InvalidInputError: the tokenizer has no such special tokens, or no token for a window.
    """
    other = described(tokenizer)
    if other["vocabulary_sha256"] == windows.source["tokenizer"]["vocabulary_sha256"]:
        return windows
    rules = windows.source["rules"]
    around = frame(tokenizer, bos=rules["bos"], template=rules["template"], answer=rules["at"] == "end")
    framed = [around.tokenise(text) for text in windows.text]
    empty = [row for row, one in enumerate(framed) if not one.tokens.ids]
    if empty:
        raise InvalidInputError(
            f"the tokenizer has no token for window {empty[0]}: {windows.text[empty[0]]!r}",
            where=other["name"],
            remedy="Leave the window out, or cut windows with this tokenizer.",
        )
    cuts = [Cut(one, 0, len(one.tokens.ids), end=True) for one in framed]
    source = {
        **windows.source,
        "tokenizer": other,
        "special": around.described,
        "cut_with": windows.source["tokenizer"],
        "note": "the same characters as the windows that were cut; the tokens differ",
    }
    kept = {name: getattr(windows, name) for name in ("text_index", "character", "after", "labels", "seed")}
    return TextWindows(**laid_out(cuts, windows.padding, padding_token(tokenizer)), **kept, source=source)
