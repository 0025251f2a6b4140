"""The film in a real browser, where there is one."""

import pytest

from tangentlens.report import build_report
from tests.support.chromium import BROWSER, DRIVER, browse
from tests.support.synthetic_run import store_run, synthetic_measurement

pytestmark = pytest.mark.skipif(
    BROWSER is None or DRIVER is None, reason="chromium and chromedriver are not both on PATH"
)
FIRST = "document.querySelector('.film .plot').data[0].y[0]"


def test_the_slider_moves_the_chart_by_key_and_the_button_plays(tmp_path):
    report = build_report(store_run(tmp_path / "run", [synthetic_measurement(0)]))
    with browse() as page:
        page.open(report, width=390)
        page.ask("document.querySelector('.film').scrollIntoView({behavior: 'instant'}); return 0")
        page.until("document.querySelector('.film .main-svg')")
        assert page.ask("return document.querySelector('.film output').textContent") == "500"
        last = page.ask(f"return {FIRST}")
        page.ask("document.querySelector('.film input').focus(); return 0")
        page.press("\ue012")  # left
        page.until("document.querySelector('.film output').textContent === '490'")
        page.until(f"{FIRST} !== {last}")
        page.press("\ue011")  # home: the first checkpoint
        page.until("document.querySelector('.film output').textContent === '0'")
        page.ask("document.querySelector('.film button').click(); return 0")
        page.until("Number(document.querySelector('.film output').textContent) >= 20")
        page.ask("document.querySelector('.film button').click(); return 0")
        assert page.ask("return document.querySelector('.film button').textContent") == "Play"
        assert page.log("browser") == []
