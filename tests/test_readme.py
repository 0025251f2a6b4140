"""The README's examples run as they stand, and print what it says."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
FIRST, SECOND = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), flags=re.DOTALL)


def test_the_first_example_prints_the_table_beneath_it(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    exec(compile(FIRST, str(README), "exec"), namespace)
    (shown,) = re.findall(r"```text\n(.*?)```", README.read_text("utf-8"), flags=re.DOTALL)
    assert capsys.readouterr().out.split() == shown.split()
    assert namespace["run"].report.is_file()


def test_the_second_example_runs(capsys):
    exec(compile(SECOND, str(README), "exec"), {})
    told = capsys.readouterr().out
    assert "('0', '2')" in told
    assert "all 10 eigenpairs converged" in told
