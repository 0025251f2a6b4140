"""Shapes and types of our own functions are checked by beartype while the tests run; skips may be forbidden."""

from jaxtyping import install_import_hook

install_import_hook("tangentlens", "beartype.beartype")
pytest_plugins = ["tests.support.require_all"]
