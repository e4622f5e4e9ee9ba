"""Near-duplicate search in 100,000 hashes of 256 bits, against comparing all with all in NumPy.

    python benchmarks/formats/near_duplicates.py --rounds 5 --peers PYTHON

Hashes are made here, half of them like those of images of one kind: bits that are not evenly set. Among them
lie planted copies with 0 to 40 changed bits. Both tools must find the same pairs with the same distances.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from harness import compare, machine, save  # noqa: E402 - the folder is no package

AT_LEAST = {"numpy": 10.0}
BITS = 256


def hashes(count: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """(count, 4): hashes with planted near copies."""
    generator = np.random.default_rng(seed)
    # How often a bit is set in hashes of images of one kind, about as in real chest X-rays.
    often = np.clip(generator.normal(0.5, 0.15, BITS), 0.05, 0.95)
    bits = generator.random((count, BITS)) < np.where(generator.random((count, 1)) < 0.5, often, 0.5)
    # As in a perceptual hash, where the first coefficient only tells the mean.
    bits[:, 0] = False
    planted = count // 100
    sources = generator.integers(0, count - planted, planted)
    for place, source in zip(range(count - planted, count), sources, strict=True):
        bits[place] = bits[source]
        bits[place, 1 + generator.permutation(BITS - 1)[: generator.integers(0, 41)]] ^= True
    return np.packbits(bits, axis=1, bitorder="little").view("<u8").astype(np.uint64)


def equal(checks: Mapping[str, Any]) -> str:
    """All tools give the same pairs and distances."""
    if len({json.dumps(check, sort_keys=True) for check in checks.values()}) != 1:
        raise RuntimeError(f"the pairs differ: {checks}")
    return f"the same {next(iter(checks.values()))['pairs']} pairs with the same distances"


def main() -> None:
    """Run it and save the raw numbers."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--peers", default=sys.executable, help="Python that has NumPy 2 or later")
    options.add_argument("--hashes", type=int, default=100_000)
    options.add_argument("--distance", type=int, default=32)
    given = options.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "hashes.npy"
        np.save(file, hashes(given.hashes, seed=4))
        drive, rest = str(HERE / "near_duplicates_drive.py"), [str(file), str(given.distance)]
        results = compare(
            {
                "voxlake": [sys.executable, drive, "voxlake", *rest],
                "numpy": [given.peers, drive, "numpy", *rest],
            },
            equal=equal,
            at_least=AT_LEAST,
            rounds=given.rounds,
        )
    found = {"hashes": given.hashes, "bits": BITS, "distance": given.distance, **before, **results}
    print(json.dumps(found, indent=1))
    print("saved:", save(found, HERE, "near-duplicates"))


if __name__ == "__main__":
    main()
