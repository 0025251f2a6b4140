"""Reports: one self-contained page for a stored run."""

from tangentlens.report.page import build_report

__all__ = ["build_report"]
