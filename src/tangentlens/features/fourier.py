"""Fourier features over all pairs (n, m) of residues modulo p; the pair (n, m) is row n * p + m."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.errors import InvalidInputError


@dataclass(frozen=True)
class Wave:
    """One plane wave: weight * cos or sin of 2 pi k (alpha n + beta m) / p, k being the frequency."""

    alpha: int
    beta: int
    weight: float = 1.0


@dataclass(frozen=True)
class FeatureFamily:
    """Features of one kind at several frequencies.

    Attributes:
        name: name of the family.
        frequencies: the frequencies k, ascending.
        matrix: (N, 2 * len(frequencies)) float64; the columns are cos, sin of the first frequency, then of the next.
            Neither centred nor normalised: where the phase is always a multiple of pi (2 k = p), sin is zero.
    """

    name: str
    frequencies: tuple[int, ...]
    matrix: Float[Tensor, "N K"]

    def at(self, frequency: int) -> Float[Tensor, "N 2"]:
        """(N, 2): cos and sin of one frequency.

        Raises:
            InvalidInputError: the family does not hold that frequency.
        """
        if frequency not in self.frequencies:
            raise InvalidInputError(
                f"no frequency {frequency}", where=f"family {self.name}", remedy=f"It holds {self.frequencies}."
            )
        column = 2 * self.frequencies.index(frequency)
        return self.matrix[:, column : column + 2]


# A family is a sum of waves; a new one is one line.
FAMILIES: dict[str, tuple[Wave, ...]] = {
    "n": (Wave(1, 0),),
    "m": (Wave(0, 1),),
    "sum": (Wave(1, 1),),
    "difference": (Wave(1, -1),),
    "2n": (Wave(2, 0),),
    "2m": (Wave(0, 2),),
}


def fourier_family(name: str, p: int, frequencies: Iterable[int] | None = None) -> FeatureFamily:
    """A named family of FAMILIES over all pairs modulo p.

    Args:
        name: a key of FAMILIES.
        p: modulus.
        frequencies: which k in 1..floor(p / 2); all of them where None.

    Raises:
        InvalidInputError: the name is unknown, or a frequency is outside 1..floor(p / 2).
    """
    if name not in FAMILIES:
        raise InvalidInputError(
            f"no Fourier family is called {name!r}", where="name", remedy=f"Choose one of {sorted(FAMILIES)}."
        )
    return superpose(name, FAMILIES[name], p, frequencies)


def superpose(name: str, waves: tuple[Wave, ...], p: int, frequencies: Iterable[int] | None = None) -> FeatureFamily:
    """A family of one's own: for each k the columns sum_w weight_w cos(2 pi k (alpha_w n + beta_w m) / p), and sin.

    Raises:
        InvalidInputError: p is smaller than 2, there is no wave, or a frequency is outside 1..floor(p / 2).
    """
    if p < 2 or not waves:
        raise InvalidInputError(
            f"modulus {p} and {len(waves)} waves", where=f"family {name}", remedy="Give p of at least 2, and a wave."
        )
    chosen = _checked_frequencies(name, p, frequencies)
    k = torch.tensor(chosen)
    cosines = torch.stack([wave.weight * _phase(wave, p, k).cos() for wave in waves]).sum(dim=0)  # (N, frequencies)
    sines = torch.stack([wave.weight * _phase(wave, p, k).sin() for wave in waves]).sum(dim=0)
    return FeatureFamily(name, chosen, torch.stack([cosines, sines], dim=2).flatten(start_dim=1))


def _checked_frequencies(name: str, p: int, frequencies: Iterable[int] | None) -> tuple[int, ...]:
    chosen = tuple(range(1, p // 2 + 1)) if frequencies is None else tuple(sorted(set(frequencies)))
    if not chosen or chosen[0] < 1 or chosen[-1] > p // 2:
        raise InvalidInputError(
            f"frequencies {chosen} for modulus {p}", where=f"family {name}", remedy=f"Choose from 1..{p // 2}."
        )
    return chosen


def _phase(wave: Wave, p: int, k: Int[Tensor, " F"]) -> Float[Tensor, "N F"]:
    n, m = torch.cartesian_prod(torch.arange(p), torch.arange(p)).unbind(dim=1)
    turns = torch.outer(wave.alpha * n + wave.beta * m, k) % p  # reduced as integers: the phase is exact at any k
    return turns.to(torch.float64) * (2 * math.pi / p)
