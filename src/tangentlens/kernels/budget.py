"""What this machine has: memory to spend, and how fast it multiplies."""

import os
import time
from functools import lru_cache
from pathlib import Path

import torch


def free_memory(device: torch.device) -> int:
    """Bytes that can be allocated on the device now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def default_budget(device: torch.device) -> int:
    """A quarter of what is free, in bytes."""
    return free_memory(device) // 4


@lru_cache(maxsize=4)
def multiplication_rate(device: torch.device) -> float:
    """Measured floating-point operations per second of a float64 matrix product of order 768."""
    a = torch.ones(768, 768, dtype=torch.float64, device=device)
    a @ a  # the first product starts the threads
    start = time.perf_counter()
    (a @ a).sum().item()  # waits for the device
    return 2 * 768**3 / (time.perf_counter() - start)
