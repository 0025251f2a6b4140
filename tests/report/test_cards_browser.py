"""The cards of a language model's run in a real browser, where there is one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tangentlens.report import build_report
from tests.support.chromium import BROWSER, DRIVER, Page
from tests.support.synthetic_language_run import (
    FULL,
    Size,
    language_measurement,
    store_language_run,
    with_arrays,
    with_words,
)

pytestmark = pytest.mark.skipif(
    BROWSER is None or DRIVER is None, reason="chromium and chromedriver are not both on PATH"
)
DRAWN = "document.documentElement.dataset.charts === 'drawn'"
CARDS = "[...document.querySelectorAll('.card')]"
HOSTILE = (
    "</script><script>window.pwned = 1</script>", "<img src=x onerror='window.pwned = 1'>", "\u202egnp.exe\u200f",
    "a\x00b\x1b", "\ud800", "x" * 10_000, "<!--", "&lt;b&gt;", "javascript:window.pwned=1", "שלום",
)  # fmt: skip


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of full size."""
    return build_report(store_language_run(tmp_path_factory.mktemp("full") / "run", language_measurement(FULL)))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(store_language_run(tmp_path_factory.mktemp("small") / "run"))


def choose(page: Page, label: str, value: str) -> None:
    """Set a control by its label, as a person would."""
    fields = "[...document.querySelectorAll('.controls label')]"
    page.ask(
        f"const field = {fields}.find((each) => each.textContent.startsWith('{label}'));"
        f"const control = field.querySelector('input, select'); control.value = '{value}';"
        "control.dispatchEvent(new Event(control.localName === 'input' ? 'input' : 'change')); return 0"
    )


def every(page: Page, elements: str, script: str) -> list[Any]:
    """The value of an expression in `each`, for all elements that a selector finds."""
    return page.ask(f'return [...document.querySelectorAll("{elements}")].map((each) => {script})')


def open_card(page: Page, name: str) -> None:
    """Follow the permanent link of a card."""
    page.ask(f"location.hash = '{name}'; return 0")
    page.until(f"document.querySelector('#{name}[open] .card-body')")


def names(page: Page) -> list[str]:
    return every(page, ".card .name", "each.textContent")


def numbers(page: Page, part: str) -> list[float]:
    """Numbers in the rows of the list: ".finds b" is the AUROC, ".lambda" the eigenvalue."""
    texts = every(page, f".card > summary {part}", "each.textContent")
    return [float(text.removeprefix("λ ").removeprefix("effect ").replace("−", "-")) for text in texts]


def test_the_page_of_a_full_run_is_small_and_soon_interactive(quiet, full):
    assert full.stat().st_size < 10e6
    first = []
    for _ in range(2):
        quiet.open(full, width=1280)
        assert len(names(quiet)) == 25
        first.append(quiet.ask("return performance.getEntriesByType('navigation')[0].domInteractive"))
    assert min(first) < 3000
    quiet.until(DRAWN)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_card_is_legible(quiet, full, tmp_path, width, scheme):
    quiet.open(full, width=width, scheme=scheme)
    open_card(quiet, "mode-16-3")
    quiet.until(DRAWN)
    assert quiet.ask("return document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert (
        max(every(quiet, "#mode-16-3 svg, #mode-16-3 .window, #mode-16-3 li", "each.getBoundingClientRect().right"))
        <= width
    )
    text = "#mode-16-3 .window-text"
    assert (
        every(quiet, text, "each.querySelectorAll(':scope > span:not(.next)').length") == [FULL.tokens] * FULL.examples
    )
    assert all(every(quiet, text, "each.scrollWidth <= each.clientWidth"))
    assert any(every(quiet, f"{text} > span", "Boolean(each.style.background)"))
    sizes = every(quiet, "#mode-16-3 *", "each.textContent.trim() ? parseFloat(getComputedStyle(each).fontSize) : 14")
    assert min(sizes) >= 14
    for section in every(quiet, "main section", "each.id"):
        quiet.ask(f"document.getElementById('{section}').scrollIntoView({{behavior: 'instant'}}); return 0")
        quiet.screenshot(tmp_path / f"{section}.png", whole=False)
        assert (tmp_path / f"{section}.png").stat().st_size > 2000


