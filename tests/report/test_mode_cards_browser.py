"""The cards of any model in a real browser, where there is one."""

from itertools import pairwise
from pathlib import Path

import pytest

from tests.report.test_cards_browser import choose, every, names, open_card
from tests.support import mode_runs
from tests.support.chromium import BROWSER, DRIVER

pytestmark = pytest.mark.skipif(
    BROWSER is None or DRIVER is None, reason="chromium and chromedriver are not both on PATH"
)
KINDS = ("image", "table", "series", "text", "")


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        kind: mode_runs.mode_run(folder / (kind or "none"), kind, mode_runs.FEATURES if kind == "image" else None)
        / "report.html"
        for kind in KINDS
    }


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("kind", KINDS)
def test_a_card_is_legible(quiet, pages, kind, width, scheme):
    quiet.open(pages[kind], width=width, scheme=scheme)
    open_card(quiet, "card-total-1")
    card = "#card-total-1"
    assert quiet.ask("return document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    outside = f"{card} .card-inputs img, {card} .card-inputs > div, {card} .histogram, {card} h4"
    assert max(every(quiet, outside, "each.getBoundingClientRect().right")) <= width
    sizes = every(quiet, f"{card} *", "each.textContent.trim() ? parseFloat(getComputedStyle(each).fontSize) : 14")
    assert min(sizes) >= 14
    shown = {"image": "img", "table": "tbody tr", "series": "li svg", "text": ".window-text", "": "li"}[kind]
    assert len(every(quiet, f"{card} .card-inputs {shown}", "1")) == 20
    assert quiet.ask("return window.pwned") is None
    if kind == "image":
        looks = every(
            quiet, f"{card} .input-pictures img", "[getComputedStyle(each).imageRendering, each.naturalWidth]"
        )
        assert looks == [["pixelated", 8]] * 20


def test_search_sort_and_links_work(quiet, pages):
    quiet.open(pages["image"], width=1280)
    listed = names(quiet)
    assert listed[:6] == [*(f"total · mode {i}" for i in range(5)), "conv · mode 0"]
    assert every(quiet, ".controls select", "each.value")[-1] == "layer"

    choose(quiet, "Search", "middle")
    quiet.until("[...document.querySelectorAll('.card .words')].every((each) => each.textContent.includes('middle'))")
    assert 0 < len(names(quiet)) < len(listed)
    choose(quiet, "Search", "no such fact")
    quiet.until("document.querySelector('.status').textContent.startsWith('No mode fits')")
    open_card(quiet, "card-head-2")  # a link clears the search
    assert len(names(quiet)) == len(listed)

    choose(quiet, "Sort by", "auroc")
    texts = [text.replace("−", "-") for text in every(quiet, ".finds b", "each.textContent")]
    strengths = [float(text[2:]) if text.startswith("r ") else 2 * float(text) - 1 for text in texts]
    assert all(first >= second - 0.01 for first, second in pairwise(strengths))  # r has two digits
    choose(quiet, "Sort by", "share")
    assert names(quiet)[0].endswith("mode 0")
    choose(quiet, "Group", "1")
    assert all(each.startswith("conv") for each in names(quiet))
    choose(quiet, "Fact", "1")
    assert len(set(every(quiet, ".finds bdi", "each.textContent"))) == 1


def test_a_mode_says_what_it_goes_with_and_which_modes_are_like_it(quiet, pages):
    quiet.open(pages["image"], width=1280)
    open_card(quiet, "card-total-1")
    headings = every(quiet, "#card-total-1 h4", "each.textContent")
    assert headings[:2] == ["Highest scores", "Lowest scores"]
    assert "Scores by target" in headings
    assert "What its scores go with" in headings
    links = every(quiet, "#card-total-1 .alike a", "each.hash")
    for link in links[:1]:
        open_card(quiet, link.removeprefix("#"))
        assert "#card-total-1" in every(quiet, f"[id='{link[1:]}'] .alike a", "each.hash")


def test_cells_are_walked_by_keys_though_groups_have_unequal_numbers_of_modes(quiet, pages):
    quiet.open(pages["image"], width=1280)
    quiet.ask("document.querySelectorAll('.mode-map .cell')[1].focus(); return 0")
    quiet.ask("document.querySelector('.mode-map .cell').focus(); return 0")
    quiet.press("\ue014")  # right
    quiet.press("\ue015")  # down
    assert quiet.ask("return document.activeElement.hash") == "#card-conv-1"
    quiet.press("\ue013")  # up
    assert quiet.ask("return document.activeElement.hash") == "#card-total-1"
