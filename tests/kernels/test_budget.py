"""Memory budgets: what users write, and what a container leaves."""

from pathlib import Path

import numpy as np
import pytest
import torch

import tangentlens as tl
from tangentlens.kernels.budget import default_budget, free_memory, parse_budget

CPU = torch.device("cpu")
GB = 10**9


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (500_000_000, 500_000_000),
        (1.5e9, 1_500_000_000),
        (np.int64(7), 7),
        (np.float32(16.0), 16),
        ("500MB", 500_000_000),
        ("500 mb", 500_000_000),
        ("2 GiB", 2 * 2**30),
        ("2gib", 2 * 2**30),
        ("1.5GB", 1_500_000_000),
        (".5 TB", 500_000_000_000),
        ("64 KiB", 65536),
        ("3kB", 3000),
        ("12B", 12),
        (" 4096 ", 4096),
        ("2G", 2 * GB),
    ],
)
def test_a_budget_is_read_as_the_bytes_it_names(value: object, expected: int) -> None:
    assert parse_budget(value, CPU) == expected


@pytest.mark.parametrize(
    "value",
    [0, -1, 0.5, float("nan"), float("inf"), True, False, "", "MB", "0MB", "-5MB", "5 parsecs", "1e400GB", "2 iB",
     "NaN", "5 MB!", "0x10", "५MB", [500], {"MB": 5}, 1j, b"5MB", np.bool_(True), torch.tensor(5)],
)  # fmt: skip
def test_what_names_no_positive_number_of_bytes_is_refused(value: object) -> None:
    with pytest.raises(tl.InvalidInputError, match="memory_budget"):
        parse_budget(value, CPU)


def test_without_a_budget_a_quarter_of_what_is_free_is_taken() -> None:
    assert abs(parse_budget(None, CPU) - free_memory(CPU) // 4) < GB


def machine(root: Path, *, available: int, listing: str, files: dict[str, str]) -> Path:
    """A fake proc and sys: `listing` in /proc/self/cgroup, files below /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {available // 1024} kB\n")
    (root / "proc/self/cgroup").write_text(listing)
    for path, text in files.items():
        target = root / "sys/fs/cgroup" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text + "\n")
    return root


def group(path: str, limit: int | str, usage: int, inactive: int = 0) -> dict[str, str]:
    return {
        f"{path}memory.max": str(limit),
        f"{path}memory.current": str(usage),
        f"{path}memory.stat": f"anon 5\ninactive_file {inactive}\nactive_file 7",
    }


def first_version(path: str, limit: int, usage: int) -> dict[str, str]:
    return {f"memory/{path}memory.limit_in_bytes": str(limit), f"memory/{path}memory.usage_in_bytes": str(usage)}


CASES = {
    "no limit": ("0::/a\n", group("a/", "max", 3 * GB), 16 * GB),
    "a limit": ("0::/a\n", group("a/", 8 * GB, 3 * GB), 5 * GB),
    "a limit above what the machine has": ("0::/a\n", group("a/", 99 * GB, 3 * GB), 16 * GB),
    "file pages are given back": ("0::/a\n", group("a/", 8 * GB, 7 * GB, 4 * GB), 5 * GB),
    "the group above is tighter": ("0::/a/b\n", group("a/", 4 * GB, GB) | group("a/b/", 8 * GB, GB), 3 * GB),
    "the group above the one above": ("0::/a/b/c\n", group("a/", 2 * GB, GB) | group("a/b/c/", "max", GB), GB),
    "the root of a container": ("0::/\n", group("", 6 * GB, GB), 5 * GB),
    "used up": ("0::/a\n", group("a/", 2 * GB, 3 * GB), 0),
    "outside the namespace": ("0::/../a\n", group("", 6 * GB, GB), 5 * GB),
    "version 1": ("5:cpu,memory:/a\n1:name=systemd:/\n", first_version("a/", 7 * GB, GB), 6 * GB),
    "version 1 without a limit": ("5:memory:/a\n", first_version("a/", 2**63 - 4096, GB), 16 * GB),
    "version 1, a path of the host": ("5:memory:/docker/x\n", first_version("", 3 * GB, GB), 2 * GB),
    "both versions": ("5:memory:/a\n0::/a\n", first_version("a/", 7 * GB, GB), 6 * GB),
    "unreadable": ("0::/a\n", {"a/memory.max": "rubbish", "a/memory.current": "1"}, 16 * GB),
}


@pytest.mark.parametrize("case", CASES)
def test_free_memory_is_what_the_control_groups_leave(case: str, tmp_path: Path) -> None:
    listing, files, expected = CASES[case]
    root = machine(tmp_path, available=16 * GB, listing=listing, files=files)
    assert abs(free_memory(CPU, root) - expected) < 1024
    assert abs(default_budget(CPU, root) - expected // 4) < 1024


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    assert free_memory(CPU, tmp_path) > 0