def test_search_sort_filters_and_links_work(quiet, full):
    quiet.open(full, width=1280)
    aurocs = numbers(quiet, ".finds b")
    assert aurocs == sorted(aurocs, reverse=True)

    choose(quiet, "Search", "garden")
    quiet.until(f"{CARDS}.every((each) => /garden|of its windows/.test(each.querySelector('.words').textContent))")
    own = every(quiet, ".card .words", "/^(raises|lowers)/.test(each.textContent)")
    assert own == sorted(own, reverse=True)  # a mode's own tokens come first
    assert any(own)
    choose(quiet, "Search", "cconj")
    quiet.until(f"{CARDS}.every((each) => each.querySelector('.words').textContent.includes('best label CCONJ'))")
    assert set(every(quiet, ".finds bdi", "each.textContent")) == {"CCONJ"}
    choose(quiet, "Search", "no such word")
    quiet.until("document.querySelector('.status').textContent.startsWith('No mode fits')")
    assert names(quiet) == []
    open_card(quiet, "mode-0-7")  # a link clears the search

    choose(quiet, "Sort by", "eigenvalue")
    assert (values := numbers(quiet, ".lambda")) == sorted(values, reverse=True)
    choose(quiet, "Sort by", "effect")
    assert (effects := numbers(quiet, ".lambda")) == sorted(effects, reverse=True)
    choose(quiet, "Sort by", "layer")
    assert names(quiet)[:2] == ["Layer 0 · mode 0", "Layer 0 · mode 1"]
    choose(quiet, "Layer", "7")
    assert names(quiet) == [f"Layer 7 · mode {mode}" for mode in range(25)]
    choose(quiet, "Label", "2")
    assert set(every(quiet, ".finds bdi", "each.textContent")) == {"VERB"}
    assert (aurocs := numbers(quiet, ".finds b")) == sorted(aurocs, reverse=True)
    choose(quiet, "Layer", "-1")
    shown = len(names(quiet))
    quiet.ask("document.querySelector('.more').click(); return 0")
    assert len(names(quiet)) == shown + 50

    quiet.ask("document.querySelectorAll('.mode-map .cell')[3 * 25 + 24].click(); return 0")
    quiet.until("document.querySelector('#mode-3-24[open] .card-body')")
    neighbour = quiet.ask("const link = document.querySelector('#mode-3-24 .alike a'); link.click(); return link.hash")
    quiet.until(f"document.querySelector('{neighbour}[open] .card-body')")
    assert neighbour.split("-")[1] != "3"


def test_a_link_from_outside_opens_its_card(quiet, small):
    quiet.open(small, width=1280)
    quiet.ask("location.hash = '#mode-99-7'; return 0")
    assert every(quiet, ".card", "each.open") == [False] * 12
    quiet.ask("location.hash = '#mode-2-3'; location.reload(); return 0")
    quiet.until("document.querySelector('#mode-2-3[open] .card-body')")
    quiet.until("document.querySelector('#mode-2-3').getBoundingClientRect().top < innerHeight")


def test_a_card_says_what_the_run_says(quiet, small):
    quiet.open(small, width=1280)
    open_card(quiet, "mode-1-2")
    run = language_measurement()
    assert (
        f"{float(run.arrays['raw.residuals'][1, 2]):.3f} ± "
        in every(quiet, "#mode-1-2 .card-facts", "each.textContent")[0]
    )
    window = int(run.arrays["raw.examples"][1, 2, 0])
    texts = run.words["tokens.text"]
    first = every(quiet, "#mode-1-2 .window:first-child .window-text", "each.textContent")[0]
    tokens = "".join(texts[token] for token in run.arrays["windows.input_ids"][window].tolist())
    assert first == f"{tokens.lstrip()}→ {run.words['windows.word'][window]}"
    raised = every(quiet, "#mode-1-2 .moved:first-of-type bdi", "each.textContent")[0]
    assert raised == texts[int(run.arrays["raw.raised.tokens"][1, 2, 0])]


@pytest.mark.parametrize("width", [1280, 390])
def test_labels_stand_with_their_interval_and_corrected_p(quiet, small, width):
    quiet.open(small, width=width)
    open_card(quiet, "mode-1-2")
    arrays = language_measurement().arrays
    auroc, low, high, p = (arrays[f"raw.{name}"][1, 2] for name in ("auroc", "auroc.low", "auroc.high", "p"))
    best = int(auroc.argmax())
    cells = every(
        quiet, "#mode-1-2 tbody tr:first-child .number:not(.lesser)", "each.innerText.split(/\\s+/).join(' ')"
    )
    said = "< 0.001" if p[best] < 0.001 else f"{float(p[best]):.3f}"
    assert cells == [f"{float(auroc[best]):.3f} {float(low[best]):.3f}–{float(high[best]):.3f}", said]
    right = every(quiet, "#mode-1-2 .card-part table", "each.getBoundingClientRect().right")
    assert max(right) <= width, "the table of the labels is wider than the page"


