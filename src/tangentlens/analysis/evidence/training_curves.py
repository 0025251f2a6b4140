"""Curves of a network along its training: losses, accuracies, spectra, overlaps of leading modes with features."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.alignment.overlap import overlap_of_bases
from tangentlens.analysis.checkpoints.dynamics import central_differences
from tangentlens.analysis.evidence.film import FilmFeatures, film_arrays, film_frame
from tangentlens.analysis.findings import Arrays, Figures, keyed
from tangentlens.records import Eigenpairs, SubspaceOverlap
from tangentlens.statistics.subspace_nulls import random_feature_overlaps
from tangentlens.store.figure_keys import EIGEN_SECONDS, KERNEL_SECONDS, TEST_ACCURACY, TRAIN_ACCURACY, WORST_RESIDUAL

_CURVES = ("train.loss", "train.accuracy", "test.loss", "test.accuracy")


def training_arrays(curves: Float[Tensor, "E 5"]) -> Arrays:
    """`epoch` (E,) int64, and (E,) float64 losses and accuracies (0..1) of both parts.

    Args:
        curves: float64 rows (epoch, training loss and accuracy, test loss and accuracy), one for each checkpoint.
    """
    return {"epoch": curves[:, 0].to(torch.int64), **dict(zip(_CURVES, curves[:, 1:].unbind(dim=1), strict=True))}


def accuracy_figures(curves: Float[Tensor, "E 5"]) -> Figures:
    """Accuracies at the last checkpoint, in percent."""
    return keyed({TRAIN_ACCURACY: 100 * float(curves[-1, 2]), TEST_ACCURACY: 100 * float(curves[-1, 4])})


class ModeCurves:
    """Recorder of what leading modes hold of some families of features at every checkpoint.

    Args:
        bases: family -> (N, r) orthonormal basis of centred features.
        spaces: (R, N, r) random feature spaces, the null of `followed`.
        pictures: features by frequency, for the film.
        followed: the family whose growth is differentiated, and compared with the random spaces.
    """

    def __init__(
        self,
        bases: Mapping[str, Float[Tensor, "N _"]],
        spaces: Float[Tensor, "R N r"],
        pictures: FilmFeatures,
        followed: str = "sum",
    ) -> None:
        self._bases, self._spaces, self._pictures, self._followed = bases, spaces, pictures, followed
        self._overlaps: dict[str, list[float]] = {name: [] for name in bases}
        self._nulls: list[Tensor] = []
        self._frames: list[Arrays] = []

    def record(
        self, blocks: Mapping[str, Float[Tensor, "N _"]], leading: Float[Tensor, "N m"]
    ) -> dict[str, SubspaceOverlap]:
        """Record a checkpoint and return its overlaps.

        Args:
            blocks: family -> the modes that it is compared with.
            leading: modes shown by the film.
        """
        overlaps = {name: overlap_of_bases(blocks[name], basis) for name, basis in self._bases.items()}
        for name, overlap in overlaps.items():
            self._overlaps[name].append(overlap.percent)
        self._nulls.append(random_feature_overlaps(blocks[self._followed], self._spaces))
        self._frames.append(film_frame(leading, self._pictures))
        return overlaps

    def arrays(self, epochs: Tensor) -> Arrays:
        """`overlap.<family>`, `overlap.<followed>.derivative` (E,), `overlap.null` (E, R), and those of the film."""
        curves = {
            f"overlap.{name}": torch.tensor(percents, dtype=torch.float64) for name, percents in self._overlaps.items()
        }
        followed = f"overlap.{self._followed}"
        return {
            **curves,
            f"{followed}.derivative": central_differences(epochs, curves[followed]),
            "overlap.null": torch.stack(self._nulls).to(torch.float32),
            **film_arrays(self._frames),
        }


class SpectrumCurves:
    """Recorder of a kernel's leading eigenvalues at every checkpoint, of their residuals and of what they cost.

    Attributes:
        converged: whether all eigenpairs did, for each checkpoint.
    """

    def __init__(self) -> None:
        self._values: list[Tensor] = []
        self._worst: list[float] = []
        self._seconds: list[tuple[float, float]] = []
        self.converged: list[bool] = []

    def record(self, pairs: Eigenpairs, kernel_seconds: float, eigen_seconds: float) -> None:
        """Record the eigenpairs of a checkpoint."""
        self._values.append(pairs.values)
        self._worst.append(float(pairs.residuals.max()))
        self._seconds.append((kernel_seconds, eigen_seconds))
        self.converged.append(bool(pairs.converged.all()))

    def arrays(self) -> Arrays:
        """`spectrum.total` (E, k)."""
        return {"spectrum.total": torch.stack(self._values)}

    def figures(self) -> Figures:
        """The worst residual of all checkpoints, and seconds summed over them."""
        kernel, eigen = (sum(seconds) for seconds in zip(*self._seconds, strict=True))
        return keyed({WORST_RESIDUAL: max(self._worst), KERNEL_SECONDS: kernel, EIGEN_SECONDS: eigen})
