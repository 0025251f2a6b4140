"""What must hold in every pass over the batch: the calls of the pilot, finite outputs, the pilot's outputs again."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import NumericalError, UnsupportedModelError
from tangentlens.models.checks import agreement


@dataclass(frozen=True)
class Witnesses:
    """Outputs of a few examples among other examples than those of the batch.

    Attributes:
        outputs: row of the batch -> outputs (C,).
    """

    outputs: Mapping[int, Float[Tensor, " C"]]

    def behind(self, rows: int) -> "Witnesses":
        """Those of the examples behind the first `rows`, counted from there."""
        return Witnesses({row - rows: outputs for row, outputs in self.outputs.items() if row >= rows})

    def check(self, outputs: Float[Tensor, "n C"], start: int) -> None:
        """Compare the outputs of the examples `start`, `start` + 1, ... of the batch.

        Raises:
            NumericalError: an output is NaN or infinite; names the example.
            UnsupportedModelError: an example has other outputs than among other examples.
        """
        found = outputs.detach()
        finite = torch.isfinite(found)
        if not bool(finite.all()):
            row = start + int((~finite).any(dim=1).nonzero()[0, 0])
            raise NumericalError(
                "the model's outputs hold NaN or infinity",
                where=f"example {row}",
                remedy="Check that input and the weights.",
            )
        scale = float(found.abs().max()) if found.numel() else 0.0
        for row, expected in self.outputs.items():
            if not start <= row < start + len(found):
                continue
            if expected.shape != found.shape[1:]:
                raise _influence(row)
            if float((found[row - start] - expected).abs().max()) > agreement(found.dtype) * max(scale, 1e-30):
                raise _influence(row)


def _influence(row: int) -> UnsupportedModelError:
    return UnsupportedModelError(
        "the outputs of an example change with the other examples of the batch, so a kernel between examples is "
        "not defined",
        where=f"example {row}",
        remedy="Look for batch statistics, a limit on examples served, or an operation along axis 0.",
    )
