"""Figures of a run from the figures of its seeds."""

import math
from collections.abc import Sequence
from dataclasses import replace

from tangentlens.records import Figure
from tangentlens.statistics.intervals import mean_interval, share_interval
from tangentlens.store import SeedRecord


def summarise(records: Sequence[SeedRecord]) -> dict[str, Figure]:
    """Mean and 95 % interval of every figure over the seeds that have it: Student's t, or Wilson's for a share.

    A single seed has the interval that it measured itself, if it did.
    """
    keys = dict.fromkeys(key for record in records for key in record.figures)
    return {key: _summary(key, records) for key in keys}


def _summary(key: str, records: Sequence[SeedRecord]) -> Figure:
    """A seed without the figure counts as NaN, which the mean leaves out."""
    values = figure_values(key, records)
    unit = next((record.units[key] for record in records if key in record.units), "")
    interval = share_interval if unit == "share" else mean_interval
    found = interval(values, seeds=[record.seed for record in records], unit=unit)
    return replace(found, interval=records[0].intervals.get(key)) if len(records) == 1 else found


def figure_values(key: str, records: Sequence[SeedRecord]) -> list[float]:
    return [math.nan if (value := record.figures.get(key)) is None else value for record in records]
