"""Data sets whose structure is known: arrays in, arrays out."""
