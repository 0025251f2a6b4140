"""Checks of shapes and types at run time are off in this folder: they take longer than its small models."""

import jaxtyping
import pytest


@pytest.fixture(autouse=True, scope="package")
def _without_type_checks():
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
