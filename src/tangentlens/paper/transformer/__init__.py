"""The second setting of the paper: a one-layer Transformer on modular addition."""
