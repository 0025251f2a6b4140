"""Freed memory kept for the next piece of the same work, where the C library would give it back each time.

Piece after piece of a sweep allocates and frees the same few gigabytes. By default glibc returns blocks above 32 MB,
and the free end of its heap, to the system at once, which then clears every page before it hands it out again: up to a
tenth of the time of a sweep of Gemma-3-270M.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# of mallopt(3)
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# larger blocks, the factors of many windows, are mapped and given back one by one
_LARGEST_KEPT, _MOST_KEPT = 2**28, 2**29
# where glibc's own adjustment ends once a block of 32 MB has been freed
_USUAL_MMAP_THRESHOLD, _USUAL_TRIM_THRESHOLD = 2**25, 2**26


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed blocks of up to 256 MB, 512 MB of them at most at the heap's end, and give all back in the end.

    Does nothing where the C library is not glibc.
    """
    library = glibc()
    if library is None:
        yield
        return
    library.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
    library.mallopt(_TRIM_THRESHOLD, _MOST_KEPT)
    try:
        yield
    finally:
        library.mallopt(_MMAP_THRESHOLD, _USUAL_MMAP_THRESHOLD)
        library.mallopt(_TRIM_THRESHOLD, _USUAL_TRIM_THRESHOLD)
        library.malloc_trim(0)


def glibc() -> ctypes.CDLL | None:
    """The C library, where it is glibc."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "mallopt") else None
