"""tangentlens: the features a trained network uses, from its empirical neural tangent kernel."""

__version__ = "0.1.0"
