"""tangentlens: the features a trained network uses, from its empirical neural tangent kernel."""

from importlib.metadata import version

from tangentlens.alignment.overlap import subspace_overlap
from tangentlens.eigen import top_eigenpairs
from tangentlens.errors import (
    InvalidInputError,
    MissingExtraError,
    NumericalError,
    OutOfMemoryError,
    StoreError,
    TangentlensError,
    UnsupportedModelError,
)
from tangentlens.kernels import EmpiricalNTK, entk, outputs
from tangentlens.language.model import language_model
from tangentlens.language.sweep.refinement import refine
from tangentlens.language.sweep.sweep import sweep
from tangentlens.records import Eigenpairs, SubspaceOverlap
from tangentlens.report.notebook import open_run

__version__ = version("tangentlens")

__all__ = [
    "Eigenpairs",
    "EmpiricalNTK",
    "InvalidInputError",
    "MissingExtraError",
    "NumericalError",
    "OutOfMemoryError",
    "StoreError",
    "SubspaceOverlap",
    "TangentlensError",
    "UnsupportedModelError",
    "entk",
    "language_model",
    "open_run",
    "outputs",
    "refine",
    "subspace_overlap",
    "sweep",
    "top_eigenpairs",
]
