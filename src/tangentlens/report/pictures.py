"""Small signed pictures as PNG: blue below zero, pale at zero, red above."""

import base64
import struct
import zlib

import numpy as np
from plotly.colors import diverging, unlabel_rgb

_PNG = b"\x89PNG\r\n\x1a\n"


def signed_picture(values: np.ndarray) -> str:
    """A (rows, columns) array as a data: address; the colour scale is symmetric about zero.

    The colours are cmocean's balance, perceptually uniform on both sides (Thyng et al. 2016).
    """
    largest = float(np.abs(values).max()) or 1.0
    level = np.rint((values / largest + 1) * 127.5).astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(_png(level)).decode("ascii")


def _palette() -> np.ndarray:
    """(256, 3) colours, interpolated between the map's stops."""
    stops = np.array([unlabel_rgb(color) for color in diverging.balance])
    place = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(place, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    palette: np.ndarray = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return palette


def _png(level: np.ndarray) -> bytes:
    """An 8-bit picture with a palette (PNG specification, third edition, colour type 3)."""
    rows, columns = level.shape
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    lines = b"".join(b"\0" + line.tobytes() for line in level)  # each row after its filter byte: none
    parts = ((b"IHDR", header), (b"PLTE", _palette().tobytes()), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return _PNG + b"".join(_chunk(kind, content) for kind, content in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
