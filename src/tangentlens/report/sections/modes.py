"""Single modes as pictures over the p x p inputs."""

import math
from collections.abc import Sequence

import numpy as np

from tangentlens.report import labels
from tangentlens.report.blocks import Block, Lead, Note, Picture, Pictures, Section
from tangentlens.report.numbers import plain
from tangentlens.report.pictures import signed_picture
from tangentlens.store import StoredRun

_FREQUENCIES = 4


def _build(run: StoredRun) -> tuple[Block, ...]:
    record = run.seeds[0]
    modes, frequency = record.array("modes.rotated"), [int(k) for k in record.array("modes.frequency")]
    p = math.isqrt(modes.shape[0])
    waves = [nearest_wave(mode.reshape(p, p), k) for mode, k in zip(modes.T, frequency, strict=True)]
    half = modes.shape[1] // 2
    if half == 0:
        return (Note("Not shown: the run has no modes of two cliffs."),)
    rows = [
        Pictures(f"{name} cliff", _pictures(modes, frequency, waves, range(start, start + half)))
        for name, start in (("First", 0), ("Second", half))
    ]
    return (
        Lead(_sentence([share for _, share in waves], half)),
        *rows,
        Note(
            f"One mode a picture, from seed {record.seed}: n runs down, m to the right, from 0 to {p - 1}. Blue is "
            "negative, red positive, each picture on its own scale. The modes of a cliff were rotated among themselves "
            "to part the frequencies k; below each stands the wave it is nearest to and its share of the mode's power."
        ),
    )


def nearest_wave(mode: np.ndarray, k: int) -> tuple[str, float]:
    """The feature family whose wave of frequency k holds most of a (p, p) mode's Fourier power, and its share of it."""
    power = np.abs(np.fft.fft2(mode - mode.mean())) ** 2
    total = float(power.sum())
    shares = {
        family: float(power[a % len(mode), b % len(mode)] + power[-a % len(mode), -b % len(mode)])
        for family, (a, b) in {"n": (k, 0), "m": (0, k), "sum": (k, k), "difference": (k, -k)}.items()
    }
    best = max(shares, key=lambda family: shares[family])
    return best, shares[best] / total if total else 0.0


def _sentence(shares: list[float], half: int) -> str:
    words = [f"{plain(100 * float(np.median(part)), decimals=1)} %" for part in (shares[:half], shares[half:])]
    return (
        f"After rotation the median mode of the first cliff has {words[0]} of its power in a single wave, "
        f"that of the second {words[1]}."
    )


def _pictures(
    modes: np.ndarray, frequency: Sequence[int], waves: list[tuple[str, float]], columns: range
) -> tuple[Picture, ...]:
    """The modes of the first few frequencies of the cliff that lies in these columns."""
    p = math.isqrt(modes.shape[0])
    wanted = sorted({frequency[column] for column in columns} - {0})[:_FREQUENCIES]
    shown = sorted((frequency[column], column) for column in columns if frequency[column] in wanted)
    return tuple(
        Picture(signed_picture(modes[:, column].reshape(p, p)), _caption(k, *waves[column])) for k, column in shown
    )


def _caption(k: int, family: str, share: float) -> str:
    return f"{labels.family(family)}, k = {k}: {100 * share:.0f} %"


SECTION = Section("modes", "Single modes", _build, arrays=("modes.rotated", "modes.frequency"))
