"""The spectrum of every group's kernel, with what its modes explain and how exactly they were found."""

import numpy as np
import plotly.graph_objects as go

from tangentlens.report.blocks import Block, Chart, Lead, Note, Section, Table
from tangentlens.report.charts import DASHES, HUES, INK, chart, single
from tangentlens.report.group_labels import group_label
from tangentlens.report.numbers import several
from tangentlens.store import StoredRun


def _build(run: StoredRun) -> tuple[Block, ...]:
    record = run.seeds[0]
    groups = record.words["kernel.groups"]
    values = {name: record.array(f"kernel.{name}.values") for name in groups}
    known = [each for name in groups if not np.isnan(each := record.array(f"kernel.{name}.residuals")).any()]
    residual = max((float(each.max(initial=0)) for each in known), default=0.0)
    check = run.figures.get("kernel.check")
    checked = "" if check is None or check.value is None else (
        f" Sampled entries of the kernels equal automatic differentiation to {check.value:.0e}."
    )  # fmt: skip
    return (
        Lead(_sentence(run, values)),
        _chart({group_label(run, name): spectrum for name, spectrum in values.items()}),
        Note(f"The worst relative residual of a mode is {residual:.0e}.{checked}"),
        _table(run, values),
    )


def _sentence(run: StoredRun, values: dict[str, np.ndarray]) -> str:
    total = values["total"]
    trace = float(run.seeds[0].array("kernel.total.trace"))
    share = f" and hold {100 * total.sum() / trace:.0f} % of its trace" if np.isfinite(trace) and trace > 0 else ""
    others = [name for name in values if name != "total"]
    most = max(others, key=lambda name: float(values[name].sum()), default="")
    largest = f" Most of it is in {group_label(run, most)}." if most else ""
    return f"{several(len(total), 'mode')} of the whole kernel were found{share}.{largest}"


def _chart(values: dict[str, np.ndarray]) -> Chart:
    figure = go.Figure()
    for place, (name, spectrum) in enumerate(values.items()):
        colour = INK if name == "total" else HUES[(place - 1) % len(HUES)]
        figure.add_scatter(
            x=np.arange(len(spectrum), dtype=np.int32), y=single(np.where(spectrum > 0, spectrum, np.nan)),
            mode="lines+markers" if len(spectrum) <= 30 else "lines", name=name,
            line={"color": colour, "width": 2.2 if name == "total" else 1.4, "dash": DASHES[place % len(DASHES)]},
            marker={"size": 5}, hovertemplate=f"{name}, mode %{{x}}: %{{y:.3e}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="mode")
    figure.update_yaxes(title_text="eigenvalue", type="log", exponentformat="power")
    return chart(figure, "Eigenvalues of every group's kernel by mode, on a log scale", height=420)


def _table(run: StoredRun, values: dict[str, np.ndarray]) -> Table:
    record = run.seeds[0]
    rows = []
    for name, spectrum in values.items():
        trace = float(record.array(f"kernel.{name}.trace"))
        residuals = record.array(f"kernel.{name}.residuals")
        converged = int(record.array(f"kernel.{name}.converged"))
        unresolved = [f"{first} to {last}" for first, last in record.array(f"kernel.{name}.unresolved")]
        rows.append(
            (
                group_label(run, name), str(len(spectrum)), f"{spectrum[0]:.3g}", f"{spectrum[-1]:.3g}",
                f"{100 * spectrum.sum() / trace:.1f} %" if np.isfinite(trace) and trace > 0 else "",
                *_solved(residuals, converged),
                ", ".join(unresolved) or "none",
            )
        )  # fmt: skip
    columns = (
        "Group", "Modes", "First eigenvalue", "Last", "Share of the trace", "Worst residual", "Converged",
        "Known as a space alone",
    )  # fmt: skip
    return Table(columns, rows, "The kernels", numeric=(1, 2, 3, 4, 5, 6))


def _solved(residuals: np.ndarray, converged: int) -> tuple[str, str]:
    """The worst residual and how many modes converged; of functions that are no eigenvectors neither is known."""
    if np.isnan(residuals).any():
        return "not known", "not known"
    return f"{residuals.max(initial=0):.0e}", f"{converged} of {len(residuals)}"


def _holds(run: StoredRun) -> bool:
    return bool(run.seeds) and "kernel.groups" in run.seeds[0].words


SECTION = Section("spectrum", "The spectrum of every kernel", _build, when=_holds)
