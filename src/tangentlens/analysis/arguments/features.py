"""The features of an analysis: labels, numbers and spaces that a user has for every input, in one form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tangentlens.errors import InvalidInputError

Kind = Literal["binary", "real", "space"]

MOST_CLASSES = 64  # integers with more distinct values are numbers
_FEWEST = 4  # inputs of a class, and inputs outside it, that make it testable: two in either half


@dataclass(frozen=True)
class Feature:
    """One feature of the inputs.

    Attributes:
        name: of the feature; "digit = 3" for a class of a label.
        family: the name that the user gave.
        kind: "binary" is ranked (AUROC), "real" is regressed (R^2), "space" is compared as a subspace (overlap).
        values: (N, r) float64; r is 1 unless it is a space. Rows without a value hold 0.
        present: (N,) the inputs that have a value.
    """

    name: str
    family: str
    kind: Kind
    values: Float[Tensor, "N r"]
    present: Bool[Tensor, " N"]


@dataclass(frozen=True)
class FeatureSet:
    """The features that can be tested, and why others cannot.

    Attributes:
        features: those that can.
        refused: name -> reason.
        classes: name of a family of labels -> the names of its classes.
    """

    features: tuple[Feature, ...]
    refused: Mapping[str, str]
    classes: Mapping[str, tuple[str, ...]]

    def __len__(self) -> int:
        """How many can be tested."""
        return len(self.features)


def read_features(features: Any, N: int) -> FeatureSet:
    """Features in one form: integers and strings become indicators of their classes, complex numbers pairs.

    Args:
        features: name -> values, or a pandas data frame, whose columns are features. Values over the N inputs: Booleans
            (or 0 and 1) are labels; other integers and strings are classes, each an indicator, and all together a
            space; real numbers are regressed on; (N, r) matrices and complex numbers are spaces. None, NaN and missing
            values of pandas leave the input out of that feature.
        N: number of inputs.

    Raises:
        InvalidInputError: not a mapping of names to one value for each input; names which.
    """
    if features is None:
        return FeatureSet((), {}, {})
    found: list[Feature] = []
    refused: dict[str, str] = {}
    classes: dict[str, tuple[str, ...]] = {}
    for name, values in _named(features).items():
        read = _read(name, _array(name, values, N))
        if len(read) > 1:
            classes[name] = tuple(each.name for each in read[:-1])
        for feature in read:
            reason = _untestable(feature)
            if reason:
                refused[feature.name] = reason
            else:
                found.append(feature)
    return FeatureSet(tuple(found), refused, classes)


def _named(features: Any) -> dict[str, Any]:
    if hasattr(features, "columns") and hasattr(features, "to_numpy"):
        return {str(name): features[name] for name in features.columns}
    if not isinstance(features, Mapping) or not features:
        raise InvalidInputError(
            f"a {type(features).__name__} names no features",
            where="features",
            remedy='Give a dict, for example {"digit": labels}, or a data frame.',
        )
    return {str(name): values for name, values in features.items()}


def _array(name: str, values: Any, N: int) -> np.ndarray:
    """(N,) or (N, r) values, objects where they are no numbers."""
    where = f"features[{name!r}]"
    array: np.ndarray
    if isinstance(values, Tensor):
        held = values.detach().cpu()
        array = (held.float() if held.dtype == torch.bfloat16 else held).numpy()
    elif hasattr(values, "to_numpy"):
        array = values.to_numpy()
    else:
        try:
            array = np.asarray(values)
        except ValueError as error:
            raise InvalidInputError(
                "the values are ragged", where=where, remedy="Give one value, or one row, for each input."
            ) from error
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2) or array.shape[0] != N or not array.shape[-1]:
        raise InvalidInputError(
            f"values of shape {array.shape} for {N} inputs", where=where, remedy="Give one value for each input."
        )
    return array


def _read(name: str, array: np.ndarray) -> tuple[Feature, ...]:
    """The features of one entry: one, or the classes of a label and their space."""
    if np.iscomplexobj(array):
        columns = array.reshape(len(array), -1)
        array = np.concatenate([columns.real, columns.imag], axis=1)
    if array.ndim == 2:
        return (_space(name, array),)
    if array.dtype == bool:
        return (_feature(name, name, "binary", array.astype(float), np.ones(len(array), dtype=bool)),)
    if array.dtype == object or array.dtype.kind in "US":
        return _objects(name, array)
    present = np.isfinite(array)
    values = np.where(present, array, 0)
    if (values == np.round(values)).all() and array.dtype.kind in "iu":
        return _classes(name, values, present)
    if array.dtype.kind == "f" and np.isin(values[present], (0.0, 1.0)).all():
        return (_feature(name, name, "binary", values, present),)
    return (_feature(name, name, "real", values, present),)


def _objects(name: str, array: np.ndarray) -> tuple[Feature, ...]:
    """Columns of strings, of numbers with None, of pandas' missing values."""
    present = np.array([value is not None and value == value and str(value) != "<NA>" for value in array])
    kept = list(array[present])
    if _all(kept, (bool, np.bool_)):
        return (_feature(name, name, "binary", _filled(kept, present, 0.0), present),)
    if _all(kept, (int, np.integer)):
        return _classes(name, _filled(kept, present, 0.0), present)
    if _all(kept, (int, float, np.integer, np.floating)):
        return _read(name, _filled(kept, present, np.nan))
    return _classes(name, _filled([str(value) for value in kept], present, ""), present)


