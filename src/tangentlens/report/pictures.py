"""Small signed pictures as PNG: blue below zero, pale at zero, red above."""

import base64

import numpy as np
from plotly.colors import diverging, unlabel_rgb

from tangentlens.store.png import png


def signed_picture(values: np.ndarray) -> str:
    """A (rows, columns) array as a data: address; the colour scale is symmetric about zero.

    The colours are cmocean's balance, perceptually uniform on both sides (Thyng et al. 2016).
    """
    largest = float(np.abs(values).max()) or 1.0
    level = np.rint((values / largest + 1) * 127.5).astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(png(level, _palette())).decode("ascii")


def _palette() -> np.ndarray:
    """(256, 3) colours, interpolated between the map's stops."""
    stops = np.array([unlabel_rgb(color) for color in diverging.balance])
    place = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(place, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    palette: np.ndarray = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return palette
