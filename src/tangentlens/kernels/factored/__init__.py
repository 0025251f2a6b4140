"""Kernels from the factors of every use of a parameter."""
