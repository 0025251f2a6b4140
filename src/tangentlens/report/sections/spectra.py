"""The spectrum of every layer of a language model, with the residual of every mode."""

import numpy as np
import plotly.graph_objects as go

from tangentlens.report.blocks import Block, Chart, Charts, Lead, Note, Section, Table
from tangentlens.report.charts import HUES, SEQUENTIAL, SOFT, chart, single, stacked
from tangentlens.report.language_run import LanguageRun, geometry_name, holds_language_model, language_run
from tangentlens.report.numbers import listing, plain
from tangentlens.store import StoredRun

_HOW = (
    "The modes are eigenvectors of a kernel compressed to some output directions; whether the solver converged there "
    "is one question. The other is the relative residual ||Kv − λv|| / λ, how far a mode is from an eigenvector of the "
    "full kernel: it is estimated from random directions outside the compressed rows, hence its standard error (after "
    "±). Where it is not small, trust the space of neighbouring modes rather than the single mode."
)


def _build(run: StoredRun) -> tuple[Block, ...]:
    modes = language_run(run)
    if modes is None:
        return (Note("Not shown: the run holds no eigenvalues of any layer."),)
    residuals = modes.of(modes.main, "residuals")
    maps = () if residuals is None else (_residual_map(modes, residuals),)
    absent = [name for name in ("residuals", "residuals.error", "converged") if modes.of(modes.main, name) is None]
    missing = (
        (Note(f"The run does not hold {listing([f'{modes.main}.{name}' for name in absent])}."),) if absent else ()
    )
    charts = Charts((_spectra(modes), *maps))
    return (Lead(_sentence(modes)), *missing, charts, _layers(modes), *_others(modes), Note(_HOW))


def _sentence(modes: LanguageRun) -> str:
    """How many modes converged, and how large the residuals are."""
    converged, residuals = modes.of(modes.main, "converged"), modes.of(modes.main, "residuals")
    count = modes.record.array(f"{modes.main}.values").size
    known = "The run does not say which modes converged." if converged is None else _count(int(converged.sum()), count)
    if residuals is None or not np.isfinite(residuals).any():
        return f"{known} No residual was stored."
    layer, mode = np.unravel_index(int(np.nanargmax(residuals)), residuals.shape)
    middle, worst = plain(float(np.nanmedian(residuals)), decimals=3), plain(float(np.nanmax(residuals)), decimals=3)
    where = f"layer {modes.layers[layer]}, mode {mode}"
    return f"{known} In the full kernel the median estimated residual is {middle}, at worst {worst} ({where})."


def _count(converged: int, count: int) -> str:
    if converged == 0:
        return f"None of the {count} modes converged: read every one of them with its residual."
    return f"{'All' if converged == count else f'{converged} of'} {count} modes converged in the compressed rows."


def _spectra(modes: LanguageRun) -> Chart:
    values = modes.record.array(f"{modes.main}.values")
    title = f"Eigenvalues, {geometry_name(modes.main)}"
    figure = stacked(1, [title])
    depth = np.linspace(0.25, 1.0, len(values)) if len(values) > 1 else np.ones(1)
    for layer, spectrum, opacity in zip(modes.layers, values, depth, strict=True):
        figure.add_scatter(
            x=np.arange(len(spectrum)), y=single(np.where(spectrum > 0, spectrum, np.nan)), opacity=float(opacity),
            mode="lines" if len(spectrum) > 1 else "markers", line={"color": HUES[0], "width": 1.6},
            showlegend=False, hovertemplate=f"layer {layer}, mode %{{x}}: %{{y:.3e}}<extra></extra>",
        )  # fmt: skip
    _name_ends(figure, modes, values)
    figure.update_xaxes(title_text="mode")
    figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    return chart(figure, f"{title} by mode, a line for each layer, stronger the deeper", height=400, below=48)


