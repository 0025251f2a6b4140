"""Null models and other methods at one budget."""
