"""Ablation and steering beside matched controls."""
