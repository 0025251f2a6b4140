"""Labels of texts as a user has them, columns, a table, rules over the text, in one form."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tangentlens.analysis.arguments.features import Feature, FeatureSet, read_features
from tangentlens.errors import InvalidInputError
from tangentlens.language.windows.tables import read_rows
from tangentlens.language.windows.texts import Texts

Value = str | bool | int | float | tuple[str, ...] | None
Labels = dict[str, tuple[Value, ...]]

_REMEDY = (
    'Give a dict such as {"question": re.compile(r"\\?$"), "long": lambda text: len(text) > 80, "lang": [...]}, '
    "a data frame, a table's path, or names of the text's own columns."
)


def check_labels(labels: Any, columns: Sequence[str] | None = None) -> None:
    """Look at labels before any text is read: a path, its columns, regular expressions, kinds.

    Raises:
        InvalidInputError: they cannot be read, whatever the texts are.
    """
    if isinstance(columns, str):
        raise InvalidInputError(
            "one string is no list of columns", where="columns", remedy=f'Give ("{columns}",) instead.'
        )
    if isinstance(labels, str | Path):
        _first_row(Path(labels), columns)
    elif isinstance(labels, Mapping):
        for name, values in labels.items():
            _check_column(str(name), values)
        if not labels:
            raise InvalidInputError("there are no labels in it", where="labels", remedy=_REMEDY)
    elif not (_is_rule(labels) or _is_frame(labels) or _is_names(labels) or labels is None):
        raise InvalidInputError(f"a {type(labels).__name__} names no labels", where="labels", remedy=_REMEDY)


def read_labels(labels: Any, texts: Texts, columns: Sequence[str] | None = None) -> Labels:
    """Labels of texts by name, each one value a text.

    Args:
        labels: None; names of columns of the texts' own table; a mapping from names to one value a text, or to a rule;
            a data frame; the path of a .jsonl or .parquet with one row a text; one rule. A rule is a function of the
            text, or a regular expression (compiled, or in a mapping its text) that is found in a text or not. Values
            are strings, Booleans, numbers, or a list of strings where a text has several classes; None, NaN and "" are
            missing.
        texts: what they label.
        columns: of a data frame or table, those to take; without labels, columns of the texts' own table. None: all
            of a data frame or table but its text column.

    Raises:
        InvalidInputError: a name, number of values or value cannot be used; names column and row.
    """
    check_labels(labels, columns)
    found: Labels = {}
    for name, values in _sources(labels, texts, columns).items():
        where = f"labels[{name!r}]"
        if _is_rule(values) or isinstance(values, str):
            found[name] = _ruled(values, texts.texts, where)
        else:
            found[name] = _column(values, len(texts), where)
        if all(value is None for value in found[name]):
            raise InvalidInputError("no text has a value", where=where, remedy="Fill the column, or leave it out.")
    return found


def label_features(labels: Mapping[str, Sequence[Value]], N: int) -> FeatureSet:
    """Labels as features of an analysis; each class is an indicator, and the classes of a column are one family.

    Raises:
        InvalidInputError: a column has not one value for each of the N inputs.
    """
    features: list[Feature] = []
    refused: dict[str, str] = {}
    classes: dict[str, tuple[str, ...]] = {}
    for name, values in labels.items():
        if all(value is None for value in values):
            refused[name] = "no input has a value"
            continue
        several = any(isinstance(value, tuple) for value in values)
        read = _several(name, values, N) if several else read_features({name: _plain(values)}, N)
        features.extend(read.features)
        refused.update(read.refused)
        classes.update(read.classes)
    return FeatureSet(tuple(features), refused, classes)


def _plain(values: Sequence[Value]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _several(name: str, values: Sequence[Value], N: int) -> FeatureSet:
    """Indicators of classes of which an input has any number."""
    sets = [None if value is None else set(value if isinstance(value, tuple) else (str(value),)) for value in values]
    every = sorted(set().union(*(each for each in sets if each is not None)))
    names = {f"{name} = {one}": one for one in every}
    columns = {label: _plain([None if each is None else one in each for each in sets]) for label, one in names.items()}
    read = read_features(columns, N) if columns else FeatureSet((), {name: "no input has a class"}, {})
    renamed = tuple(Feature(f.name, name, f.kind, f.values, f.present) for f in read.features)
    return FeatureSet(renamed, read.refused, {name: tuple(names)} if len(names) > 1 else {})


def _sources(labels: Any, texts: Texts, columns: Sequence[str] | None) -> Mapping[str, Any]:
    """Name -> values or a rule."""
    if labels is None or _is_names(labels):
        wanted = [*(labels or ()), *(columns or ())]
        return _chosen(texts.columns, wanted, f"the text's own table ({texts.source['place']})")
    if isinstance(labels, str | Path):
        return _table(Path(labels), texts, columns)
    if _is_frame(labels):
        frame = {str(name): labels[name] for name in labels.columns}
        return frame if columns is None else _chosen(frame, columns, "labels")
    if isinstance(labels, Mapping):
        own = _chosen(texts.columns, columns or (), f"the text's own table ({texts.source['place']})")
        return {**{str(name): values for name, values in labels.items()}, **own}
    name = labels.pattern if isinstance(labels, re.Pattern) else getattr(labels, "__name__", "label")
    return {str(name): labels}


def _table(path: Path, texts: Texts, columns: Sequence[str] | None) -> Mapping[str, Any]:
    rows = list(read_rows(path, None))
    if len(rows) != len(texts):
        raise InvalidInputError(
            f"{len(rows)} rows for {len(texts)} texts", where=str(path), remedy="Give one row for each text."
        )
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    text = texts.source.get("column", "text")
    table = {name: [row.get(name) for row in rows] for name in names}
    return _chosen(table, [name for name in names if name != text] if columns is None else columns, str(path))


def _chosen(table: Mapping[str, Any], columns: Sequence[str], where: str) -> Mapping[str, Any]:
    absent = [name for name in columns if name not in table]
    if absent:
        raise InvalidInputError(
            f"there is no column {', '.join(map(repr, absent))}",
            where=where,
            remedy=f"It has {sorted(table)}." if table else "It has no columns beside the text.",
        )
    return {name: table[name] for name in columns}


def _first_row(path: Path, columns: Sequence[str] | None) -> None:
    first = next(iter(read_rows(path, None)), None)
    if first is None:
        raise InvalidInputError("there is no row in it", where=str(path), remedy="Give another file.")
    if path.suffix == ".parquet":  # a row of a .jsonl may lack what another has
        _chosen(first, columns or (), str(path))


def _check_column(name: str, values: Any) -> None:
    where = f"labels[{name!r}]"
    if isinstance(values, str):
        _compiled(values, where)
    elif not (_is_rule(values) or hasattr(values, "__len__")) or isinstance(values, bytes | Mapping):
        raise InvalidInputError(
            f"a {type(values).__name__} gives no values",
            where=where,
            remedy="Give one value for each text, a function of the text, or a regular expression.",
        )


def _is_rule(labels: Any) -> bool:
    return isinstance(labels, re.Pattern) or callable(labels)


def _is_frame(labels: Any) -> bool:
    return hasattr(labels, "columns") and hasattr(labels, "to_numpy")


def _is_names(labels: Any) -> bool:
    return isinstance(labels, list | tuple) and bool(labels) and all(isinstance(name, str) for name in labels)


def _compiled(pattern: str, where: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InvalidInputError(
            f"{pattern!r} is no regular expression: {error}",
            where=where,
            remedy="Mend it; for values give a list with one for each text.",
        ) from error


def _ruled(rule: Any, texts: Sequence[str], where: str) -> tuple[Value, ...]:
    if isinstance(rule, str):
        rule = _compiled(rule, where)
    if isinstance(rule, re.Pattern):
        return tuple(rule.search(text) is not None for text in texts)
    values = [_called(rule, text, f"{where}, text {row}") for row, text in enumerate(texts)]
    if any(isinstance(value, re.Match) for value in values):
        values = [isinstance(value, re.Match) for value in values]
    return _column(values, len(texts), where)


def _called(rule: Callable[[str], Any], text: str, where: str) -> Any:
    try:
        return rule(text)
    except Exception as error:  # a user's function may raise anything
        raise InvalidInputError(
            f"the rule failed: {error!r}", where=where, remedy="Let it return None where a text has no value."
        ) from error


def _column(values: Any, N: int, where: str) -> tuple[Value, ...]:
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    if not isinstance(listed, list) or len(listed) != N:
        count = len(listed) if isinstance(listed, list) else 1
        raise InvalidInputError(
            f"{count} values for {N} texts", where=where, remedy="Give one value for each text, None where it has none."
        )
    return tuple(_value(value, f"{where}, text {row}") for row, value in enumerate(listed))


def _value(value: Any, where: str) -> Value:
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if isinstance(value, list | tuple | set | frozenset):
        if not all(isinstance(one, str) for one in value):
            raise InvalidInputError(
                f"{value!r} holds more than strings", where=where, remedy="Give a list of the names of its classes."
            )
        return tuple(sorted(set(value)))
    if value is None or (value == "" if isinstance(value, str) else str(value) in ("<NA>", "NaT")):
        return None
    if isinstance(value, float):
        return _number(value, where)
    if isinstance(value, str | bool | int):
        return value
    raise InvalidInputError(
        f"a {type(value).__name__} is no label",
        where=where,
        remedy="Give strings, Booleans, numbers or lists of names.",
    )


def _number(value: float, where: str) -> float | None:
    if math.isinf(value):
        raise InvalidInputError("the value is infinite", where=where, remedy="Give a number, or None.")
    return None if math.isnan(value) else value
