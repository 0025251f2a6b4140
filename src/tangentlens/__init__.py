"""tangentlens: the features a trained network uses, from its empirical neural tangent kernel.

A public name is imported when it is first used, so that `import tangentlens` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tangentlens.alignment.overlap import subspace_overlap
    from tangentlens.analysis.subject import Subject
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
    from tangentlens.pipeline.analyse import analyse
    from tangentlens.pipeline.analyse_language_model import analyse_language_model
    from tangentlens.records import Eigenpairs, SubspaceOverlap
    from tangentlens.report.notebook import open_run

    __version__: str

__all__ = [
    "Eigenpairs",
    "EmpiricalNTK",
    "InvalidInputError",
    "MissingExtraError",
    "NumericalError",
    "OutOfMemoryError",
    "StoreError",
    "Subject",
    "SubspaceOverlap",
    "TangentlensError",
    "UnsupportedModelError",
    "analyse",
    "analyse_language_model",
    "entk",
    "language_model",
    "open_run",
    "outputs",
    "refine",
    "subspace_overlap",
    "sweep",
    "top_eigenpairs",
]

_MODULES = {
    "Eigenpairs": "records",
    "EmpiricalNTK": "kernels",
    "InvalidInputError": "errors",
    "MissingExtraError": "errors",
    "NumericalError": "errors",
    "OutOfMemoryError": "errors",
    "StoreError": "errors",
    "Subject": "analysis.subject",
    "SubspaceOverlap": "records",
    "TangentlensError": "errors",
    "UnsupportedModelError": "errors",
    "analyse": "pipeline.analyse",
    "analyse_language_model": "pipeline.analyse_language_model",
    "entk": "kernels",
    "language_model": "language.model",
    "open_run": "report.notebook",
    "outputs": "kernels",
    "refine": "language.sweep.refinement",
    "subspace_overlap": "alignment.overlap",
    "sweep": "language.sweep.sweep",
    "top_eigenpairs": "eigen",
}

if not TYPE_CHECKING:  # a type checker reads the imports above instead, and finds misspelt names

    def __getattr__(name: str) -> object:
        if name == "__version__":
            value: object = import_module("importlib.metadata").version(__name__)
        elif name in _MODULES:
            value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, "__version__"})
