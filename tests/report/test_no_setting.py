"""A page is built from what a run holds: nothing of report/ names a setting of the paper."""

import re
from pathlib import Path

import pytest

from tangentlens import report
from tangentlens.paper import SETTINGS
from tangentlens.records import Figure
from tangentlens.report import labels

FILES = [path for path in Path(report.__path__[0]).rglob("*") if path.suffix in {".py", ".js", ".css", ".jinja"}]
NAMES = re.compile(rf"\b({'|'.join({*SETTINGS, 'gemma'} - {'language'})})\b", re.IGNORECASE)  # language: a plain word


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_names_a_setting(path):
    named = [line for line in path.read_text("utf-8").splitlines() if NAMES.search(line)]
    assert named == []
    assert not NAMES.search(path.stem)


def test_the_rule_sees_a_name_and_no_part_of_a_word():
    assert NAMES.search("the MLP's cliffs")
    assert NAMES.search("sections/superposition.py")
    assert not NAMES.search("from transformers import AutoModel")


@pytest.mark.parametrize("network", ["mlp", "transformer", "my_network"])
def test_an_ablation_has_words_whatever_the_network_is_called(network):
    figures = {f"causal.{network}.ablate.{part}.accuracy": Figure(1.0) for part in ("entk", "random", "pca")}
    assert [labels.figure(key) for key in figures] == [
        "Test accuracy without both blocks of modes",
        "Test accuracy without as many random functions",
        "Test accuracy without as many principal components",
    ]
    assert labels.figure(f"causal.{network}.directions.first.accuracy") == f"causal.{network}.directions.first.accuracy"
