"""Pictures of inputs, small enough that a page can hold thousands."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from tangentlens.store.png import png

MOST_BYTES = 4096  # of one picture
_SIDES = (64, 48, 40, 32, 24)
_COARSE = 0xF0  # 16 levels of each colour
_CHANNELS = (1, 3, 4)
Bounds = tuple[float, float]


def is_picture(value: Any) -> bool:
    """Whether it is a PIL image."""
    return hasattr(value, "convert") and hasattr(value, "getbands")


def channels_last(shape: tuple[int, ...]) -> bool | None:
    """Where the channels of (H, W), (C, H, W) or (H, W, C) are; None where it is no picture."""
    if len(shape) == 2:
        return True
    if len(shape) != 3:
        return None
    return False if shape[0] in _CHANNELS else True if shape[2] in _CHANNELS else None


def bounds_of(low: float, high: float) -> Bounds:
    """What is black and what is white: 0 and 1, 0 and 255, else what the pictures themselves span."""
    if low >= 0:
        return (0.0, 1.0) if high <= 1 else (0.0, 255.0) if 128 < high <= 255 else (0.0, high)
    return (low, high)


def pixels(values: np.ndarray, bounds: Bounds) -> np.ndarray:
    """A picture as (H, W) or (H, W, 3) uint8; a fourth channel, opacity, is left out.

    Args:
        values: (H, W), (C, H, W) or (H, W, C).
        bounds: what is black and what is white.
    """
    image = np.asarray(values, dtype=np.float64)
    if not channels_last(image.shape):
        image = np.moveaxis(image, 0, -1)
    if image.ndim == 3:
        image = image[..., 0] if image.shape[2] == 1 else image[..., :3]
    low, high = bounds
    level = np.nan_to_num((image - low) / ((high - low) or 1.0))
    shown: np.ndarray = np.rint(255 * level.clip(0, 1)).astype(np.uint8)
    return shown


def thumbnail(picture: np.ndarray, most: int = MOST_BYTES) -> bytes:
    """A picture as PNG of at most so many bytes: as it is where it fits, else with fewer colours, else smaller.

    Args:
        picture: (H, W) or (H, W, 3) uint8.
        most: bytes.
    """
    for side in _SIDES:
        smaller = _shrunk(picture, side)
        for levels in (smaller, (smaller & _COARSE) | (smaller >> 4)):
            encoded = png(levels)
            if len(encoded) <= most:
                return encoded
    return encoded


def _shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    """Means over areas, so that the longer side is at most `side`."""
    rows, columns = picture.shape[:2]
    by = side / max(rows, columns)
    if by >= 1:
        return picture
    size = (max(1, round(rows * by)), max(1, round(columns * by)))
    planes = torch.from_numpy(picture.reshape(rows, columns, -1).astype(np.float32)).permute(2, 0, 1)
    found = functional.interpolate(planes[None], size=size, mode="area")[0].permute(1, 2, 0).round()
    return found.to(torch.uint8).numpy().reshape(*size, *picture.shape[2:])
