"""A leaderboard as figures."""

from collections.abc import Sequence

from tangentlens.baselines.leaderboard import Row
from tangentlens.settings.figures import Figures


def leaderboard_figures(rows: Sequence[Row]) -> Figures:
    """`leaderboard.<method>.<family>.percent`, `leaderboard.<method>.dimension`, `leaderboard.<method>.seconds`."""
    figures: Figures = {}
    for row in rows:
        prefix = f"leaderboard.{row.method}"
        figures |= {f"{prefix}.{family}.percent": (percent, "percent") for family, percent in row.percents.items()}
        figures[f"{prefix}.dimension"] = (float(row.dimension), "count")
        figures[f"{prefix}.seconds"] = (row.seconds, "seconds")
    return figures
