"""Heat maps of AUROC by layer and label."""

from collections.abc import Mapping

from tangentlens.report.blocks import Block, Chart, Charts, Note
from tangentlens.report.charts import HUES, SEQUENTIAL, chart, single, stacked, text
from tangentlens.report.held_out import Choice
from tangentlens.report.language_run import LanguageRun, geometry_name
from tangentlens.store.figure_keys import BASELINE


def layer_maps(modes: LanguageRun, choices: Mapping[str, Choice]) -> tuple[Block, ...]:
    """The main geometry's map and beside it the baseline's; none where there is nothing to map."""
    titles = {modes.main: f"eNTK, {geometry_name(modes.main)}", BASELINE: "PCA of the residual stream"}
    charts = tuple(
        _map(modes, name, choices[name], title)
        for name, title in titles.items()
        if name in choices and modes.of(name, "auroc") is not None
    )
    if not charts:
        return ()
    return (
        Charts(charts),
        Note(
            "AUROC on each label's test half, from dark (0.5, chance, or below) to bright (1.0). Layers run from left "
            "to right. In every layer the train half picked the mode and its sign by average precision; the ring marks "
            "the layer that it picked in the same way."
        ),
    )


def _map(modes: LanguageRun, source: str, choice: Choice, title: str) -> Chart:
    auroc = choice.everywhere(modes.record.array(f"{source}.auroc"))  # (L, labels)
    layers, names = list(modes.layers_of(source)), [text(name) for name in modes.labels]
    figure = stacked(1, [title])
    figure.add_heatmap(
        z=single(auroc.T), x=layers, y=names, customdata=choice.mode.T.tolist(), coloraxis="coloraxis", xgap=1, ygap=1,
        hovertemplate="%{y}, layer %{x}, mode %{customdata}: %{z:.3f}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[layers[at] for at in choice.layer], y=names, mode="markers", showlegend=False, hoverinfo="skip",
        marker={"symbol": "circle-open", "size": 13, "color": HUES[1], "line": {"width": 2.5}},
    )  # fmt: skip
    figure.update_layout(coloraxis={"colorscale": SEQUENTIAL, "cmin": 0.5, "cmax": 1.0, "showscale": False})
    figure.update_xaxes(
        type="category", showgrid=False, title_text="layer", tickangle=_angle(layers), dtick=max(1, len(layers) // 9)
    )
    figure.update_yaxes(type="category", showgrid=False, autorange="reversed", automargin=True)
    return chart(figure, f"{title}: AUROC of every label in every layer", height=104 + 22 * len(names), below=48)


def _angle(names: list[str]) -> int:
    """Numbers of layers lie flat; longer names stand."""
    return 0 if max(map(len, names)) <= 3 else -90
