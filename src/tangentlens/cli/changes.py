"""Changes of a config that the command line asks for."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tangentlens.errors import InvalidInputError


def older_options(windows: int | None, groups: str | None, text: Path | None) -> list[str]:
    """--windows, --groups and --text as changes of a config, which they stood for before --set."""
    changes = [] if windows is None else [f"windows.count={windows}"]
    if groups is not None:
        named = [part.strip() for part in groups.split(",")]
        changes.append(f"kernel.groups={json.dumps(named[0] if groups in ('down_proj', 'weights') else named)}")
    if text is not None:
        changes += ["text.source=file", f"text.file={json.dumps(str(text))}"]
    return changes


def parsed_changes(changes: Sequence[str]) -> dict[str, Any]:
    """Dotted keys and their values: TOML where it is that, else text."""
    pairs = [change.partition("=") for change in changes]
    for key, equals, _ in pairs:
        if not key.strip() or not equals:
            raise InvalidInputError(f"{key!r} is no change", where="--set", remedy="Give KEY=VALUE.")
    return {key.strip(): _value(value.strip()) for key, _, value in pairs}


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
