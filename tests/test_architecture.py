"""The package keeps the shape that CONTRIBUTING.md and docs/architecture.md promise.

Sizes are those of benchmarks/code_size.py, the order of the rooms is the contract in pyproject.toml.
"""

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import tangentlens as tl

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "tangentlens"
MOST_LINES, MOST_FILE_LINES, MOST_ARGUMENTS, MOST_BRANCHES = 45, 300, 8, 14

# functions that are to be split, by file and name; nothing is to be added
TOO_LONG = {
    "kernels/tracing/recording.py record_uses",
    "language/sweep/sweep.py sweep",
    "models/functional.py functional_model",
}
TOO_MANY_ARGUMENTS = {
    "eigen/block_lanczos.py block_lanczos",
    "kernels/matrix_free.py __init__",
    "kernels/tracing/recurrent.py run",
    "language/windows/search.py build_windows",
    "statistics/paired.py paired_comparison",
}
TOO_MANY_BRANCHES = {
    "kernels/factored/assembly.py _parameter_kernels",
    "kernels/factored/factors.py _roles",
    "kernels/factored/separable.py separate",
    "kernels/tracing/recording.py visit",
    "kernels/tracing/recurrent.py run",
    "language/analysis/evidence.py _ablations",
    "language/sweep/check.py sample_entries",
    "models/functional.py functional_model",
}


def counter() -> Any:
    """benchmarks/code_size.py as a module."""
    spec = importlib.util.spec_from_file_location("code_size", ROOT / "benchmarks" / "code_size.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


CODE = counter().measure(ROOT)


def beyond(attribute: str, limit: int) -> dict[str, int]:
    """Functions above a limit: file and name -> value."""
    found = {each.place: getattr(each, attribute) for each in CODE.functions if getattr(each, attribute) > limit}
    return {re.sub(r":\d+", "", place).removeprefix("src/tangentlens/"): value for place, value in found.items()}


def test_functions_are_short():
    found = beyond("lines", MOST_LINES)
    public = {name for name in found if name.split()[1] in tl.__all__ and name.startswith("pipeline/")}
    assert {name: value for name, value in found.items() if name not in TOO_LONG | public} == {}


def test_functions_take_few_arguments():
    found = beyond("arguments", MOST_ARGUMENTS)
    public = {name for name in found if name.startswith("cli/") or name.split()[1] in tl.__all__}
    assert found.keys() - public - TOO_MANY_ARGUMENTS == set()


def test_functions_branch_little():
    assert beyond("branches", MOST_BRANCHES).keys() - TOO_MANY_BRANCHES == set()


def test_files_are_short():
    assert [each for each in CODE.files if each.lines > MOST_FILE_LINES] == []


def test_no_import_goes_round_or_comes_late():
    assert CODE.cycles == []
    assert {name: late for name, late in CODE.late.items() if not name.startswith("tangentlens.cli")} == {}


def layers() -> list[set[str]]:
    """The rooms of the contract, from the top down."""
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    assert contract["exhaustive"]
    return [set(layer.split(" | ")) for layer in contract["layers"]]


def test_the_picture_in_contributing_is_the_contract():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (picture,) = re.findall(r"<!-- the rooms, .*? -->\n\n((?:    .*\n)+)", text)
    drawn = [set(line[4:].split("  ")[0].split(" | ")) for line in picture.splitlines()]
    assert drawn == layers()


def test_every_room_is_explained_and_drawn():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rooms = set().union(*layers())
    assert set(re.findall(r"^\*\*`(\w+)`\*\*", text, re.MULTILINE)) == rooms
    drawing = (ROOT / "docs" / "architecture.svg").read_text("utf-8")
    drawn = set(re.findall(r'class="room"[^>]*>(\w+)[/.\w]*<', drawing))
    assert drawn <= rooms
    assert rooms - drawn == {"cli", "config", "errors", "progress", "records"}  # the drawing shows where data passes


def test_the_ten_questions_are_answered_by_files():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    answers = re.findall(r"^\| .+\? \| `([\w/.]+)` \|", text, re.MULTILINE)
    assert len(answers) == 10
    assert [answer for answer in answers if not (PACKAGE / answer).is_file()] == []


@pytest.mark.parametrize(
    "page", ["CONTRIBUTING.md", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md"))]
)
def test_files_that_a_page_names_exist(page):
    places = (ROOT, PACKAGE, ROOT / "tests", ROOT / "docs")
    named = set(re.findall(r"`([\w-]+(?:/[\w-]+)*/?[\w-]+\.(?:py|md|toml))`", (ROOT / page).read_text("utf-8")))
    folders = set(re.findall(r"`((?:[\w-]+/)+)`", (ROOT / page).read_text("utf-8")))
    missing = [name for name in named | folders if "/" in name and not any((at / name).exists() for at in places)]
    assert [name for name in missing if not name.startswith(("runs/", "arrays/", "site/"))] == []


def test_tests_lie_where_the_modules_lie():
    apart = {"support", "golden", "conformance"}
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    assert [
        str(each) for each in folders if each.parts and each.parts[0] not in apart and not (PACKAGE / each).is_dir()
    ] == []
