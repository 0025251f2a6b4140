"""Memory of this machine, how a budget of it is divided, and how fast the machine multiplies."""

import math
import os
import re
import time
from functools import lru_cache
from numbers import Real
from pathlib import Path

import torch

from tangentlens.errors import InvalidInputError
from tangentlens.kernels.cgroup import cgroup_headroom

# shares of what a budget leaves beside the kernels
FACTORS = 0.4  # factors of the parameters that are worked on together; gradients of a matrix-free product
GRAPH = 0.3  # the graph of a forward pass, and the backward passes through it
WORKSPACE = 0.2  # temporaries of a contraction
EXAMPLES = 2  # the least that a pass is run on

_SIZE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+) *((?:[KMGT]I?)?)B?", re.IGNORECASE)


def free_memory(device: torch.device, root: Path = Path("/")) -> int:
    """Bytes that can be allocated on the device now; on a CPU within the limits of the process's control groups.

    Args:
        root: where proc and sys are mounted.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    headroom, available = cgroup_headroom(root), _available(root)
    return available if headroom is None else min(available, headroom)


def _available(root: Path) -> int:
    meminfo = root / "proc/meminfo"
    for line in meminfo.read_text().splitlines() if meminfo.exists() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def default_budget(device: torch.device, root: Path = Path("/")) -> int:
    """A quarter of what is free, in bytes."""
    return free_memory(device, root) // 4


def parse_budget(value: object, device: torch.device) -> int:
    """Bytes that a user's `memory_budget=` argument names.

    Args:
        value: a number of bytes, a text such as "500MB" or "1.5 GiB" (kB, MB, GB, TB are powers of 1000; KiB, MiB,
            GiB, TiB of 1024), or None for `default_budget`.
        device: where the computation takes place.

    Raises:
        InvalidInputError: it names no positive number of bytes.
    """
    if value is None:
        return default_budget(device)
    size = _size(value)
    if size is None or not math.isfinite(size) or size < 1:
        raise InvalidInputError(
            f"memory_budget={value!r} is no positive number of bytes",
            where="memory_budget",
            remedy='Give a number of bytes such as 2e9, a text such as "500MB" or "2 GiB", or None for a quarter of '
            "what is free.",
        )
    return int(size)


def _size(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, Real):
        return float(value)
    matched = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if matched is None:
        return None
    prefix = matched[2].upper()
    base, power = 1024.0 if prefix.endswith("I") else 1000.0, " KMGT".index(prefix[:1] or " ")
    return float(matched[1]) * base**power


@lru_cache(maxsize=4)
def multiplication_rate(device: torch.device) -> float:
    """Measured floating-point operations per second of a float64 matrix product of order 768."""
    a = torch.ones(768, 768, dtype=torch.float64, device=device)
    a @ a  # the first product starts the threads
    start = time.perf_counter()
    (a @ a).sum().item()  # waits for the device
    return 2 * 768**3 / (time.perf_counter() - start)
