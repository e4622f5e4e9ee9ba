"""One search for near pairs of hashes in a fresh process: `near_duplicates.py` runs this once per round."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from typing import Any

# One thread for everybody; NumPy's bit operations have no other anyway.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

Array = np.ndarray[Any, Any]

# What was fastest of blocks from 1 x 20,000 to 256 x 1,024: everything stays in the second-level cache.
ROWS, COLUMNS = 64, 4096


def with_voxlake(hashes: Array, distance: int) -> Array:
    """Pairs and distances by `voxlake.lake.near_duplicates`."""
    from voxlake.lake.near_duplicates import pairs_within

    found = pairs_within(hashes, distance)
    return np.stack([found.first, found.second, found.distance], axis=1)


def with_numpy(hashes: Array, distance: int) -> Array:
    """All against all: XOR and population count by blocks, into memory that is used again."""
    count, words = hashes.shape
    columns = [np.ascontiguousarray(hashes[:, word]) for word in range(words)]
    xor = np.empty((ROWS, COLUMNS), np.uint64)
    # One byte holds a sum of up to 255: the first bit of a perceptual hash is always 0.
    total, last = (np.empty((ROWS, COLUMNS), np.uint8) for _ in range(2))
    parts = []
    for top in range(0, count, ROWS):
        bottom = min(count, top + ROWS)
        for left in range(top, count, COLUMNS):
            right = min(count, left + COLUMNS)
            block = (slice(bottom - top), slice(right - left))
            np.bitwise_xor(columns[0][top:bottom, None], columns[0][None, left:right], out=xor[block])
            np.bitwise_count(xor[block], out=total[block])
            for column in columns[1:]:
                np.bitwise_xor(column[top:bottom, None], column[None, left:right], out=xor[block])
                np.bitwise_count(xor[block], out=last[block])
                np.add(total[block], last[block], out=total[block])
            first, second = np.nonzero(total[block] <= distance)
            later = second + left > first + top
            if later.any():
                first, second = first[later], second[later]
                parts.append(np.stack([first + top, second + left, total[block][first, second]], axis=1))
    pairs = np.concatenate(parts) if parts else np.zeros((0, 3), np.int64)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def main(tool: str, file: str, distance: str) -> None:
    """Time one search and print one line of JSON."""
    hashes = np.load(file)
    search = {"voxlake": with_voxlake, "numpy": with_numpy}[tool]
    # Imports and the first use of every function are not what is measured.
    search(hashes[:100], int(distance))
    start = time.perf_counter()
    pairs = search(hashes, int(distance))
    seconds = time.perf_counter() - start
    digest = hashlib.sha256(np.ascontiguousarray(pairs, dtype="<i8").tobytes()).hexdigest()
    print(
        json.dumps(
            {
                "seconds": seconds,
                "check": {"pairs": len(pairs), "sha256": digest},
                "versions": {"numpy": np.__version__, "python": sys.version.split()[0]},
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
