"""Numbers as words: units, intervals, ranges."""

import math
from collections.abc import Sequence

from tangentlens.records import Figure
from tangentlens.statistics.claims import VERDICTS

_ABSENT = "not measured"


def number(value: float | None, unit: str = "") -> str:
    """A number with its unit, rounded to what a reader can use: "94.5 %", "82.4", "1.2e-07", "3.1 s"."""
    if value is None or not math.isfinite(value):
        return _ABSENT
    if unit == "percent":
        return f"{value:.1f} %"
    if unit == "seconds":
        return duration(value)
    if unit == "verdict":
        return VERDICTS.get(value) or plain(value, decimals=0)
    if unit in ("count", "epoch", "epochs", "mode"):
        return plain(value, decimals=1)
    return plain(value, decimals=3)


def plain(value: float, *, decimals: int) -> str:
    """Fixed point, whole numbers without a point; powers of ten where fixed point would lose the digits."""
    if value != 0 and (abs(value) < 10**-decimals or abs(value) >= 1e6):
        return f"{value:.1e}"
    text = f"{value:.{decimals}f}"
    if decimals > 1 and abs(value) < 10 and float(text).is_integer() and not float(f"{value:.6f}").is_integer():
        return f"{value:.6f}".rstrip("0")  # 0.99999 must not be read as 1
    return str(round(value)) if float(value).is_integer() else text


def duration(seconds: float) -> str:
    """Seconds as a person says them: "0.16 s", "12.3 s", "4 min 10 s"."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def interval(figure: Figure | None) -> str:
    """The 95 % interval: "93.9 to 95.1"; empty where there is none."""
    if figure is None or figure.interval is None:
        return ""
    low, high = (number(bound, figure.unit).removesuffix(" %") for bound in figure.interval)
    return f"{low} to {high}"


def spread(figure: Figure | None) -> str:
    """Interval and number of observations: "95 % interval 93.9 to 95.1, n = 10"; "one seed" where there is only one."""
    if figure is None or figure.value is None:
        return "no seed has this figure"
    if figure.interval is None:
        return "one seed, no interval" if figure.n == 1 else f"no interval{_of(figure)}"
    return f"95 % interval {interval(figure)}{', one seed' if figure.n == 1 else _of(figure)}"


def observations(figure: Figure | None) -> str:
    """Number of observations behind a figure; "unknown" where the run does not say, "0" without a figure."""
    if figure is None:
        return "0"
    return "unknown" if figure.n is None else str(figure.n)


def _of(figure: Figure) -> str:
    return "" if figure.n is None else f", n = {figure.n}"


def with_spread(figure: Figure | None) -> str:
    """Value, interval and n in running text: "94.5 % (93.9 to 95.1, n = 10)"."""
    if figure is None or figure.value is None:
        return _ABSENT
    value = number(figure.value, figure.unit)
    return f"{value} ({interval(figure)}{_of(figure)})" if figure.interval else value


def mean_and_interval(figure: Figure) -> str:
    """Value and interval, which need not be symmetric: "94.5 % (93.9 to 95.1)"."""
    value = number(figure.value, figure.unit)
    return f"{value} ({interval(figure)})" if figure.interval else value


def notes_by_seeds(notes: Sequence[tuple[int, str]]) -> list[tuple[str, str]]:
    """Each note once, with its seeds in words: ("seeds 0, 1 and 4", note)."""
    seeds: dict[str, list[str]] = {}
    for seed, note in notes:
        seeds.setdefault(note, []).append(str(seed))
    return [(f"seed{'s' if len(each) > 1 else ''} {listing(each)}", note) for note, each in seeds.items()]


def span(values: Sequence[float], unit: str = "") -> str:
    """Least and greatest of some values: "93.1 to 96.0 %"; one number where they round alike."""
    low, high = number(min(values), unit), number(max(values), unit)
    return low if low == high else f"{low.removesuffix(' %')} to {high}"


def several(count: int, noun: str) -> str:
    """A count with its noun: "one seed", "10 seeds"."""
    return f"one {noun}" if count == 1 else f"{count} {noun}s"


def listing(words: Sequence[str]) -> str:
    """Words joined as in prose: "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
