"""The gallery: pages that share one plotly.js."""

from pathlib import Path

import pytest

from tangentlens.errors import InvalidInputError
from tangentlens.report.gallery import PLOTLY, write_gallery
from tangentlens.store.about import About, write_about
from tests.support.chromium import BROWSER, DRIVER, browse
from tests.support.synthetic_language_run import CONFIG as LANGUAGE
from tests.support.synthetic_language_run import language_measurement, store_language_run
from tests.support.synthetic_run import CONFIG, store_run, synthetic_measurement


@pytest.fixture(scope="module")
def mlp(tmp_path_factory) -> Path:
    return store_run(tmp_path_factory.mktemp("mlp") / "run", [synthetic_measurement(0)])


def test_pages_lie_by_setting_and_share_one_plotly(mlp, tmp_path):
    language = store_language_run(tmp_path / "run")
    pages = write_gallery([mlp, language], tmp_path / "gallery")
    assert pages == tuple(tmp_path / "gallery" / name / "index.html" for name in ("mlp", "gemma"))
    assert sorted(path.name for path in (tmp_path / "gallery").iterdir()) == ["gemma", "mlp", PLOTLY]
    assert (tmp_path / "gallery" / PLOTLY).stat().st_size > 1e6
    for page in pages:
        text = page.read_text("utf-8")
        assert len(text) < 600_000
        assert f'data-address="../{PLOTLY}"' in text
    assert not (mlp / "report.html").exists()


def test_texts_are_shown_only_where_the_model_wrote_them(tmp_path):
    run = language_measurement()
    word = run.words["windows.word"][0]
    for source, shown in (("written", True), ("hub", False), ("auto", False)):
        config = f'{LANGUAGE}\n[text]\nsource = "{source}"\n'
        folder = store_run(tmp_path / source / "run", [run], config)
        (page,) = write_gallery([folder], tmp_path / source / "gallery")
        assert (f'"{word}"' in page.read_text("utf-8")) == shown


def test_two_runs_of_a_setting_and_settings_without_a_place_are_refused_and_nothing_is_written(mlp, tmp_path):
    with pytest.raises(InvalidInputError, match="2 runs have the setting 'mlp'"):
        write_gallery([mlp, mlp], tmp_path / "gallery")
    other = store_run(tmp_path / "other", [synthetic_measurement(0)], CONFIG.replace('"mlp"', '"../../mlp"'))
    with pytest.raises(InvalidInputError, match="no place for the setting"):
        write_gallery([mlp, other], tmp_path / "gallery")
    write_about(other, About("Elsewhere", experiment="../../mlp"))
    with pytest.raises(InvalidInputError, match="no place for the setting"):
        write_gallery([other], tmp_path / "gallery")
    with pytest.raises(InvalidInputError, match="not a run"):
        write_gallery([mlp, tmp_path], tmp_path / "gallery")
    assert not (tmp_path / "gallery").exists()


def test_other_pages_stay(mlp, tmp_path):
    (tmp_path / "gemma").mkdir()
    (tmp_path / "gemma" / "index.html").write_text("kept")
    write_gallery([mlp], tmp_path)
    assert (tmp_path / "gemma" / "index.html").read_text() == "kept"


@pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="chromium and chromedriver are not both on PATH")
def test_a_page_asks_for_nothing_but_the_shared_plotly(mlp, tmp_path):
    (page,) = write_gallery([mlp], tmp_path)
    with browse() as opened:
        opened.open(page, width=1280)
        opened.until("window.Plotly")
        opened.draw_all()
        assert opened.log("browser") == []
        asked = {url for url in opened.requests() if not url.startswith(("data:", "chrome:"))}
        assert asked == {page.as_uri(), (tmp_path / PLOTLY).as_uri()}

        (tmp_path / PLOTLY).unlink()
        opened.open(page, width=1280)
        opened.until("document.querySelector('.plot').textContent === document.querySelector('.plot').ariaLabel")
