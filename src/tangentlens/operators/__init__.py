"""Linear operators on the rows of a kernel: what the solvers see, and all they see."""

from tangentlens.operators.combined import RestrictedOperator, ScaledOperator, SumOperator
from tangentlens.operators.held import DenseOperator, ProductOperator
from tangentlens.operators.interface import LinearOperator, TransposedOperator

__all__ = [
    "DenseOperator",
    "LinearOperator",
    "ProductOperator",
    "RestrictedOperator",
    "ScaledOperator",
    "SumOperator",
    "TransposedOperator",
]
