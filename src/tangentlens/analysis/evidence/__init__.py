"""Figures of the paper's settings."""
