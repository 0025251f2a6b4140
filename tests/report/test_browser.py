"""The report in a real browser, where there is one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tangentlens.report import build_report
from tests.support.chromium import BROWSER, DRIVER, Page, browse
from tests.support.synthetic_run import store_run, synthetic_measurement

pytestmark = pytest.mark.skipif(
    BROWSER is None or DRIVER is None, reason="chromium and chromedriver are not both on PATH"
)


DRAWN = "document.documentElement.dataset.charts === 'drawn'"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser") / "run"
    return build_report(store_run(folder, [synthetic_measurement(seed) for seed in range(3)]))


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browse() as opened:
        yield opened


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_opens_without_an_error_or_a_request(page, report, tmp_path, width, scheme):
    page.requests(), page.log("browser")
    page.open(report, width=width, scheme=scheme)
    page.until(DRAWN)
    page.draw_all()
    assert page.ask("return document.querySelectorAll('.plot .main-svg').length") > 0
    assert page.ask("return document.querySelectorAll('.plot').length") == page.ask(
        "return document.querySelectorAll('.plot.js-plotly-plot').length"
    )
    assert page.ask("return document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert page.ask("return document.documentElement.dataset.theme") == scheme
    page.screenshot(tmp_path / "page.png")
    assert page.log("browser") == []
    assert {url for url in page.requests() if not url.startswith(("data:", "chrome:"))} == {report.as_uri()}


def test_charts_wait_until_they_come_near_the_window(page, report):
    page.open(report, width=1280, height=300)
    page.until(DRAWN)
    assert page.ask("return [typeof Plotly, document.querySelectorAll('.js-plotly-plot').length]") == ["undefined", 0]
    last = "[...document.querySelectorAll('.plot')].at(-1)"
    page.ask(f"{last}.scrollIntoView({{behavior: 'instant'}}); return 0")
    page.until(f"{last}.querySelector('.main-svg')")
    drawn = page.ask("return document.querySelectorAll('.js-plotly-plot').length")
    assert drawn < page.ask("return document.querySelectorAll('.plot').length")


def test_it_can_be_used_by_the_keyboard_and_prints_in_light_colours(page, report, tmp_path):
    page.open(report, width=1280)
    page.until(DRAWN)
    page.draw_all()
    assert page.ask("return [...document.querySelectorAll('.scroll, pre')].every((part) => part.tabIndex === 0)")
    page.press("\ue004")
    assert page.ask("return document.activeElement.className") == "skip"

    ink, theme = (
        "return document.querySelector('.plot').layout.font.color",
        "return document.documentElement.dataset.theme",
    )
    light = page.ask(ink)
    page.ask("document.getElementById('theme').focus(); return 0")
    page.press("\ue007")
    assert page.ask(theme) == "dark"
    assert page.ask(ink) != light

    page.ask(
        "addEventListener('beforeprint', () => { window.printed = document.querySelector('.plot').layout.font.color })"
    )
    page.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    assert page.ask("return window.printed") == light
    assert page.ask(theme) == "dark"
    page.ask("localStorage.clear(); return 0")
