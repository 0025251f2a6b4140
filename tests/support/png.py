"""Reads 8-bit PNG with filters 0 (none) and 2 (up), every checksum checked."""

import struct
import zlib

import numpy as np


def read_png(data: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels, (rows, columns) or (rows, columns, 3), and the palette if there is one."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + content),)
        chunks[kind] = content
        at += 12 + length
    columns, rows, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert depth == 8
    width = columns * (3 if colour == 2 else 1)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, width + 1)
    pixels = np.zeros((rows, width), np.uint8)
    for row, line in enumerate(lines):
        assert line[0] in (0, 2)
        pixels[row] = line[1:] + (pixels[row - 1] if line[0] == 2 and row else 0)
    palette = np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(256, 3) if colour == 3 else None
    return (pixels.reshape(rows, columns, 3) if colour == 2 else pixels), palette
