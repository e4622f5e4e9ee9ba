"""N4 of a biased phantom of 25x256x256, shrunk by 4 with the field applied at full resolution, against
SimpleITK at full resolution (its default settings and threads, an Otsu mask).

Agreed on: corrected volumes less than 1 % of the mean apart over the mask, on average.

    python benchmarks/processing/n4.py [--rounds 5] [--shape 25 256 256]
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

import numpy as np

HERE = Path(__file__).resolve().parent
AIMS = {"SimpleITK": 20.0}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", type=int, nargs=3, default=[25, 256, 256])
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "voxlake-benchmark-n4")
    given = parser.parse_args()
    if given.tool:
        print(json.dumps(measure(given.tool, given.data)))
        return
    sys.path.insert(0, str(HERE.parent))
    from harness import compare, machine, save

    given.data.mkdir(exist_ok=True)
    np.save(given.data / "volume.npy", phantom(tuple(given.shape)))
    commands = {
        name: [sys.executable, str(Path(__file__)), "--tool", name, "--data", str(given.data)]
        for name in TOOLS
    }
    found = compare(commands, equal=equal, at_least=AIMS, rounds=given.rounds)
    cpu = {name: stated["cpu_seconds"] for name, stated in found["stated"].items()}
    found["cpu_times_faster"] = {name: round(value / cpu["voxlake"], 2) for name, value in cpu.items()}
    print(save({"machine": machine(), "shape": given.shape, "n4": found}, HERE, "n4"))
    print(
        json.dumps(
            {key: found[key] for key in ("median", "times_faster", "cpu_times_faster", "outputs")}, indent=1
        )
    )


def phantom(shape: tuple[int, ...]) -> np.ndarray:
    """A ball of two tissues, with noise, under a bias of about a factor of two."""
    z, y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt((y - 0.5) ** 2 + (x - 0.5) ** 2 + (z - 0.5) ** 2 / 2)
    tissue = 100 + 60 * (np.sin(20 * x) * np.sin(23 * y) * np.cos(9 * z) > 0)
    bias = np.exp(0.5 * (x - 0.5) + 0.4 * y * y)
    noise = np.random.default_rng(0).normal(0, 3, shape)
    return np.abs(np.where(radius < 0.42, tissue, 5) * bias + noise).astype(np.float32)


def measure(tool: str, data: Path) -> dict[str, Any]:
    values = np.load(data / "volume.npy")
    start, cpu = time.perf_counter(), time.process_time()
    done = TOOLS[tool](values)
    found = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    np.save(data / f"{tool}.npy", done)
    return {**found, "check": str(data)}


def voxlake(values: np.ndarray) -> np.ndarray:
    from voxlake.core.grid import Grid
    from voxlake.core.volume import Volume
    from voxlake.processing.n4 import N4

    return N4(shrink=4)(Volume(values, Grid.from_spacing(values.shape, (4.0, 1.0, 1.0)))).numpy()


def simpleitk(values: np.ndarray) -> np.ndarray:
    import SimpleITK as sitk  # noqa: N813 - the name that its own documentation uses

    image = sitk.GetImageFromArray(values)
    return sitk.GetArrayFromImage(
        sitk.N4BiasFieldCorrectionImageFilter().Execute(image, sitk.OtsuThreshold(image, 0, 1, 200))
    )


TOOLS = {"voxlake": voxlake, "SimpleITK": simpleitk}


def equal(checks: Mapping[str, Any]) -> str:
    import SimpleITK as sitk  # noqa: N813 - the name that its own documentation uses

    data = Path(checks["voxlake"])
    ours, theirs, values = (np.load(data / f"{name}.npy") for name in ("voxlake", "SimpleITK", "volume"))
    mask = sitk.GetArrayFromImage(sitk.OtsuThreshold(sitk.GetImageFromArray(values), 0, 1, 200)) > 0
    # N4 leaves one factor open; voxlake chooses it such that the mean of the tissue stays.
    theirs = theirs * (values[mask].mean() / theirs[mask].mean())
    apart = float(np.abs(ours - theirs)[mask].mean() / theirs[mask].mean())
    if apart > 0.01:
        raise RuntimeError(f"the corrected volumes are {apart:.2%} apart")
    return f"{apart:.3%} of the mean apart, on average over the mask"


if __name__ == "__main__":
    main()