def _name_ends(figure: go.Figure, modes: LanguageRun, values: np.ndarray) -> None:
    """Names at the first and the last layer's last mode."""
    for place in sorted({0, len(values) - 1}):
        if values[place, -1] > 0:
            figure.add_annotation(
                x=values.shape[1] - 1, y=float(np.log10(values[place, -1])), text=modes.layers[place], showarrow=False,
                xanchor="left", xshift=3, font={"color": SOFT, "size": 12},
            )  # fmt: skip


def _residual_map(modes: LanguageRun, residuals: np.ndarray) -> Chart:
    errors = modes.of(modes.main, "residuals.error")
    title = f"Estimated residual: dark 0, bright {plain(float(np.nanmax(residuals, initial=0)), decimals=2)}"
    figure = stacked(1, [title])
    figure.add_heatmap(
        z=single(residuals), y=list(modes.layers), coloraxis="coloraxis", xgap=1, ygap=1,
        customdata=single(np.full(residuals.shape, np.nan) if errors is None else errors),
        hovertemplate="layer %{y}, mode %{x}: %{z:.3f} ± %{customdata:.3f}<extra></extra>",
    )  # fmt: skip
    figure.update_layout(coloraxis={"colorscale": SEQUENTIAL, "cmin": 0.0, "showscale": False})
    figure.update_xaxes(title_text="mode", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False, title_text="layer")
    return chart(figure, f"{title} of every mode of every layer", height=400, below=48)


def _layers(modes: LanguageRun) -> Table:
    """Every layer in the main geometry."""
    rows = [
        (layer, f"{value[0]:.4g}", f"{value[-1]:.4g}", *_quality(residual, error, done))
        for layer, value, residual, error, done in zip(modes.layers, *_quality_arrays(modes, modes.main), strict=True)
    ]
    columns = ("Layer", "First eigenvalue", "Last eigenvalue", *_QUALITY)
    return Table(columns, rows, f"Modes of every layer, {geometry_name(modes.main)}", numeric=(1, 2, 3, 4, 5))


def _others(modes: LanguageRun) -> tuple[Table, ...]:
    """The other geometries, all layers together."""
    rows = []
    for geometry in modes.geometries[1:]:
        _, *parts = _quality_arrays(modes, geometry)
        rows.append((geometry_name(geometry), *_quality(*(each.reshape(-1) for each in parts))))
    caption = "All modes of the other geometries"
    return (Table(("Geometry", *_QUALITY), rows, caption, numeric=(1, 2, 3)),) if rows else ()


_QUALITY = ("Median residual", "Worst residual", "Converged")


def _quality_arrays(modes: LanguageRun, geometry: str) -> tuple[np.ndarray, ...]:
    """Values, residuals, their errors, converged, (L, k) each; NaN where not stored."""
    values = modes.record.array(f"{geometry}.values")
    parts = [modes.of(geometry, name) for name in ("residuals", "residuals.error", "converged")]
    return (values, *(np.full(values.shape, np.nan) if each is None else each for each in parts))


def _quality(residuals: np.ndarray, errors: np.ndarray, converged: np.ndarray) -> tuple[str, str, str]:
    return _middle(residuals), _worst(residuals, errors), _converged(converged)


def _middle(residuals: np.ndarray) -> str:
    return plain(float(np.nanmedian(residuals)), decimals=3) if np.isfinite(residuals).any() else ""


def _worst(residuals: np.ndarray, errors: np.ndarray) -> str:
    if not np.isfinite(residuals).any():
        return ""
    at = int(np.nanargmax(residuals))
    error = f" ± {plain(float(errors[at]), decimals=3)}" if np.isfinite(errors[at]) else ""
    return f"{plain(float(residuals[at]), decimals=3)}{error}"


def _converged(done: np.ndarray) -> str:
    return f"{int(done.sum())} of {len(done)}" if np.isfinite(done).all() else ""


SECTION = Section("spectra", "Spectrum and residuals, layer by layer", _build, when=holds_language_model)
