"""Options of a sweep, checked once and passed on as one record."""

from dataclasses import dataclass

from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.language.sweep.approximate_modes import Recorder, record_nothing
from tangentlens.language.sweep.groups import LanguageGroups
from tangentlens.language.sweep.pilot import WINDOWS

_LEAST = (("directions", 1), ("probes", 0), ("modes", 1), ("pilot_windows", 1))


@dataclass(frozen=True)
class SweepOptions:
    """Options of a sweep; `sweep` says what each means.

    Raises:
        InvalidInputError: a number is too small.
    """

    groups: LanguageGroups = "weights"
    geometry: str = "centred"
    directions: int | Tensor = 64
    probes: int = 2
    modes: int | None = None
    tolerance: float = 1e-2
    pilot_windows: int = WINDOWS
    seed: int = 0
    check: bool = True
    record: Recorder = record_nothing

    def __post_init__(self) -> None:
        for name, least in _LEAST:
            value = getattr(self, name)
            if isinstance(value, int) and value < least:
                raise InvalidInputError(f"{name} = {value}", remedy=f"Give at least {least}.")

    @property
    def numbers(self) -> list[object]:
        """All options but the groups that the modes depend on, for a fingerprint."""
        basis = self.directions.double().sum(1).tolist() if isinstance(self.directions, Tensor) else self.directions
        return [self.geometry, basis, self.probes, self.modes, self.tolerance, self.pilot_windows, self.seed]
