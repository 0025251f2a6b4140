"""Repeat work in smaller pieces where memory runs out."""

import logging
from collections.abc import Callable

import torch

from tangentlens.errors import OutOfMemoryError

_log = logging.getLogger(__name__)

_MESSAGES = ("can't allocate memory", "not enough memory", "out of memory")  # torch's allocators, on CPU and GPU


def in_pieces(work: Callable[[slice], None], total: int, width: int, where: str) -> None:
    """Call work(rows) for slices that cover range(total) in order, at most `width` long.

    Where memory runs out inside a call, the same rows are tried again in halves.

    Args:
        work: leaves nothing half done when it fails.
        total: number of rows.
        width: rows in a piece at first.
        where: what is being computed, for the message.

    Raises:
        OutOfMemoryError: not even one row fits.
    """
    start = 0
    while start < total:
        rows = slice(start, min(start + width, total))
        try:
            work(rows)
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            if width == 1:
                raise OutOfMemoryError(
                    "not even one window at a time fits into memory",
                    where=where,
                    remedy="Take fewer windows or directions, or a folder to work in (work=).",
                ) from error
            width = max(1, (rows.stop - rows.start) // 2)
            _log.warning("%s: memory ran out; going on with %d at a time", where, width)
            continue
        start = rows.stop


def _out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out."""
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or any(
        words in str(error).lower() for words in _MESSAGES
    )
