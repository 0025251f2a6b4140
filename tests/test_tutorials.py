"""The tutorials' sources run, their sentences agree with what comes out, and their notebooks hold the same cells."""

import html
import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "tutorials"
SOURCES = sorted(FOLDER.glob("*.py"))
CELL = re.compile(r"^# %%( \[markdown\])?\n(.*?)(?=^# %%|\Z)", re.DOTALL | re.MULTILINE)

# source -> texts with what a run gives in their brackets; each must stand in the tutorial
SENTENCES = {
    "digits": (
        "ranks the fives better (AUROC {fives.untrained:.2f}) than one of the trained network does ({fives.score:.2f})",
    ),
}
LOOKED_UP = {"digits": 'fives = table[(table.group == "total") & (table.feature == "digit = 5")].iloc[0]'}

names = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def cells(source: Path) -> list[tuple[str, str]]:
    """("markdown" or "code", its text) of every cell of a source in the percent format."""
    found = []
    for markdown, body in CELL.findall(source.read_text("utf-8")):
        text = re.sub(r"^# ?", "", body, flags=re.MULTILINE) if markdown else body
        found.append(("markdown" if markdown else "code", text.strip()))
    return found


@names
def test_a_notebook_has_the_cells_of_its_source_and_their_outputs(source):
    path = source.with_suffix(".ipynb")
    stored = json.loads(path.read_text("utf-8"))["cells"]
    assert [(cell["cell_type"], "".join(cell["source"]).strip()) for cell in stored] == cells(source)
    assert all(cell["execution_count"] for cell in stored if cell["cell_type"] == "code")
    outputs = [output for cell in stored for output in cell.get("outputs", ())]
    assert not any(output["output_type"] == "error" for output in outputs)
    assert any({"image/png", "image/svg+xml"} & set(output.get("data", ())) for output in outputs)
    assert str(source.parents[2]) not in path.read_text("utf-8")
    assert "site-packages" not in path.read_text("utf-8")
    assert path.stat().st_size < 300_000


@names
def test_a_tutorial_runs_and_says_what_comes_out(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    exec(compile(source.read_text("utf-8"), str(source), "exec"), namespace)
    page = namespace["run"].report.read_text("utf-8")
    found = html.unescape(re.search(r'<p class="lead">(.*?)</p>', page, re.DOTALL).group(1)).replace("\xa0", " ")
    prose = [text for kind, text in cells(source) if kind == "markdown"]
    quoted = [line.removeprefix("> ") for text in prose for line in text.splitlines() if line.startswith("> ")]
    assert " ".join(quoted) == found
    exec(LOOKED_UP.get(source.stem, ""), namespace)
    whole = " ".join(" ".join(prose).split())
    for sentence in SENTENCES.get(source.stem, ()):
        assert sentence.format_map(namespace) in whole


@names
def test_the_analysis_takes_few_lines(source):
    (code,) = [text for kind, text in cells(source) if kind == "code" and "tl.analyse(" in text]
    assert len(code.splitlines()) <= 12
