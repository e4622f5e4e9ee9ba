"""HD95 of two spheres of radius 60 in 256-cubed: voxlake against MONAI and DeepMind's surface-distance.

python benchmarks/metrics/hd95.py --peers .peers/bin/python [--rounds 5]

The peers' environment needs ``monai`` and ``surface-distance``. The two peers measure different surfaces, so
each is compared with voxlake under its own definition. CPU time of one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SIZE, RADIUS = 256, 60
CENTRES = (128, 128, 128), (131, 126, 132)
AIM = 3.0
PEERS = {"monai": "voxels", "surface-distance": "surfels"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", choices=("voxlake", *PEERS))
    parser.add_argument("--surface", choices=tuple(PEERS.values()))
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.tool:
        print(json.dumps(measure(given.tool, given.surface)))
        return
    sys.path[:0] = [str(HERE.parent)]
    from harness import compare, machine, save

    results = {}
    for peer, surface in PEERS.items():
        commands = {
            tool: [python, __file__, "--tool", tool, "--surface", surface]
            for tool, python in (("voxlake", sys.executable), (peer, given.peers))
        }
        results[peer] = compare(commands, equal=equal, at_least={peer: AIM}, rounds=given.rounds)
    print(save({"machine": machine(), **results}, HERE, "hd95"))
    print(json.dumps({peer: found["times_faster"][peer] for peer, found in results.items()}, indent=1))


def measure(tool: str, surface: str) -> dict[str, Any]:
    import numpy as np

    axes = np.ogrid[:SIZE, :SIZE, :SIZE]
    truth, predicted = (
        sum((axis - place) ** 2 for axis, place in zip(axes, centre, strict=True)) <= RADIUS**2
        for centre in CENTRES
    )
    version, run = {"voxlake": voxlake, "monai": monai, "surface-distance": deepmind}[tool](surface)
    # Imports, tables and the first use of each part are not what is measured.
    run(truth[110:130, 110:130, :60], predicted[110:130, 110:130, :60])
    start = time.process_time()
    found = run(truth, predicted)
    return {"seconds": time.process_time() - start, "check": float(found), "version": version}


Run = Callable[[Any, Any], float]


def voxlake(surface: str) -> tuple[str, Run]:
    from importlib.metadata import version

    from voxlake.metrics.surface import hausdorff_distance

    def run(truth: Any, predicted: Any) -> float:
        return hausdorff_distance(truth, predicted, (1, 1, 1), percentile=95, surface=surface)

    return version("voxlake"), run


def monai(_: str) -> tuple[str, Run]:
    import warnings
    from importlib.metadata import version

    import torch
    from monai.metrics import compute_hausdorff_distance

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)

    def run(truth: Any, predicted: Any) -> float:
        one, other = (torch.from_numpy(mask[None, None]) for mask in (truth, predicted))
        return float(compute_hausdorff_distance(other, one, include_background=True, percentile=95))

    return version("monai"), run


def deepmind(_: str) -> tuple[str, Run]:
    import warnings
    from importlib.metadata import version

    import numpy as np

    # The package was written for NumPy 1, where infinity and NaN had more names.
    vars(np).update(Inf=np.inf, NaN=np.nan)
    warnings.simplefilter("ignore")
    from surface_distance import compute_robust_hausdorff, compute_surface_distances

    def run(truth: Any, predicted: Any) -> float:
        return compute_robust_hausdorff(compute_surface_distances(truth, predicted, [1, 1, 1]), 95)

    return version("surface-distance"), run


def equal(checks: Mapping[str, Any]) -> str:
    one, other = checks.values()
    if abs(one - other) > 1e-5:
        raise RuntimeError(f"HD95 differs: {dict(checks)}")
    return f"HD95 {one:.6f} and {other:.6f} mm"


if __name__ == "__main__":
    main()
