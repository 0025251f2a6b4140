"""8-bit pictures as PNG (PNG specification, third edition)."""

import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _COLOUR, _PALETTE, _UP = 0, 2, 3, 2


def png(pixels: np.ndarray, palette: np.ndarray | None = None) -> bytes:
    """A picture as the bytes of a PNG file; the smaller of rows as they are and rows less the row above.

    Args:
        pixels: (H, W) grey, or places in the palette; (H, W, 3) red, green, blue; uint8.
        palette: (256, 3) uint8 colours.
    """
    rows, columns = pixels.shape[:2]
    kind = _COLOUR if pixels.ndim == 3 else _GREY if palette is None else _PALETTE
    header = struct.pack(">IIBBBBB", columns, rows, 8, kind, 0, 0, 0)
    flat = pixels.reshape(rows, -1)
    above = np.diff(flat, axis=0, prepend=np.zeros((1, flat.shape[1]), np.uint8))
    body = min((_deflated(flat, 0), _deflated(above, _UP)), key=len)
    colours = [] if palette is None else [(b"PLTE", palette.tobytes())]
    parts = ((b"IHDR", header), *colours, (b"IDAT", body), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in parts)


def _deflated(lines: np.ndarray, filtered: int) -> bytes:
    """Rows of bytes, each after the number of its filter."""
    return zlib.compress(b"".join(bytes([filtered]) + line.tobytes() for line in lines), 9)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
