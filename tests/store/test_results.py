import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tangentlens.errors import StoreError
from tangentlens.records import Figure
from tangentlens.store.results import finite, read_results, write_results

numbers = st.floats(allow_nan=True, allow_infinity=True)
fields = st.fixed_dictionaries(
    {
        "value": st.none() | numbers,
        "interval": st.none() | st.tuples(numbers, numbers),
        "n": st.integers(0, 100),
        "seeds": st.lists(st.integers(0, 1000), max_size=5).map(tuple),
        "unit": st.text(max_size=10),
    }
)

OPTIONAL = ("interval", "n", "seeds", "unit")


@settings(max_examples=40, deadline=None)
@given(rows=st.dictionaries(st.text(), fields, max_size=5))
def test_figures_come_back_as_written_with_null_for_what_is_no_number(tmp_path_factory, rows):
    results = {key: Figure(**row) for key, row in rows.items()}
    path = tmp_path_factory.mktemp("results") / "results.json"
    write_results(path, results)
    again = read_results(path).figures
    assert read_results(path).lacking == {}
    assert again.keys() == results.keys()
    for key, figure in results.items():
        bounds = figure.interval
        kept = bounds if bounds is not None and all(map(math.isfinite, bounds)) else None
        assert again[key] == Figure(finite(figure.value), kept, figure.n, figure.seeds, figure.unit)


def test_keys_are_sorted_and_nan_is_null(tmp_path):
    write_results(tmp_path / "r.json", {"b": Figure(float("nan")), "a.c": Figure(1.5, (1.0, 2.0), 3, (0, 1, 2), "s")})
    text = (tmp_path / "r.json").read_text()
    assert list(json.loads(text)) == ["a.c", "b"]
    assert json.loads(text)["b"]["value"] is None
    assert json.loads(text)["a.c"] == {"value": 1.5, "interval": [1.0, 2.0], "n": 3, "seeds": [0, 1, 2], "unit": "s"}


@given(rows=st.dictionaries(st.text(), fields, max_size=4), left_out=st.sets(st.sampled_from(OPTIONAL)))
@settings(max_examples=40, deadline=None)
def test_a_file_of_an_older_version_is_read_and_what_it_lacks_is_counted(tmp_path_factory, rows, left_out):
    path = tmp_path_factory.mktemp("results") / "results.json"
    write_results(path, {key: Figure(**row) for key, row in rows.items()})
    entries = json.loads(path.read_text())
    old = {key: {name: each[name] for name in each if name not in left_out} for key, each in entries.items()}
    path.write_text(json.dumps(old))
    found = read_results(path)
    assert found.lacking == (dict.fromkeys(sorted(left_out), len(rows)) if rows else {})
    assert {key: figure.value for key, figure in found.figures.items()} == {k: each["value"] for k, each in old.items()}
    for figure in found.figures.values():
        assert ("n" in left_out) == (figure.n is None)
        assert "interval" not in left_out or figure.interval is None


def test_a_newer_version_may_say_more(tmp_path):
    (tmp_path / "r.json").write_text(
        '{"a": {"value": 1.5, "interval": null, "n": 1, "seeds": [3], "unit": "s", "by": 1}}'
    )
    assert read_results(tmp_path / "r.json").figures == {"a": Figure(1.5, None, 1, (3,), "s")}


DAMAGED = (
    None, "", "{", "[]", "3", '{"a": 1}', '{"a": {}}', '{"a": {"n": 1}}', '{"a": {"value": "1.5"}}',
    '{"a": {"value": 1, "interval": [1]}}', '{"a": {"value": 1, "interval": "12"}}', '{"a": {"value": 1, "n": "many"}}',
    '{"a": {"value": 1, "seeds": 3}}', '{"a": {"value": 1, "unit": 3}}',
)  # fmt: skip


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_file_is_a_store_error(tmp_path, text):
    if text is not None:
        (tmp_path / "r.json").write_text(text)
    with pytest.raises(StoreError, match=r"r\.json"):
        read_results(tmp_path / "r.json")
