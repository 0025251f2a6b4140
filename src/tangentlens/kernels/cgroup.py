"""Memory that the control groups of this process leave it: the limit of a container or of a scheduler's job."""

from collections.abc import Iterator
from pathlib import Path

# (mount below /sys/fs/cgroup, limit, usage, key of memory.stat with what the kernel gives back without swapping)
_VERSION_1 = ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = ("", "memory.max", "memory.current", "inactive_file")


def cgroup_headroom(root: Path = Path("/")) -> int | None:
    """Bytes that the tightest control group around this process has left; None where none sets a limit.

    Both versions of control groups, the process's own group and every one above it. File pages that the kernel
    reclaims first count as free.

    Args:
        root: where proc and sys are mounted.
    """
    left = [
        headroom
        for files, group in _own_groups(root)
        for folder in (group, *group.parents)
        if folder.is_relative_to(_mount(root, files)) and (headroom := _headroom(folder, files)) is not None
    ]
    return min(left) if left else None


def _own_groups(root: Path) -> Iterator[tuple[tuple[str, str, str, str], Path]]:
    """The files to read and the folder of each memory controller of this process."""
    listing = root / "proc/self/cgroup"
    for line in listing.read_text().splitlines() if listing.exists() else ():
        _, controllers, path = line.split(":", 2)
        inside = [part for part in path.split("/") if part not in ("", "..")]
        if controllers == "":
            yield _VERSION_2, _mount(root, _VERSION_2).joinpath(*inside)
        elif "memory" in controllers.split(","):
            yield _VERSION_1, _mount(root, _VERSION_1).joinpath(*inside)


def _mount(root: Path, files: tuple[str, str, str, str]) -> Path:
    return root / "sys/fs/cgroup" / files[0]


def _headroom(folder: Path, files: tuple[str, str, str, str]) -> int | None:
    """Limit less usage of one group; None where it sets no limit, or is not mounted here."""
    _, limit, usage, reclaimable = files
    try:
        most = (folder / limit).read_text().strip()
        used = int((folder / usage).read_text())
    except (OSError, ValueError):
        return None
    if not most.isdigit():  # "max"
        return None
    return max(0, int(most) - max(0, used - _statistic(folder / "memory.stat", reclaimable)))


def _statistic(path: Path, key: str) -> int:
    lines = path.read_text().splitlines() if path.exists() else []
    found = [int(value) for name, _, value in (line.partition(" ") for line in lines) if name == key]
    return found[0] if found else 0
