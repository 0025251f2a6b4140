"""Names that earlier versions stored, read as those of now: here and nowhere else."""

from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")

_SETTINGS = {"gemma": "language"}
_KEYS = {"causal.gemma.": "causal.language."}


def current_setting(name: str) -> str:
    """The name of a setting now."""
    return _SETTINGS.get(name, name)


def current_config(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A config, as TOML holds it, with the name of its setting now."""
    name = tree.get("setting")
    return {**tree, "setting": current_setting(name)} if isinstance(name, str) else dict(tree)


def current_keys(figures: Mapping[str, T]) -> dict[str, T]:
    """Figures, or what belongs to figures, by their keys now."""
    return {_current_key(key): value for key, value in figures.items()}


def _current_key(key: str) -> str:
    old = next((prefix for prefix in _KEYS if key.startswith(prefix)), "")
    return f"{_KEYS.get(old, '')}{key.removeprefix(old)}"
