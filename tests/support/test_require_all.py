"""A skip fails where everything is required, unless its reason is allowed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.require_all import ALLOWED, VARIABLE

ROOT = Path(__file__).parents[2]
CASES = {
    "mark": "@pytest.mark.skipif(True, reason={reason!r})\ndef test_it(): pass",
    "call": "def test_it(): pytest.skip({reason!r})",
    "fixture": "@pytest.fixture\ndef it(): pytest.skip({reason!r})\ndef test_it(it): pass",
    "module": "pytest.importorskip('no_such_module', reason={reason!r})",
}


def outcome(folder: Path, source: str, *, required: bool) -> tuple[int, str]:
    """Exit code and output of pytest on one file."""
    (folder / "test_case.py").write_text(f"import pytest\n\n{source}\n")
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.require_all", "-p", "no:cacheprovider", str(folder)]
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | ({VARIABLE: "1"} if required else {})
    done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
    return done.returncode, done.stdout


@pytest.mark.parametrize("way", CASES)
def test_a_skip_fails_only_where_everything_is_required(way, tmp_path):
    source = CASES[way].format(reason="no browser")
    code, said = outcome(tmp_path, source, required=True)
    assert code not in (0, 5), said
    assert "may not be skipped" in said
    assert "no browser" in said
    assert outcome(tmp_path, source, required=False)[0] in (0, 5)  # 5: no test was collected


@pytest.mark.parametrize("reason", ALLOWED)
def test_a_few_reasons_are_allowed(reason, tmp_path):
    sources = [CASES[way].format(reason=f"{reason}x").replace("test_it", f"test_{way}") for way in ("mark", "call")]
    assert outcome(tmp_path, "\n".join(sources), required=True)[0] == 0


def test_an_expected_failure_is_no_skip(tmp_path):
    source = "@pytest.mark.xfail(reason='known')\ndef test_it(): assert False"
    assert outcome(tmp_path, source, required=True)[0] == 0
