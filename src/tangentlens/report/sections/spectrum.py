"""The spectrum with its cliffs: of the whole kernel, of each layer, and along training."""

import numpy as np
import plotly.graph_objects as go

from tangentlens.report.blocks import Block, Chart, Lead, Note, Section
from tangentlens.report.charts import DASHES, HUES, INK, SOFT, chart, seeds, single, text
from tangentlens.report.numbers import listing, plain, several
from tangentlens.store import StoredRun
from tangentlens.store.figure_keys import ONSET

_GROUP = "spectrum.group."


def _build(run: StoredRun) -> tuple[Block, ...]:
    ends = paper_ends(run)
    spectrum, growth = _spectrum_sentence(run, ends), _growth_sentence(run, ends)
    return (
        Lead(spectrum),
        _spectrum(run, ends, spectrum),
        Note(
            "Eigenvalues at the last checkpoint, mode 0 first, on a log scale. Dashed lines stand where the paper ends "
            "its two ranges of modes; triangles show where the rule finds a cliff from the eigenvalues alone."
        ),
        Lead(growth),
        _along_training(run, ends, growth),
    )


def paper_ends(run: StoredRun) -> tuple[int, int]:
    """Index of the last mode of the paper's first and second range: 4 and 8 times the number of frequencies."""
    frequencies = run.arrays("heatmap.n")[0].shape[1]
    return 4 * frequencies, 8 * frequencies


def _spectrum_sentence(run: StoredRun, ends: tuple[int, int]) -> str:
    found = [tuple(int(end) for end in cliffs if end > 0) for cliffs in run.arrays("cliffs")]  # 0: the constant mode
    same = sum(cliffs[:2] == ends for cliffs in found)
    often = "" if same == len(found) == 1 else f", in {same} of {several(len(found), 'seed')}"
    agree = f"The rule puts the cliffs after modes {ends[0]} and {ends[1]}, where the paper's ranges end{often}"
    other = sorted({cliffs for cliffs in found if cliffs[:2] != ends})
    differ = f"; elsewhere it finds {listing([_after(cliffs) for cliffs in other])}" if other else ""
    drops = [f"{plain(drop, decimals=2)} after mode {end}" for end, drop in _drops(run, ends).items()]
    fall = f"From one mode to the next the eigenvalue falls by a factor of {listing(drops)}." if drops else _SHORT
    return f"{agree}{differ}. {fall}"


_SHORT = "The run has no mode after these, so it shows no fall."


def _after(cliffs: tuple[int, ...]) -> str:
    return f"cliffs after {listing([str(end) for end in cliffs])}" if cliffs else "no cliff"


def _drops(run: StoredRun, ends: tuple[int, int]) -> dict[int, float]:
    """Median over seeds of lambda_end / lambda_(end + 1), by end, for those that have a next mode."""
    last = _last(run)
    return {end: float(np.median(last[:, end] / last[:, end + 1])) for end in ends if end + 1 < last.shape[1]}


def _last(run: StoredRun) -> np.ndarray:
    return np.stack([total[-1] for total in run.arrays("spectrum.total")])


def _spectrum(run: StoredRun, ends: tuple[int, int], alt: str) -> Chart:
    last = _last(run)
    mode = np.arange(last.shape[1], dtype=np.int32)
    figure = go.Figure(seeds(mode, _positive(last), "whole kernel", INK, hover=".3e"))
    for position, name in enumerate(_groups(run)):
        each = _positive(np.stack(run.arrays(_GROUP + name)))
        color, dash = HUES[position % len(HUES)], DASHES[(position + 1) % len(DASHES)]
        figure.add_traces(seeds(mode[: each.shape[1]], each, name, color, dash, hover=".3e"))
    _mark_cliffs(figure, run, ends, last)
    figure.update_xaxes(title_text="mode", range=[-2, len(mode) + 1])
    figure.update_yaxes(title_text="eigenvalue", type="log", dtick=1, exponentformat="power")
    figure.update_layout(hovermode="x unified")
    return chart(figure, alt, height=460)


