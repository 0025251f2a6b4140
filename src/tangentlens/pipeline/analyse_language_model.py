"""`tangentlens.analyse_language_model`: one call from a language model and a text to a stored run with its page."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from tangentlens.errors import InvalidInputError
from tangentlens.language.model import LanguageModel, language_model
from tangentlens.language.sweep.groups import LanguageGroups
from tangentlens.language.text_analysis.case import TextOptions, check_options, reinitialised, text_case
from tangentlens.language.windows.cut_rules import CutRules, check_rules
from tangentlens.language.windows.cutting import cut_windows
from tangentlens.language.windows.generated import WritingRules, written_stories
from tangentlens.language.windows.labelling import Tagger
from tangentlens.language.windows.labelling import tagger as tagger_of
from tangentlens.language.windows.text_labels import check_labels, read_labels
from tangentlens.language.windows.text_windows import TextWindows, retokenised
from tangentlens.language.windows.text_windows_file import read_text_windows
from tangentlens.language.windows.texts import Texts, read_texts
from tangentlens.pipeline.language_model import WINDOWS, analyse_text, model_name
from tangentlens.progress import Progress
from tangentlens.progress.listeners import listener
from tangentlens.report.notebook import Run, open_run

WRITTEN = "written"  # text that the model writes itself
NO_MODEL = "none"  # untrained=None, as a config can hold it
_STORIES_FOR_A_WINDOW = 0.5  # that the model writes


def analyse_language_model(
    model: str | Path | nn.Module | LanguageModel,
    text: Any = None,
    *,
    labels: Any = None,
    label_columns: Sequence[str] | None = None,
    column: str = "text",
    tagger: Tagger | str | None = None,
    windows: int | str | Path | TextWindows = 256,
    length: int = 64,
    at: str | int | None = None,
    mark: str = "⟦⟧",
    bos: bool = False,
    template: bool | str = False,
    groups: LanguageGroups = "down_proj",
    geometry: str = "fisher",
    modes: int = 25,
    directions: int = 24,
    untrained: Any = "reinitialise",
    tokenizer: Any = None,
    permutations: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    out: str | Path | None = None,
    title: str = "",
    seed: int = 0,
    progress: bool | Callable[[str, int, int], None] | None = True,
) -> Run:
    """Find the features of a text that a language model holds, say how sure that is, and write a page about it.

    Windows are cut from the text by a rule. One sweep gives the leading modes of every group of parameters on them.
    Labels, if there are any, are compared with the modes, mode and sign chosen on half of the texts and scored on the
    others, beside the same architecture untrained and beside activations of the model. Without labels every mode is
    described by its windows, its tokens and the facts that it goes with.

    Args:
        model: a model id of the hub, a folder, a GGUF file, a model of transformers, or what `tl.language_model` gave.
        text: strings; the path of a .txt, .jsonl or .parquet; "hub:NAME"; a data set or data frame; "written" for
            stories that the model writes itself; None where `windows` is a run.
        labels: name -> one value a text, or a rule (a function of the text, a regular expression); names of columns of
            the text's own table; a file or data frame with one row a text; None. Values are strings, Booleans,
            numbers, lists of strings, or missing.
        label_columns: of a file or data frame, those to take.
        column: of a table, the one that holds the text.
        tagger: a spaCy pipeline by name, or "stanza:LANGUAGE": adds part of speech, morphology and dependency of the
            next, current and previous word. None: no tagger, and none is imported.
        windows: how many at most; or the folder of a run, or its `TextWindows`, to use those again.
        length: tokens of a window, at most.
        at: where a window ends: "end" of a text, "word", "marked", or at every k-th token; None: "end" with labels,
            "word" with a tagger, else every 16th token.
        mark: what marks a place, for at="marked".
        bos: put the beginning-of-text token in front of every window.
        template: put the model's chat template, or this one, around every window.
        groups, geometry, modes, directions: of the sweep, as `tl.sweep` takes them.
        untrained: "reinitialise" for the same architecture with its parameters drawn anew, a model, or None.
        tokenizer: of a model that is given as a module, or instead of its own.
        permutations: of every label; by default 100 for each row of the table, at least 999.
        resume: go on from an interrupted analysis of the same arguments.
        overwrite: replace a complete run once the new one is complete.
        out: the run's folder; by default runs/<the model's name>, which replaces its own earlier run.
        title: of the page.
        seed: of every random choice.
        progress: True for bars on stderr, False for silence, or a function (stage, done, total).

    Returns:
        The run: `run.report`, `run.table("alignment")`, `run.card(6, group=...)`.

    Raises:
        InvalidInputError: an argument cannot be used; names which. Nothing long has started by then.
        UnsupportedModelError: the model cannot be analysed.
        MissingExtraError: a package that reads the model, the text or the labels is not installed.
        StoreError: the folder cannot be written.
    """
    options = TextOptions(groups, geometry, modes, directions, seed=seed, permutations=permutations)
    check_options(options)
    rules = _rules(windows, CutRules(at=at, length=length, seed=seed, bos=bos, template=template, mark=mark))
    check_labels(labels, label_columns)
    untrained = NO_MODEL if untrained is None else untrained
    called = _replayable(locals())
    with listener(progress) as shown:
        read = None if rules is None else _Read(text, labels, label_columns, column, tagger)
        lm = _model(model, tokenizer, shown)
        cut = _stored_windows(windows, lm) if read is None or rules is None else read.windows(lm, rules, shown)
        case = text_case(lm, cut, options, untrained=_untrained(lm, untrained, seed))
        folder = Path(out) if out is not None else Path("runs") / model_name(case)
        path = analyse_text(
            case, folder, called=called, title=title, overwrite=overwrite or out is None, resume=resume, progress=shown
        )
    return open_run(path)


def _rules(windows: Any, rules: CutRules) -> CutRules | None:
    """How windows are cut; None where they are those of a run."""
    count = isinstance(windows, int) and not isinstance(windows, bool)
    rules = replace(rules, count=windows) if count else rules
    check_rules(rules)
    return rules if count else None


class _Read:
    """Texts, labels and tagger, read before the model is loaded; texts that the model writes come later."""

    def __init__(self, text: Any, labels: Any, columns: Sequence[str] | None, column: str, tagger: Any) -> None:
        self._texts = None if _is_written(text) else read_texts(_text(text), column=column)
        self._labels, self._columns = labels, columns
        self._known = None if self._texts is None else read_labels(labels, self._texts, columns)
        self._tagger = None if tagger is None else _tagger(tagger)

    def windows(self, lm: LanguageModel, rules: CutRules, progress: Progress) -> TextWindows:
        """Windows in the model's tokens."""
        texts = self._texts or _written(lm, rules, rules.seed, progress)
        known = self._known if self._known is not None else read_labels(self._labels, texts, self._columns)
        return cut_windows(texts, lm.tokenizer, rules, labels=known, tagger=self._tagger, progress=progress)


