"""The figures of a small run of every setting equal those stored here, to the last digit."""

import pytest

from tests.support import small_runs


@pytest.mark.parametrize("name", small_runs.SETTINGS)
def test_a_small_run_gives_the_figures_that_were_stored(name, tmp_path):
    if name == "language":
        pytest.importorskip("transformers", reason="the extra `language` is not installed")
        pytest.importorskip("spacy", reason="the extra `language` is not installed")
    before, now = small_runs.stored(name), small_runs.measured(name, tmp_path)
    for part in ("figures", "arrays"):
        assert now[part].keys() == before[part].keys()
    if now["computed_by"] != before["computed_by"]:
        pytest.skip(f"the digits are those of {before['computed_by']}; the names agree")
    apart = [
        f"{key}: {old} before, {now[part][key]} now"
        for part in ("figures", "arrays")
        for key, old in before[part].items()
        if now[part][key] != old
    ]
    assert not apart, "\n".join(apart)
