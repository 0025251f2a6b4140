"""How sure one can be of a figure: arrays in, arrays out."""
