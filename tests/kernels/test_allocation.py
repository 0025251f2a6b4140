"""Freed memory is kept where pieces of the same work follow each other, and given back behind them."""

import json
import subprocess
import sys

import pytest

from tangentlens.kernels.allocation import glibc

pytestmark = pytest.mark.skipif(glibc() is None, reason="a C library other than glibc")

# in a process of its own: whatever ran before leaves holes in the heap that blocks fit into
MEASURE = """
import json, resource
from tangentlens.kernels.allocation import freed_memory_kept
import torch

MB = 2**20 // resource.getpagesize()

def touched():
    '''MB of pages first touched while five blocks of 100 MB are allocated, filled and freed.'''
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.empty(100 * 2**20 // 4).fill_(1.0)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / MB

def resident():
    return int(open("/proc/self/statm").read().split()[1]) / MB

outside, before = touched(), resident()
with freed_memory_kept():
    inside, kept = touched(), resident() - before
print(json.dumps({"outside": outside, "inside": inside, "kept": kept, "left": resident() - before}))
"""


def test_freed_blocks_are_used_again_inside_and_given_back_behind():
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["outside"] > 400
    assert found["inside"] < 250
    assert found["kept"] > 90
    assert found["left"] < 50
