"""Shapes and types of our own functions are checked by beartype while the tests run; skips may be forbidden."""

import logging

import pytest
from jaxtyping import install_import_hook

install_import_hook("tangentlens", "beartype.beartype")
pytest_plugins = ["tests.support.require_all"]


@pytest.fixture(autouse=True)
def _log_as_it_was():
    """A command of the command line sends the log to its own terminal; the next test reads it as before."""
    logger = logging.getLogger("tangentlens")
    before = (logger.handlers, logger.level, logger.propagate)
    yield
    logger.handlers, logger.level, logger.propagate = before
