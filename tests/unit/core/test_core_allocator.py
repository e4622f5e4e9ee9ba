"""Memory that is freed stays with the process while it is asked to, and goes back afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A process of its own: what others have allocated before must not matter.
SCRIPT = """
import resource
import numpy as np
from voxlake.core.allocator import memory_kept

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(40_000_000, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

usual = faults()
with memory_kept():
    np.ones(40_000_000, dtype=np.uint8)
    kept, held = faults(), resident()
print(usual, kept, held - resident(), faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_arrays_are_paged_in_once_only():
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    usual, kept, returned, after = map(int, said.split())
    assert kept < usual / 10
    assert returned > 30_000_000
    assert after > 10 * max(kept, 1)