def _is_written(text: Any) -> bool:
    return isinstance(text, str) and text == WRITTEN


def _text(text: Any) -> Any:
    if text is None:
        raise InvalidInputError(
            "there is no text", where="text", remedy='Give strings or a file; "written": the model writes it itself.'
        )
    return text


def _tagger(tagger: Tagger | str) -> Tagger:
    return tagger_of(tagger, dependencies=True) if isinstance(tagger, str) else tagger


def _model(model: Any, tokenizer: Any, progress: Progress) -> LanguageModel:
    if isinstance(model, LanguageModel):
        lm = model
    elif isinstance(model, str | Path | nn.Module):
        lm = language_model(model, tokenizer=tokenizer, progress=progress)
    else:
        raise InvalidInputError(
            f"a {type(model).__name__} is no language model",
            where="model",
            remedy="Give a name, a folder, a GGUF file or a model of transformers.",
        )
    if lm.tokenizer is None:
        raise InvalidInputError(
            "the model has no tokenizer, and windows are cut from text",
            where="tokenizer",
            remedy="Give tokenizer=, or a folder that holds one.",
        )
    return lm


def _stored_windows(windows: Any, lm: LanguageModel) -> TextWindows:
    if isinstance(windows, TextWindows):
        return retokenised(windows, lm.tokenizer)
    if isinstance(windows, str | Path):
        path = Path(windows)
        path = path / WINDOWS if path.is_dir() else path
        if not path.is_file():
            raise InvalidInputError(
                "there are no windows", where=str(path), remedy="Give a number, or the folder of a run of a text."
            )
        return retokenised(read_text_windows(path), lm.tokenizer)
    raise InvalidInputError(
        f"a {type(windows).__name__} names no windows", where="windows", remedy="Give a number or a run's folder."
    )


def _written(lm: LanguageModel, rules: CutRules, seed: int, progress: Progress) -> Texts:
    stories = max(16, int(_STORIES_FOR_A_WINDOW * rules.count))
    writing = WritingRules(count=stories, tokens=max(96, 2 * rules.length), seed=seed)
    name = "" if lm.source is None else lm.source.name
    return read_texts(written_stories(lm.model, lm.tokenizer, writing, model_name=name, progress=progress))


def _untrained(lm: LanguageModel, untrained: Any, seed: int) -> LanguageModel | None:
    if untrained == NO_MODEL:
        return None
    if isinstance(untrained, LanguageModel):
        return untrained
    if untrained == "reinitialise":
        return language_model(reinitialised(lm, seed + 1), tokenizer=lm.tokenizer)
    if isinstance(untrained, str | Path | nn.Module):
        return language_model(untrained, tokenizer=lm.tokenizer)
    raise InvalidInputError(
        f"a {type(untrained).__name__} is no model",
        where="untrained",
        remedy='Give "reinitialise", None, or a model.',
    )


_NAMES = ("labels", "label_columns", "groups")  # arguments that may be a list in a run's config
_NO_ARGUMENTS = ("options", "rules", "resume", "overwrite", "out", "progress")


def _replayable(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that a config can hold; those that it cannot are named under "missing"."""
    kept: dict[str, Any] = {}
    missing = []
    for name, value in arguments.items():
        if name in _NO_ARGUMENTS or value is None:
            continue
        plain = str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        if isinstance(plain, str | int | float) or (name in _NAMES and _are_strings(plain)):
            kept[name] = plain
        else:
            missing.append(name)
    return {"arguments": kept, "missing": missing, "complete": not missing}


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
