"""A tiny model and a run of it that the tests of the analysis share."""

import pytest


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with a tiny model, its tokenizer and stories that it has learned to go on with."""
    pytest.importorskip("transformers", reason="the extra `language` is not installed")
    pytest.importorskip("spacy", reason="the extra `language` is not installed")
    from tests.support import language_cases as cases  # noqa: PLC0415 (needs the extra `language`)

    folder = tmp_path_factory.mktemp("language")
    cases.write_model(folder)
    return folder


@pytest.fixture(scope="session")
def stored(place):
    """A run without evidence."""
    from tests.support.language_run import config, finished  # noqa: PLC0415 (needs the extra `language`)

    return finished(config(place), place / "run", evidence=False)
