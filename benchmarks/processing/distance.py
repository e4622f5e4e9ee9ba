"""Euclidean distance map with spacing: voxlake against ``scipy.ndimage.distance_transform_edt``.

python benchmarks/processing/distance.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHAPE = (128, 256, 256)
SPACING = (2.5, 0.7, 0.9)
TOLERANCE = 1e-4
AIM = {"scipy": 5.0}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", choices=("voxlake", "scipy"))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.tool:
        print(json.dumps(measure(given.tool, given.output)))
        return
    sys.path[:0] = [str(HERE.parent)]
    from harness import compare, machine, save

    with tempfile.TemporaryDirectory() as folder:
        commands = {
            tool: [sys.executable, __file__, "--tool", tool, "--output", f"{folder}/{tool}.npy"]
            for tool in ("voxlake", "scipy")
        }
        results = compare(commands, equal=equal, at_least=AIM, rounds=given.rounds)
    print(save({"machine": machine(), **results}, HERE, "distance"))
    print(json.dumps(results["times_faster"], indent=1))


def measure(tool: str, output: Path) -> dict[str, Any]:
    import numpy as np
    from scipy import ndimage

    from voxlake.processing.distance import distance_map

    random = np.random.default_rng(7)
    mask = ndimage.gaussian_filter(random.normal(size=SHAPE).astype(np.float32), 3) > 0.02
    # Imports and the first touch of memory are not what is measured.
    distance_map(mask[:4])
    start = time.process_time()
    if tool == "scipy":
        found = ndimage.distance_transform_edt(mask, sampling=SPACING)
    else:
        found = distance_map(mask, spacing=SPACING)
    seconds = time.process_time() - start
    np.save(output, np.asarray(found, dtype=np.float64))
    return {"seconds": seconds, "check": str(output), "shape": SHAPE, "spacing": SPACING}


def equal(checks: Mapping[str, Any]) -> str:
    """No distance may differ by more than the tolerance, in mm."""
    import numpy as np

    one, other = (np.load(path) for path in checks.values())
    apart = float(np.abs(one - other).max())
    if apart > TOLERANCE:
        raise RuntimeError(f"the distances differ by up to {apart} mm")
    return f"distances equal to {apart:.1e} mm"


if __name__ == "__main__":
    main()
