"""Eigenpairs of symmetric operators, each with its residual; of networks nothing is known here."""

from tangentlens.eigen.solve import top_eigenpairs
from tangentlens.eigen.tracking import Matching, ModeTracks, degenerate_blocks, match_modes, track_modes

__all__ = ["Matching", "ModeTracks", "degenerate_blocks", "match_modes", "top_eigenpairs", "track_modes"]
