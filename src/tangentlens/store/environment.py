"""environment.json: what a run was made with. No host name, no user name, no path."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tangentlens.errors import StoreError
from tangentlens.store.atomic import write_text

SCHEMA = 1
_PACKAGE = Path(__file__).parents[1] / "__init__.py"
# A run made partly with one of these and partly with another would not be one run.
_DECISIVE = ("schema", "tangentlens", "source", "torch", "numpy", "scipy")


def describe_environment() -> dict[str, Any]:
    """Versions, commit and hash of the source tree (None outside a checkout), platform, threads and the UTC time."""
    return {
        "schema": SCHEMA,
        "tangentlens": version("tangentlens"),
        **_commit(_PACKAGE),
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "numpy", "scipy")},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": None,
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """Sentences on the versions that differ between two environments and would make one run of two."""
    return tuple(
        f"{key} was {before.get(key)}, now {now.get(key)}" for key in _DECISIVE if before.get(key) != now.get(key)
    )


def write_environment(folder: Path, environment: Mapping[str, Any]) -> None:
    """Write the environment of a run.

    Raises:
        StoreError: the folder cannot be written.
    """
    write_text(folder / "environment.json", json.dumps(environment, indent=2) + "\n")


def read_environment(folder: Path) -> dict[str, Any]:
    """The environment of a run.

    Raises:
        StoreError: the file is missing, unreadable or of another schema.
    """
    path = folder / "environment.json"
    try:
        environment = dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(
            f"the environment of the run cannot be read: {error}",
            where=str(path),
            remedy="The run is damaged: run it again with --overwrite.",
        ) from error
    if environment.get("schema") != SCHEMA:
        raise StoreError(
            f"the run was stored with schema {environment.get('schema')}, this version reads {SCHEMA}",
            where=str(path),
            remedy="Use the version of tangentlens that made it, or run its config.toml again.",
        )
    return environment


def _commit(source: Path) -> dict[str, Any]:
    """Commit of the checkout that tracks `source`, hash of its folder there, and whether files were changed since."""
    if _git(source, "ls-files", "--error-unmatch", source.name) is None:
        return {"commit": None, "source": None, "modified": None}
    changes = _git(source, "status", "--porcelain", "--untracked-files=no", "--", ".")
    commit, folder = (_git(source, "rev-parse", name) for name in ("HEAD", "HEAD:./"))
    return {"commit": commit, "source": folder, "modified": bool(changes)}


def _git(source: Path, *arguments: str) -> str | None:
    """Answer of git in the folder of `source`; None where there is no git or it refuses."""
    command = ["git", "-C", str(source.parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
