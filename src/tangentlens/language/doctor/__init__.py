"""Examination of a language model on a few windows: which parts of the analysis will work."""

from tangentlens.language.doctor.examination import examine
from tangentlens.language.doctor.record import Check, Examination, Verdict

__all__ = ["Check", "Examination", "Verdict", "examine"]
