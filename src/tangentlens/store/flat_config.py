"""Configs as TOML holds them, nested, with dotted keys."""

from collections.abc import Mapping
from typing import Any


def flat_config(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a nested config to dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flat_config(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
