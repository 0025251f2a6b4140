"""The inputs of an analysis, from whatever holds them: tensors, arrays, data sets, loaders, processors' output."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from tangentlens.errors import InvalidInputError
from tangentlens.models.inputs import Inputs, as_inputs, batch_size, take
from tangentlens.progress import Progress, silent


@dataclass(frozen=True)
class Batch:
    """What a model is called with, and the labels that a data set held beside it.

    Attributes:
        inputs: a tensor, a tuple or a dict of tensors, N examples.
        labels: the second entries of a data set's pairs, or an entry called labels; None where there are none.
        N: number of examples.
        left_out: examples that `limit` left out.
    """

    inputs: Inputs
    labels: Tensor | None
    N: int
    left_out: int = 0


_LABELS = ("labels", "label", "targets", "target", "y")


def read_inputs(
    inputs: Any, model: nn.Module, *, limit: Any = None, memory: int | float, progress: Progress = silent
) -> Batch:
    """All examples as one batch.

    Args:
        inputs: a tensor, an array, a tuple or a mapping of such; or a Dataset or DataLoader, read once and in order.
            Of a data set's examples a pair is (input, label); an entry called labels or targets is the label.
        model: whose first parameter gives real numbers their dtype and device.
        limit: first examples to read; all by default.
        memory: bytes that the examples of a data set may take.
        progress: receives the examples of a data set.

    Raises:
        InvalidInputError: nothing to call a model with, ragged examples, or more than memory holds.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 2):
        raise InvalidInputError(f"limit={limit!r}", where="limit", remedy="Give a number of examples, at least 2.")
    like = next(model.parameters(), torch.zeros(()))
    if isinstance(inputs, DataLoader | Dataset) or _is_table(inputs):
        return _read_examples(inputs, like, limit, memory, progress)
    batch = as_inputs(_plain(inputs), like)
    N = batch_size(batch)
    kept = N if limit is None else min(limit, N)
    return Batch(_on_device(batch if kept == N else take(batch, slice(0, kept)), like), None, kept, N - kept)


def _is_table(inputs: Any) -> bool:
    """A data set of the hub: it has columns, and rows by number."""
    return hasattr(inputs, "column_names") and hasattr(inputs, "__getitem__")


def _plain(inputs: Any) -> Any:
    """A processor's output as a dict; a data frame as its numbers."""
    if isinstance(inputs, Mapping):
        return {key: value for key, value in inputs.items() if value is not None}
    return inputs.to_numpy() if hasattr(inputs, "to_numpy") else inputs


def _on_device(batch: Inputs, like: Tensor) -> Inputs:
    def moved(tensor: Tensor) -> Tensor:
        return tensor.to(like.device)

    if isinstance(batch, Tensor):
        return moved(batch)
    if isinstance(batch, dict):
        return {name: moved(tensor) for name, tensor in batch.items()}
    return tuple(moved(tensor) for tensor in batch)


def _read_examples(inputs: Any, like: Tensor, limit: int | None, memory: int | float, progress: Progress) -> Batch:
    pieces: list[Any] = []
    read, used = 0, 0.0
    total = _length(inputs)
    for piece in _pieces(inputs):
        pieces.append(piece)
        read += _rows(piece)
        used += _bytes(piece)
        progress("reading inputs", read, total or read + 1)
        if used > memory:
            raise InvalidInputError(
                f"{read} examples take {used / 2**30:.1f} GiB, more than the memory budget of {memory / 2**30:.1f} GiB",
                where="inputs",
                remedy=f"Give limit={max(2, int(read * memory / used))} or a larger memory_budget.",
            )
        if limit is not None and read >= limit:
            break
    if not pieces:
        raise InvalidInputError("the data set is empty", where="inputs", remedy="Give at least two examples.")
    batch, labels = _joined(pieces)
    kept = read if limit is None else min(limit, read)
    batch = as_inputs(take(batch, slice(0, kept)), like)
    left = max(0, (total or read) - kept)
    return Batch(_on_device(batch, like), None if labels is None else labels[:kept].cpu(), batch_size(batch), left)


def _length(inputs: Any) -> int:
    try:
        return len(inputs.dataset) if isinstance(inputs, DataLoader) else len(inputs)  # type: ignore[arg-type]
    except TypeError:
        return 0


def _pieces(inputs: Any) -> Iterable[Any]:
    """Batches of a loader; examples of a data set, each a batch of one."""
    if isinstance(inputs, DataLoader):
        yield from inputs
        return
    examples = inputs if isinstance(inputs, IterableDataset) else (inputs[i] for i in range(len(inputs)))
    for example in examples:
        yield _as_one(example)


def _as_one(example: Any) -> Any:
    if isinstance(example, Mapping):
        return {name: _as_one(value) for name, value in example.items()}
    if isinstance(example, tuple) or (isinstance(example, list) and any(isinstance(p, Tensor) for p in example)):
        return tuple(_as_one(part) for part in example)
    try:
        return torch.as_tensor(np.asarray(example) if not isinstance(example, Tensor) else example)[None]
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"an example of the data set is a {type(example).__name__}",
            where="inputs",
            remedy="Give a data set whose examples are tensors, arrays, pairs or dicts of them.",
        ) from error


def _tensors(piece: Any) -> Sequence[Tensor]:
    if isinstance(piece, Tensor):
        return (piece,)
    parts = piece.values() if isinstance(piece, Mapping) else piece
    return tuple(part for part in parts if isinstance(part, Tensor))


def _rows(piece: Any) -> int:
    tensors = _tensors(piece)
    return len(tensors[0]) if tensors and tensors[0].ndim else 1


def _bytes(piece: Any) -> float:
    return float(sum(tensor.numel() * tensor.element_size() for tensor in _tensors(piece)))


def _joined(pieces: Sequence[Any]) -> tuple[Inputs, Tensor | None]:
    first = pieces[0]
    try:
        if isinstance(first, Mapping):
            columns = {
                str(name): torch.cat([piece[name] for piece in pieces])
                for name, value in first.items()
                if isinstance(value, Tensor)
            }
            named = next((name for name in _LABELS if name in columns), None)
            labels = columns.pop(named) if named else None
            return columns, labels
        if isinstance(first, tuple | list):
            parts = [torch.cat([piece[place] for piece in pieces]) for place in range(len(first))]
            inputs, last = (parts[:-1], parts[-1]) if len(parts) > 1 else (parts, None)
            return (inputs[0] if len(inputs) == 1 else tuple(inputs)), last
        return torch.cat(list(pieces)), None
    except (RuntimeError, TypeError, KeyError) as error:
        raise InvalidInputError(
            f"the examples cannot be made one batch: {error}",
            where="inputs",
            remedy="Pad or crop them to one shape (for texts: padding='max_length').",
        ) from error
