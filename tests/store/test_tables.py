"""Tables of a run come back as they were stored, and are listed by their names."""

import pytest

from tangentlens.errors import NotStoredError
from tangentlens.records import Measurement
from tangentlens.store.arrays import SeedRecord, read_measurement, write_part
from tangentlens.store.tables import read_table, table_names, table_parts


def test_tables_are_listed_by_names_with_dots_too_and_columns_are_not_tables(tmp_path) -> None:
    words: dict[str, tuple[str, ...]] = {"labels": ("table", "x")}
    arrays = {}
    for name in ("baselines", "baselines.means"):
        parts = table_parts(name, {"method": ["PCA", "ICA"], "score": [0.5, float("nan")], "k": [1, 2]})
        arrays |= parts[0]
        words |= parts[1]
    sources = dict.fromkeys(arrays, tmp_path / "0.safetensors")
    write_part(tmp_path / "0.safetensors", Measurement(0, {}, {}, arrays, words=words))
    record = SeedRecord(0, {}, {}, (), 0.0, sources, words)
    assert table_names(record) == ("baselines", "baselines.means")
    table = read_table(record, "baselines.means")
    assert len(table) == 2
    assert table.rows()[0] == {"method": "PCA", "score": 0.5, "k": 1}
    assert read_measurement(tmp_path / "0.safetensors").words == words
    with pytest.raises(NotStoredError):
        read_table(record, "means")
