import base64
import struct
import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tangentlens.report.pictures import signed_picture


def decode(source: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices (rows, columns) and palette (256, 3), with every checksum checked."""
    data = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + content),)
        chunks[kind] = content
        at += 12 + length
    columns, rows = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, columns + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:], np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(256, 3)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000))
def test_colours_are_symmetric_about_zero_and_keep_the_order(rows, columns, seed):
    values = np.random.default_rng(seed).standard_normal((rows, columns))
    level, _ = decode(signed_picture(values))
    opposite, _ = decode(signed_picture(-values))
    assert level.shape == values.shape
    assert (np.abs(level.astype(int) + opposite - 255) <= 1).all()
    order = np.argsort(values, axis=None)
    assert (np.diff(level.reshape(-1)[order].astype(int)) >= 0).all()


def test_negative_is_blue_and_positive_red_and_nothing_divides_by_zero():
    level, palette = decode(signed_picture(np.array([[-0.6, 0.0, 0.6]])))
    blue, pale, red = palette[[64, 128, 191]].astype(int)
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    assert pale.min() > 190
    assert (level[0, 0], level[0, 2]) == (0, 255)
    decode(signed_picture(np.zeros((3, 3))))