def test_what_is_no_finding_after_correction_is_grey(quiet, tmp_path):
    measurement = language_measurement()
    doubt = np.full(tuple(measurement.arrays["raw.p"].shape), 0.001, np.float32)
    doubt[2] = 0.31
    path = build_report(store_language_run(tmp_path / "run", with_arrays(measurement, {"raw.p": doubt})))
    quiet.open(path, width=1280)
    rows = every(quiet, ".card", "[each.id.split('-')[1], each.querySelector('.finds b').title]")
    assert {(layer, title) for layer, title in rows} == {("0", ""), ("1", ""), ("2", "corrected p 0.310")}


def test_it_can_be_used_by_the_keyboard_and_prints_what_is_open(quiet, small, tmp_path):
    quiet.open(small, width=1280)
    quiet.ask("document.querySelector('.mode-map .cell').focus(); return 0")
    quiet.press("\ue014"), quiet.press("\ue015")  # right, down
    assert quiet.ask("return document.activeElement.getAttribute('href')") == "#mode-1-1"
    quiet.press("\ue007")
    quiet.until("document.querySelector('#mode-1-1[open] .card-body')")
    assert quiet.ask("return document.activeElement.parentElement.id") == "mode-1-1"
    assert set(every(quiet, ".controls input, .controls select", "each.labels.length")) == {1}

    quiet.cdp("Emulation.setEmulatedMedia", media="print")
    shown = every(quiet, ".card", "getComputedStyle(each).display === 'none' ? '' : each.id")
    controls = every(quiet, ".controls", "getComputedStyle(each).display")
    quiet.cdp("Emulation.setEmulatedMedia", media="")
    assert [each for each in shown if each] == ["mode-1-1"]
    assert controls == ["none"]
    quiet.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")

    quiet.ask("document.querySelector('#mode-1-1 > summary').focus(); return 0")
    quiet.press("\ue007")
    quiet.until("!document.querySelector('#mode-1-1').open")


SHOWN = (
    HOSTILE[0], "<img src=x", "⟨U+202E⟩gnp.exe", "a␀b␛", "⟨U+D800⟩", "(10,000 characters)", "<!--", "&lt;b&gt;", "שלום",
)  # fmt: skip


def test_hostile_text_is_shown_and_runs_nothing(quiet, tmp_path):
    run = language_measurement()
    words = {name: tuple(HOSTILE[i % len(HOSTILE)] for i in range(len(each))) for name, each in run.words.items()}
    path = build_report(store_language_run(tmp_path / "run", with_words(run, {**words, "geometries": ("raw",)})))
    quiet.open(path, width=390)
    quiet.ask(f"{CARDS}.forEach((each) => {{ each.open = true }}); return 0")
    quiet.until(f"{CARDS}.every((each) => each.querySelector('.card-body'))")
    quiet.until(DRAWN)
    assert every(quiet, ".cards img, .cards script:not([type])", "each.outerHTML") == []
    assert all(each.startswith("#mode-") for each in every(quiet, ".cards a", "each.getAttribute('href')"))
    whole = quiet.ask("return document.querySelector('.cards').textContent")
    assert [text for text in SHOWN if text not in whole] == []
    assert quiet.ask("return document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    choose(quiet, "Search", "<img")
    quiet.until(f"{CARDS}.every((each) => each.querySelector('.words').textContent.includes('windows'))")
    assert quiet.ask("return window.pwned === undefined")


UNSURE = ("raw.auroc.low", "raw.auroc.high", "raw.p")
BARE = (
    "labels.names",
    "raw.auroc",
    "raw.residuals",
    "raw.examples",
    "raw.raised.tokens",
    "causal.effect",
    "raw.directions",
)


@pytest.mark.parametrize(
    ("size", "omit", "text"),
    [
        (Size(layers=1, modes=1), (), True),
        (Size(), BARE, True),
        (Size(), ("raw.scores",), True),
        (Size(), UNSURE, True),
        (Size(), ("raw.examples.shares", "tokens.text"), True),
        (Size(), (), False),
    ],
    ids=["one-mode", "bare", "no-scores", "no-intervals", "no-shares", "no-text"],
)
def test_cards_of_runs_that_lack_something_open(quiet, tmp_path, size, omit, text):
    path = build_report(store_language_run(tmp_path / "run", language_measurement(size, omit=omit)), text=text)
    quiet.open(path, width=1280)
    quiet.ask("document.querySelector('.card').open = true; return 0")
    quiet.until("document.querySelector('.card .card-facts')")
    (body,) = every(quiet, ".card-body", "each.textContent")
    assert "Eigenvalue" in body
    assert bool(every(quiet, ".blank", "1")) == (not text)
    assert ("→" in body) == (text and "raw.examples" not in omit and "raw.scores" not in omit)
