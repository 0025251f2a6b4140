"""Kernels of a torch module, by the fastest route that is proven right for it."""

from tangentlens.kernels.entk import EmpiricalNTK, entk

__all__ = ["EmpiricalNTK", "entk"]
