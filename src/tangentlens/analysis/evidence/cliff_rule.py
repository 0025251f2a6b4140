"""The rule that finds cliffs, as keys of a config's section; the same for every setting."""

import torch
from pydantic import Field

from tangentlens.alignment.cliffs import Cliff, find_cliffs
from tangentlens.analysis.section import Section


class CliffConfig(Section):
    """How a spectrum is searched for cliffs."""

    cliff_noise_floor: float = Field(
        default=1e-6, gt=0, lt=1, description="eigenvalues below this share of the first are rounding"
    )
    cliff_neighbours: int = Field(default=16, ge=1, description="gaps on either side that a cliff is compared with")
    cliff_level: float = Field(default=0.01, gt=0, lt=1, description="probability of a false cliff in one spectrum")

    def cliffs(self, values: torch.Tensor) -> tuple[Cliff, ...]:
        """The cliffs of a spectrum; a negative eigenvalue, which rounding left, counts as 0."""
        return find_cliffs(
            values.clamp_min(0),
            noise_floor=self.cliff_noise_floor,
            neighbours=self.cliff_neighbours,
            level=self.cliff_level,
        )
