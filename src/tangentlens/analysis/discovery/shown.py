"""How an input is shown to a person: as a picture, a text, a row of a table, or a series."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from tangentlens.analysis.discovery.thumbnails import Bounds, bounds_of, channels_last, is_picture, pixels
from tangentlens.errors import InvalidInputError
from tangentlens.models.inputs import Inputs

ShownKind = Literal["image", "text", "table", "series"]
KINDS: tuple[ShownKind, ...] = get_args(ShownKind)

MOST_COLUMNS = 24  # a row of more numbers is a series, unless its columns have names
_MOST_TOKENS = 64
_MOST_LINES = 8
_SMALLEST_SIDE = 4  # of a picture that is recognised by its shape


@dataclass(frozen=True)
class Shown:
    """How every input is shown.

    Attributes:
        kind: "image", "text", "table" or "series".
        item: index -> (H, W) or (H, W, 3) uint8; a string; (w,) numbers; (T, c) numbers.
        columns: names of a table's columns.
        values: what is shown of all inputs, numbers only; None where each is made when it is asked for.
    """

    kind: ShownKind
    item: Callable[[int], Any] = field(repr=False)
    columns: tuple[str, ...] = ()
    values: Tensor | None = field(default=None, repr=False)


def read_shown(
    show: Any,
    inputs: Inputs,
    N: int,
    *,
    given: Any = None,
    columns: Any = None,
    left_out: int = 0,
) -> Shown | None:
    """How the inputs are shown; None where nothing is said and their shape does not make it certain.

    Args:
        show: "image", "text", "table" or "series", of the inputs themselves; a sequence with something for each input:
            strings, pictures of PIL, or an array of pictures, series or rows; a data frame; a tokenizer, which turns
            integer tokens to text; a function index -> string, picture, numbers; or None for a guess.
        inputs: one batch.
        N: number of inputs.
        given: the inputs as the user gave them; a data frame names its columns.
        columns: names of the columns of a table.
        left_out: inputs that `limit` left out; a sequence may have something for them too.

    Raises:
        InvalidInputError: it shows nothing, or not each input; names what to give.
    """
    tensors = _tensors(inputs)
    named = _column_names(columns, given)
    if show is None:
        shown = _guessed(tensors, inputs, named)
    elif isinstance(show, str):
        shown = _of_inputs(show, tensors, inputs)
    elif hasattr(show, "decode") and not isinstance(show, bytes | bytearray):
        shown = _tokens(_token_tensor(tensors), inputs, show.decode)
    elif hasattr(show, "columns") and hasattr(show, "iloc"):
        shown = _frame(show, N, left_out)
    elif callable(show):
        shown = _called(show, N, named)
    else:
        shown = _sequence(show, N, left_out, named)
    if shown is not None and shown.kind == "table":
        return _with_names(shown, named, strict=columns is not None)
    if columns is not None and not any(each.ndim == 2 and each.shape[1] == len(named) for each in tensors):
        raise _refused(
            f"{len(named)} names of columns, but no inputs of shape (N, {len(named)})",
            "Give one name for each column of the inputs, or leave columns out.",
            "columns",
        )
    return shown


def _refused(what: str, remedy: str, where: str = "show") -> InvalidInputError:
    return InvalidInputError(what, where=where, remedy=remedy)


def _tensors(inputs: Inputs) -> tuple[Tensor, ...]:
    if isinstance(inputs, Tensor):
        return (inputs,)
    return tuple(inputs.values() if isinstance(inputs, Mapping) else inputs)


def _column_names(columns: Any, given: Any) -> tuple[str, ...]:
    if columns is not None:
        names = () if isinstance(columns, str) or not hasattr(columns, "__iter__") else tuple(columns)
        if not names or not all(isinstance(name, str) for name in names):
            raise _refused("the columns are no names", "Give a list of strings, one for each column.", "columns")
        return names
    if hasattr(given, "columns") and hasattr(given, "iloc"):
        return tuple(map(str, given.columns))
    return ()


def _with_names(shown: Shown, named: tuple[str, ...], *, strict: bool) -> Shown:
    width = len(shown.item(0))
    if strict and len(named) != width:
        raise _refused(
            f"{len(named)} names for {width} columns", "Give one name for each column of the table.", "columns"
        )
    if shown.columns and not strict:
        return shown
    names = named if len(named) == width else tuple(f"column {i}" for i in range(width))
    return Shown("table", shown.item, names, shown.values)


# ---- of the inputs themselves


def _guessed(tensors: Sequence[Tensor], inputs: Inputs, named: tuple[str, ...]) -> Shown | None:
    """By shape, where that is certain: pictures, few columns, long series, tokens."""
    first = tensors[0]
    shape = first.shape
    if first.ndim == 4 and shape[1] in (1, 3) and min(shape[2:]) >= _SMALLEST_SIDE:
        return _pictures(first)
    if named and first.ndim == 2 and shape[1] == len(named):
        return _rows(first)
    if not first.is_floating_point():
        return _tokens(first, inputs, None) if first.ndim == 2 and first.dtype != torch.bool else None
    return _guessed_numbers(first)


def _guessed_numbers(first: Tensor) -> Shown | None:
    """Few columns, many columns, long series of few lines."""
    if first.ndim == 2:
        return _rows(first) if first.shape[1] <= MOST_COLUMNS else _lines(first)
    if first.ndim == 3 and first.shape[2] <= _MOST_LINES and first.shape[1] > first.shape[2]:
        return _lines(first)
    return None


def _of_inputs(show: str, tensors: Sequence[Tensor], inputs: Inputs) -> Shown:
    if show not in KINDS:
        raise _refused(f"show={show!r}", f"Choose {', '.join(KINDS)}, or give a sequence or a function.")
    if show == "text":
        return _tokens(_token_tensor(tensors), inputs, None)
    fits, make, wanted = {
        "image": (_is_image, _pictures, "(N, H, W), (N, C, H, W) or (N, H, W, C) with 1, 3 or 4 channels"),
        "table": (_is_table, _rows, "(N, w)"),
        "series": (_is_series, _lines, "(N, T) or (N, T, c)"),
    }[show]
    chosen = next((each for each in tensors if fits(each)), None)
    if chosen is None:
        shapes = ", ".join(str(tuple(each.shape)) for each in tensors)
        raise _refused(
            f"inputs of shape {shapes} are not shown as {show}: it takes {wanted}",
            "Give show= a sequence with something for each input, or a function index -> shown.",
        )
    return make(chosen)


def _is_table(tensor: Tensor) -> bool:
    return tensor.ndim == 2


def _is_series(tensor: Tensor) -> bool:
    return tensor.ndim in (2, 3)


def _is_image(tensor: Tensor) -> bool:
    shape = tuple(tensor.shape[1:])
    if len(shape) == 1:
        return shape[0] >= _SMALLEST_SIDE**2 and math.isqrt(shape[0]) ** 2 == shape[0]
    return channels_last(shape) is not None


def _pictures(tensor: Tensor) -> Shown:
    """Pictures on one scale of brightness; rows of a square number of values are squares."""
    values = tensor.detach().cpu()
    if values.ndim == 2:
        side = math.isqrt(values.shape[1])
        values = values.reshape(-1, side, side)
    bounds = _bounds(values)
    return Shown("image", lambda i: pixels(_numbers(values[i]), bounds), values=values)


def _bounds(values: Tensor) -> Bounds:
    finite = values.to(torch.float32).nan_to_num(posinf=0, neginf=0)
    return bounds_of(float(finite.min()), float(finite.max()))


def _rows(tensor: Tensor) -> Shown:
    values = tensor.detach().cpu()
    return Shown("table", lambda i: _numbers(values[i]), values=values)


def _lines(tensor: Tensor) -> Shown:
    values = tensor.detach().cpu()
    return Shown("series", lambda i: _numbers(values[i]).reshape(len(values[i]), -1), values=values)


def _numbers(values: Tensor) -> np.ndarray:
    found: np.ndarray = values.to(torch.float64).numpy()
    return found


def _token_tensor(tensors: Sequence[Tensor]) -> Tensor:
    found = next((each for each in tensors if not each.is_floating_point() and each.ndim == 2), None)
    if found is None:
        raise _refused("the inputs are no tokens of a text", "Give show= a list with the text of each input.")
    return found


def _tokens(tensor: Tensor, inputs: Inputs, decode: Callable[[list[int]], Any] | None) -> Shown:
    """Integer tokens as their text, or as their numbers; those that a mask leaves out are not shown."""
    values = tensor.detach().cpu()
    mask = inputs.get("attention_mask") if isinstance(inputs, dict) else None
    kept = None if mask is None or mask.shape != tensor.shape else mask.detach().cpu().bool()

    def item(i: int) -> str:
        ids = (values[i] if kept is None else values[i][kept[i]]).tolist()
        if decode is not None:
            return str(decode(ids))
        return " ".join(map(str, ids[:_MOST_TOKENS])) + (" …" if len(ids) > _MOST_TOKENS else "")

    if decode is not None:
        _tried(item, "the tokenizer", 0)
    return Shown("text", item)


# ---- given beside the inputs


def _check_length(length: int, N: int, left_out: int) -> None:
    if length not in (N, N + left_out):
        raise _refused(f"{length} entries for {N} inputs", "Give something for each input, in their order.")


def _frame(show: Any, N: int, left_out: int) -> Shown:
    _check_length(len(show), N, left_out)
    names = tuple(map(str, show.columns))
    numbers = all(getattr(show[name].dtype, "kind", "O") in "biuf" for name in show.columns)
    if numbers:
        values = torch.from_numpy(np.array(show.to_numpy(dtype=np.float64)))
        return Shown("table", lambda i: _numbers(values[i]), names, values)
    columns = [show[name].tolist() for name in show.columns]

    def item(i: int) -> str:
        return ", ".join(f"{name} {column[i]}" for name, column in zip(names, columns, strict=True))

    return Shown("text", item)


def _sequence(show: Any, N: int, left_out: int, named: tuple[str, ...]) -> Shown:
    if not hasattr(show, "__len__") or not hasattr(show, "__getitem__") or isinstance(show, Mapping):
        raise _refused(
            f"a {type(show).__name__} shows no inputs",
            f"Choose {', '.join(KINDS)}, or give a sequence with something for each input, or a function of its index.",
        )
    _check_length(len(show), N, left_out)
    array = show if isinstance(show, Tensor) else show if isinstance(show, np.ndarray) else None
    if array is not None and (isinstance(array, Tensor) or array.dtype.kind in "biuf"):
        return _array(torch.as_tensor(array)[:N], named)
    if isinstance(show[0], str):
        other = next((i for i in range(N) if not isinstance(show[i], str)), None)
        if other is not None:
            raise _refused(f"entry {other} is a {type(show[other]).__name__}, not a string", "Give a string for each.")
    return _called(show.__getitem__, N, named)


def _array(values: Tensor, named: tuple[str, ...]) -> Shown:
    """An array with something for each input, by its shape."""
    if values.ndim == 1:
        return _rows(values[:, None])
    if values.ndim == 2:
        return _rows(values) if values.shape[1] <= MOST_COLUMNS or len(named) == values.shape[1] else _lines(values)
    if values.ndim == 3 and min(values.shape[1:]) < _SMALLEST_SIDE:
        return _lines(values)
    if values.ndim in (3, 4) and _is_image(values):
        return _pictures(values)
    raise _refused(
        f"an array of shape {tuple(values.shape)} shows no inputs",
        "Give pictures (N, H, W), (N, C, H, W) or (N, H, W, C), series (N, T), or rows (N, w).",
    )


def _called(function: Callable[[int], Any], N: int, named: tuple[str, ...]) -> Shown:
    """Something for each index, of the kind that it is for the first; the last is tried too."""
    kind = _kind(_tried(function, "show", 0), named)
    item = _ITEMS[kind]

    def shown(i: int) -> Any:
        try:
            return item(_plain(function(int(i))))
        except InvalidInputError:
            raise
        except Exception as error:  # whatever a user's function raises
            raise _refused(f"input {i} cannot be shown as {kind}: {error}", "Give the same kind for each.") from error

    for tried in {0, N - 1}:
        shown(tried)
    return Shown(kind, shown)


def _tried(function: Callable[[int], Any], name: str, i: int) -> Any:
    try:
        return function(i)
    except Exception as error:  # whatever a user's function raises
        raise _refused(f"{name} fails on input {i}: {error}", "Give something that can be shown for each.") from error


def _plain(value: Any) -> Any:
    """A string or an array."""
    if isinstance(value, str):
        return value
    if is_picture(value):
        return np.asarray(value.convert("L" if value.getbands() in (("L",), ("1",)) else "RGB"))
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise _refused(
            f"a {type(value).__name__} cannot be shown", "Give strings, pictures, series or rows of numbers."
        )
    return array


def _kind(value: Any, named: tuple[str, ...]) -> ShownKind:
    plain = _plain(value)
    if isinstance(plain, str):
        return "text"
    if plain.ndim <= 1:
        return "table" if plain.size <= MOST_COLUMNS or len(named) == plain.size else "series"
    if channels_last(plain.shape) is not None:
        return "image"
    raise _refused(f"an array of shape {plain.shape} cannot be shown", "Give (H, W), (C, H, W) or (H, W, C).")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} is no text")
    return value


def _picture(value: Any) -> np.ndarray:
    array = np.asarray(value)
    bounds = (0.0, 255.0) if array.dtype == np.uint8 else bounds_of(float(array.min()), float(array.max()))
    return pixels(array, bounds)


_ITEMS: dict[ShownKind, Callable[[Any], Any]] = {
    "text": _text,
    "image": _picture,
    "table": lambda value: np.asarray(value, dtype=np.float64).reshape(-1),
    "series": lambda value: np.asarray(value, dtype=np.float64).reshape(-1, 1),
}
