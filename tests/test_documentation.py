"""Every block of Python in the documentation runs, the blocks of a page one after another in an empty folder.

A comment <!-- needs: gemma --> at the top of a page asks for the packaged model; <!-- first ... --> holds code that a
reader need not see; <!-- not run: reason --> above a block leaves that block out.
"""

import inspect
import re
from pathlib import Path

import pytest

import tangentlens as tl

ROOT = Path(__file__).parents[1]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
BLOCK = re.compile(r"(<!-- not run: [^>]+ -->\n+)?(?:```python\n(.*?)```|<!-- first\n(.*?)-->)", re.DOTALL)


def blocks(page: Path) -> list[str]:
    """The blocks that are to be run, each moved down to its own lines so that errors name the right ones."""
    text = page.read_text("utf-8")
    found = [(match.start(), match.group(2) or match.group(3)) for match in BLOCK.finditer(text) if not match.group(1)]
    return ["\n" * (text.count("\n", 0, start) + 1) + code for start, code in found]


WITH_CODE = [page for page in PAGES if page.is_relative_to(ROOT / "docs") and blocks(page)]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_runs(page, tmp_path, monkeypatch):
    if "<!-- needs: gemma -->" in page.read_text("utf-8"):
        gguf = pytest.importorskip("tangentlens.language.gguf")
        if not gguf.packaged_gemma_installed():
            pytest.skip("the extra `gemma` is not installed")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for code in blocks(page):
        exec(compile(code, str(page), "exec"), namespace)


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8")))
    assert listed == {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.is_relative_to(ROOT / "docs")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


PROSE = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "experiments").glob("*/README.md"))]
GENERATED = {"docs/conformance.md", "docs/conformance-language-models.md"}
TO_BE_WRAPPED = {
    "docs/language-models.md",
    "docs/reports.md",
    "docs/statistics.md",
    "docs/tutorials/language-model.md",
    "experiments/gemma/README.md",
}


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_wrapped_at_100_columns(page):
    if str(page.relative_to(ROOT)) not in GENERATED | TO_BE_WRAPPED:
        text = re.sub(r"```.*?```|<!--.*?-->", "", page.read_text("utf-8"), flags=re.DOTALL)
        assert [line for line in text.splitlines() if len(line) > 100 and not line.startswith(("|", "    "))] == []


def test_the_recipes_name_every_keyword_of_analyse():
    page = (ROOT / "docs" / "how-to.md").read_text("utf-8")
    recipes = " ".join(line for line in page.splitlines() if not line.startswith("|"))
    assert [word for word in inspect.signature(tl.analyse).parameters if f"`{word}`" not in recipes] == ["model"]
