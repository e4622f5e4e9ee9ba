"""Connected components and their numbers: voxlake against ``scipy.ndimage.label``; made-up tissue masks.

python benchmarks/processing/components.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHAPE = (200, 384, 384)
RANKS = {"faces": 1, "corners": 3}
AIM = {"scipy": 3.0}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", choices=("voxlake", "scipy"))
    parser.add_argument("--connectivity", choices=tuple(RANKS), default="faces")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.tool:
        print(json.dumps(measure(given.tool, given.connectivity)))
        return
    sys.path[:0] = [str(HERE.parent)]
    from harness import compare, machine, save

    results = {
        name: compare(
            {
                tool: [sys.executable, __file__, "--tool", tool, "--connectivity", name]
                for tool in ("voxlake", "scipy")
            },
            equal=equal,
            at_least=AIM,
            rounds=given.rounds,
        )
        for name in RANKS
    }
    print(save({"machine": machine(), **results}, HERE, "components"))
    print(json.dumps({name: found["times_faster"] for name, found in results.items()}, indent=1))


def measure(tool: str, connectivity: str) -> dict[str, Any]:
    import numpy as np
    from scipy import ndimage

    from voxlake.processing.components import label_components

    random = np.random.default_rng(7)
    mask = ndimage.gaussian_filter(random.normal(size=SHAPE).astype(np.float32), 2.5) > 0.02
    structure = ndimage.generate_binary_structure(3, RANKS[connectivity])
    # Imports and the first touch of memory are not what is measured.
    label_components(mask[:4])
    start = time.process_time()
    if tool == "scipy":
        labels, count = ndimage.label(mask, structure)
    else:
        labels, count = label_components(mask, connectivity=connectivity)
    seconds = time.process_time() - start
    digest = hashlib.sha256(np.ascontiguousarray(labels, dtype="<u4").tobytes()).hexdigest()
    return {"seconds": seconds, "check": digest, "components": count, "shape": SHAPE}


def equal(checks: Mapping[str, Any]) -> str:
    """Every voxel must have the same number."""
    if len(set(checks.values())) != 1:
        raise RuntimeError(f"the tools disagree: {checks}")
    return "equal in every voxel"


if __name__ == "__main__":
    main()