def _mark_cliffs(figure: go.Figure, run: StoredRun, ends: tuple[int, int], last: np.ndarray) -> None:
    for end in ends:
        figure.add_vline(x=end + 0.5, line={"color": SOFT, "width": 1.2, "dash": "dash"})
        figure.add_annotation(
            x=end + 0.5, y=1, xref="x", yref="paper", xanchor="left", yanchor="bottom", text=f"paper {end}",
            showarrow=False, font={"color": SOFT, "size": 12},
        )  # fmt: skip
    found = [(int(end), last[seed, int(end)]) for seed, cliffs in enumerate(run.arrays("cliffs")) for end in cliffs]
    if found:
        place, height = zip(*found, strict=True)
        figure.add_scatter(
            x=list(place), y=[float(value) for value in height], mode="markers", name="cliff found by the rule",
            marker={"symbol": "triangle-down", "size": 11, "color": HUES[1]}, hovertemplate="after mode %{x}",
        )  # fmt: skip


def _groups(run: StoredRun) -> list[str]:
    return sorted(name.removeprefix(_GROUP) for name in run.seeds[0].names if name.startswith(_GROUP))


def _positive(values: np.ndarray) -> np.ndarray:
    """NaN where rounding left a zero or negative eigenvalue, which a log scale cannot show."""
    return single(np.where(values > 0, values, np.nan))


def _growth_sentence(run: StoredRun, ends: tuple[int, int]) -> str:
    blocks = _blocks(run, ends)
    growth = {name: float(np.median(curve[:, -1] / curve[:, 0])) for name, curve in blocks.items()}
    words = [f"{plain(factor, decimals=1)} for {name}" for name, factor in growth.items()]
    return f"From the first checkpoint to the last the mean eigenvalue changes by a factor of {listing(words)}."


def _blocks(run: StoredRun, ends: tuple[int, int]) -> dict[str, np.ndarray]:
    """Mean eigenvalue of each block of modes: name -> (seeds, checkpoints)."""
    total = np.stack(run.arrays("spectrum.total"))
    first, second = ends
    ranges = {
        "mode 0": (0, 1),
        f"modes 1 to {first}": (1, first + 1),
        f"modes {first + 1} to {second}": (first + 1, second + 1),
        f"modes {second + 1} to {total.shape[2] - 1}": (second + 1, total.shape[2]),
    }
    return {name: total[:, :, low:high].mean(axis=2) for name, (low, high) in ranges.items() if low < total.shape[2]}


def _along_training(run: StoredRun, ends: tuple[int, int], alt: str) -> Chart:
    epoch = run.arrays("epoch")[0]
    figure = go.Figure()
    colors = (INK, HUES[2], HUES[0], SOFT)
    for position, (name, curves) in enumerate(_blocks(run, ends).items()):
        figure.add_traces(seeds(epoch, _positive(curves), name, colors[position], DASHES[position], hover=".3e"))
    onset = run.figures.get(ONSET)
    if onset is not None and onset.value is not None:
        figure.add_vline(x=onset.value, line={"color": INK, "width": 1.2})
        figure.add_annotation(
            x=onset.value, y=1, yref="paper", yanchor="bottom", text=text("onset"), showarrow=False, font={"color": INK}
        )
    figure.update_xaxes(title_text="epoch")
    figure.update_yaxes(title_text="mean eigenvalue", type="log", dtick=1, exponentformat="power")
    figure.update_layout(hovermode="x unified")
    return chart(figure, alt, height=380)


SECTION = Section(
    "spectrum",
    "The spectrum and its cliffs",
    _build,
    arrays=("epoch", "spectrum.total", "cliffs", "heatmap.n"),
    marks=("spectrum.total", "cliffs"),
)
