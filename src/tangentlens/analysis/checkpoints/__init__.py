"""Modes and features along training."""
