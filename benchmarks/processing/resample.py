"""A volume of 192x256x256 voxels to 1 mm: python resample.py [--peers PYTHON] [--rounds 5]

Cubic B-spline with prefilter, and linear, against SimpleITK, both with two threads and without smoothing,
from an array in memory to an array in memory. SimpleITK gets the best of its ways that we know of: one call
of `Resample` on a float32 image, its threads set to two. Each round runs in a fresh process, after one run
that is not counted. Outputs are compared in every voxel within half a voxel of the volume.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHAPE, SPACING = (192, 256, 256), (1.2, 0.94, 0.94)
AIMS = {"cubic": 3.0, "linear": 2.0}
# In float32, of values up to about 500.
TOLERANCE = 2e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tool")
    parser.add_argument("--order", choices=sorted(AIMS), default="linear")
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--data", type=Path, default=Path(tempfile.gettempdir()) / "voxlake-benchmark-resample"
    )
    given = parser.parse_args()
    if given.tool:
        print(json.dumps(measure(given.tool, given.order, given.data)))
        return
    sys.path.insert(0, str(HERE.parent))
    from harness import compare, machine, save

    given.data.mkdir(parents=True, exist_ok=True)
    results = {}
    for order, aim in AIMS.items():
        tools = {
            name: [python, __file__, "--tool", name, "--order", order, "--data", str(given.data)]
            for name, python in (("voxlake", sys.executable), ("SimpleITK", given.peers))
        }
        results[order] = compare(tools, equal=equal, at_least={"SimpleITK": aim}, rounds=given.rounds)
    print(save({"machine": machine(), "shape": SHAPE, "spacing": SPACING, **results}, HERE, "resample"))
    print(json.dumps({order: found["times_faster"] for order, found in results.items()}, indent=1))


def measure(tool: str, order: str, data: Path) -> dict[str, Any]:
    import numpy as np

    # Structure of some voxels' width and noise, as an image has them.
    random = np.random.default_rng(5)
    waves = [np.sin(np.arange(n) / 5 + shift) for n, shift in zip(SHAPE, (0, 1, 2), strict=True)]
    values = 100 * np.einsum("i,j,k->ijk", *waves) + random.normal(0, 60, SHAPE)
    run, stated = TOOLS[tool](values.astype(np.float32), order)
    run()
    start, busy = time.perf_counter(), time.process_time()
    made = run()
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    path = data / f"{tool}-{order}.npy"
    # A third of the voxels along each axis, of every remainder in turn, is enough to compare.
    np.save(path, made[::3, 1::3, 2::3])
    return {"seconds": seconds, "processor_seconds": busy, "check": str(path), "tool": stated}


def voxlake(values: Any, order: str) -> tuple[Callable[[], Any], str]:
    from importlib.metadata import version

    from voxlake.core.grid import Grid
    from voxlake.core.volume import Volume
    from voxlake.processing.resample import Resample

    volume = Volume(values, Grid.from_spacing(SHAPE, SPACING))
    step = Resample(spacing=(1.0, 1.0, 1.0), order=order, antialias=False)
    return (lambda: step(volume).numpy()), f"voxlake {version('voxlake')}"


def simpleitk(values: Any, order: str) -> tuple[Callable[[], Any], str]:
    import SimpleITK as sitk  # noqa: N813 - as its documentation writes it

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(2)
    interpolator = sitk.sitkBSpline3 if order == "cubic" else sitk.sitkLinear
    # The grid that voxlake makes: same field of view, rounded to whole voxels, same centre.
    counts = [int(n * step + 0.5) for n, step in zip(SHAPE, SPACING, strict=True)]
    origin = [((n - 1) * step - (m - 1)) / 2 for n, step, m in zip(SHAPE, SPACING, counts, strict=True)]
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(SPACING[::-1])
    kept: list[Any] = []

    def run() -> Any:
        made = sitk.Resample(
            image, counts[::-1], sitk.Transform(), interpolator, origin[::-1], (1.0, 1.0, 1.0),
            (1, 0, 0, 0, 1, 0, 0, 0, 1), float("nan"), sitk.sitkFloat32,
        )  # fmt: skip
        # A view lives no longer than its image; copying it would be time that is not resampling.
        kept[:] = [made]
        return sitk.GetArrayViewFromImage(made)

    return run, f"SimpleITK {sitk.Version_VersionString()}, 2 threads"


TOOLS: dict[str, Callable[[Any, str], tuple[Callable[[], Any], str]]] = {
    "voxlake": voxlake,
    "SimpleITK": simpleitk,
}


def equal(checks: Mapping[str, Any]) -> str:
    import numpy as np

    ours, theirs = (np.load(checks[name]) for name in ("voxlake", "SimpleITK"))
    inside = np.isfinite(theirs)
    # SimpleITK's linear interpolation ends at the faces of the volume, and so does the grid.
    share = float(inside.mean())
    apart = float(np.abs(ours - theirs)[inside].max())
    if ours.shape != theirs.shape or share < 0.98 or apart > TOLERANCE:
        raise RuntimeError(f"the tools disagree by {apart} in {share:.1%} of {ours.shape} and {theirs.shape}")
    return f"at most {apart:.2g} apart in {share:.2%} of the voxels; values reach 500"


if __name__ == "__main__":
    main()
