"""Modes of kernels, what a run stores of them, whether other inputs give them."""
