"""Time to interactive of the page of a full language model's run, as Chromium reports it.

The run is made up: 25 modes of each of 18 layers, 20 windows of 64 tokens a card, 1,024 windows, 14 labels. Each load
is in a fresh browser with an empty cache. Time to interactive is where the last long task (50 ms or more, the browser's
own `longtask` entries) ended before five seconds without one, and not before the content was loaded
(`domContentLoadedEventEnd`). Nobody scrolls meanwhile; then the first chart is scrolled to, which starts plotly, and
the longest task of that is given apart.

    python benchmarks/report_interactive.py [--loads 3] [--width 1280] [--page report.html]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tangentlens.report import build_report
from tests.support.chromium import Page, browse
from tests.support.synthetic_language_run import FULL, language_measurement, store_language_run

QUIET = 5.0  # seconds
OBSERVE = """
window.longTasks = [];
new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries()) window.longTasks.push([startTime, duration]);
}).observe({ type: "longtask", buffered: true });
"""


@dataclass(frozen=True)
class Load:
    """One load; seconds since navigation began, but for the length of the longest task after scrolling."""

    loaded: float
    interactive: float
    blocked_by_charts: float


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        page = options.page or _full_page(Path(folder))
        loads = [_load(page, options.width) for _ in range(options.loads)]
    for place, load in enumerate(loads, start=1):
        print(
            f"load {place}: content {load.loaded:.2f} s, interactive {load.interactive:.2f} s; "
            f"longest task at the first chart {load.blocked_by_charts:.2f} s"
        )
    print(f"time to interactive: {statistics.median(load.interactive for load in loads):.2f} s (median)")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=int, default=3)
    parser.add_argument("--width", type=int, default=1280, help="of the window, in CSS pixels")
    parser.add_argument("--page", type=Path, help="a report.html of your own instead of the made-up run's")
    return parser.parse_args()


def _full_page(folder: Path) -> Path:
    run = store_language_run(folder / "run", language_measurement(FULL))
    start = time.perf_counter()
    page = build_report(run)
    print(f"built in {time.perf_counter() - start:.1f} s, {page.stat().st_size / 1e6:.1f} MB")
    return page


def _load(path: Path, width: int) -> Load:
    with browse() as page:
        page.cdp("Page.addScriptToEvaluateOnNewDocument", source=OBSERVE)
        page.open(path, width=width)
        _wait_for_quiet(page)
        navigation = "performance.getEntriesByType('navigation')[0]"
        loaded = page.ask(f"return {navigation}.domContentLoadedEventEnd")
        ended = max((start + duration for start, duration in _long_tasks(page)), default=0.0)
        before = len(_long_tasks(page))
        page.ask("document.querySelector('.plot').scrollIntoView({behavior: 'instant'}); return 0")
        page.until("document.querySelector('.plot .main-svg')")
        _wait_for_quiet(page)
        later = [duration for _, duration in _long_tasks(page)[before:]]
        return Load(loaded / 1000, max(loaded, ended) / 1000, max(later, default=0.0) / 1000)


def _wait_for_quiet(page: Page) -> None:
    """Until the last long task ended `QUIET` seconds ago."""
    quiet = f"performance.now() - Math.max(...longTasks.map(([start, length]) => start + length), 0) > {1000 * QUIET}"
    page.until(f"document.readyState === 'complete' && {quiet}", seconds=120)


def _long_tasks(page: Page) -> list[tuple[float, float]]:
    return [(start, duration) for start, duration in json.loads(page.ask("return JSON.stringify(longTasks)"))]


if __name__ == "__main__":
    main()