def _all(values: Sequence[Any], kinds: tuple[type, ...]) -> bool:
    return bool(values) and all(isinstance(value, kinds) for value in values)


def _filled(kept: Sequence[Any], present: np.ndarray, absent: float | str) -> np.ndarray:
    """The kept values at their places, `absent` at the others."""
    values = np.full(len(present), absent, dtype=object)
    values[present] = kept
    return values.astype(np.str_ if isinstance(absent, str) else np.float64)


def _classes(name: str, values: np.ndarray, present: np.ndarray) -> tuple[Feature, ...]:
    """An indicator for each class, then the space of all; two classes are one feature, many integers are numbers."""
    distinct = np.unique(values[present])
    if values.dtype.kind != "U" and len(distinct) > MOST_CLASSES:
        return (_feature(name, name, "real", values.astype(float), present),)
    if values.dtype.kind != "U" and set(distinct.tolist()) <= {0, 1}:
        return (_feature(name, name, "binary", values.astype(float), present),)
    indicators = np.stack([(values == one) & present for one in distinct], axis=1).astype(float)
    names = [f"{name} = {one if values.dtype.kind == 'U' else int(one)}" for one in distinct]
    if len(distinct) <= 2:
        return (_feature(names[-1], name, "binary", indicators[:, -1], present),)
    each = [_feature(one, name, "binary", column, present) for one, column in zip(names, indicators.T, strict=True)]
    return (*each, _feature(name, name, "space", indicators, present))


def _space(name: str, array: np.ndarray) -> Feature:
    if array.dtype.kind not in "biuf":
        raise InvalidInputError(
            f"a matrix of {array.dtype}", where=f"features[{name!r}]", remedy="Give columns of numbers."
        )
    present = np.isfinite(array).all(axis=1)
    return _feature(name, name, "space", np.where(present[:, None], array, 0).astype(float), present)


def _feature(name: str, family: str, kind: Kind, values: np.ndarray, present: np.ndarray) -> Feature:
    matrix = torch.from_numpy(np.array(values, dtype=np.float64).reshape(len(present), -1))
    return Feature(name, family, kind, matrix, torch.from_numpy(np.array(present)))


def _untestable(feature: Feature) -> str:
    """Why a feature cannot be tested; empty where it can."""
    there = feature.values[feature.present]
    if len(there) < 2 * _FEWEST:
        return f"{len(there)} inputs have a value, fewer than {2 * _FEWEST}"
    if feature.kind == "binary":
        positives = int(there.sum())
        if min(positives, len(there) - positives) < _FEWEST:
            return f"{positives} of {len(there)} inputs have it: at least {_FEWEST} must, and as many must not"
    elif bool((there.amax(dim=0) == there.amin(dim=0)).all()):
        return "it is the same for every input"
    return ""
