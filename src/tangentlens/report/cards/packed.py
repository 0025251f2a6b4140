"""Arrays as short text inside JSON."""

import base64
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Packed:
    """An array, little-endian and row by row.

    Attributes:
        dtype: "f4", "i1", "u1", "u2" or "u4".
        shape: its shape.
        data: its bytes in base64.
    """

    dtype: str
    shape: tuple[int, ...]
    data: str


def pack(array: np.ndarray, dtype: str = "f4") -> Packed:
    """An array as numbers of the given kind; NaN stays NaN in "f4"."""
    values = np.ascontiguousarray(array, dtype=f"<{dtype}")
    return Packed(dtype, values.shape, base64.b64encode(values.tobytes()).decode("ascii"))


def pack_counts(array: np.ndarray) -> Packed:
    """Whole numbers that are not negative, in the fewest bytes that hold the largest."""
    largest = int(array.max(initial=0))
    return pack(array, next(kind for kind, size in (("u1", 1), ("u2", 2), ("u4", 4)) if largest < 256**size))


def unpack(packed: Packed) -> np.ndarray:
    """The array again."""
    return np.frombuffer(base64.b64decode(packed.data), f"<{packed.dtype}").reshape(packed.shape)


def quantise(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows as whole numbers from -127 to 127 and the step of each row; what is not finite counts as 0.

    Args:
        values: (..., T).

    Returns:
        (..., T) int8 and (...) float32, with values ≈ numbers * step, off by half a step at most.
    """
    finite = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    step = np.abs(finite).max(axis=-1, initial=0.0) / 127
    numbers = np.rint(finite / np.where(step > 0, step, 1.0)[..., None])
    return numbers.astype(np.int8), step.astype(np.float32)
