"""What will work with a language model, found by trying it on a few windows."""

from tangentlens.language.doctor.examination import examine
from tangentlens.language.doctor.record import Check, Examination, Verdict

__all__ = ["Check", "Examination", "Verdict", "examine"]
