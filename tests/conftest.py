"""Shapes and types of our own functions are checked by beartype while the tests run."""

from jaxtyping import install_import_hook

install_import_hook("tangentlens", "beartype.beartype")
