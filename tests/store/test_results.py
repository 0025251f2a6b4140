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


@settings(max_examples=40, deadline=None)
@given(rows=st.dictionaries(st.text(), fields, max_size=5))
def test_figures_come_back_as_written_with_null_for_what_is_no_number(tmp_path_factory, rows):
    results = {key: Figure(**row) for key, row in rows.items()}
    path = tmp_path_factory.mktemp("results") / "results.json"
    write_results(path, results)
    again = read_results(path)
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


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"a": 1}', '{"a": {"value": 1}}'])
def test_a_damaged_file_is_a_store_error(tmp_path, text):
    if text is not None:
        (tmp_path / "r.json").write_text(text)
    with pytest.raises(StoreError, match=r"r\.json"):
        read_results(tmp_path / "r.json")
