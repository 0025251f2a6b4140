"""The first setting of the paper: an MLP on modular addition."""
