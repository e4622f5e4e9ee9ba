"""CLAHE of one 16-bit image of 2048x2048 against scikit-image's equalize_adapthist and OpenCV's CLAHE.

8 x 8 tiles, 256 bins, contrast limited to 2.56 times a flat histogram. scikit-image's maps are stairs of 256
steps and its result is stretched to 0..1; ours are linear within a step and are stretched for the comparison.
Agreed on: at most 3 % of the range apart, 0.5 % on average. OpenCV (which counts 65,536 bins for 16-bit
images, another limit) is timed only.

    python benchmarks/processing/clahe.py [--rounds 5]
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

import numpy as np

HERE = Path(__file__).resolve().parent
SIZE, TILES, BINS, CLIP = 2048, 8, 256, 2.56
TIMES = 5
AIMS = {"scikit-image": 10.0}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "voxlake-benchmark-clahe")
    given = parser.parse_args()
    if given.tool:
        print(json.dumps(measure(given.tool, given.data)))
        return
    sys.path.insert(0, str(HERE.parent))
    from harness import compare, machine, save

    given.data.mkdir(exist_ok=True)
    np.save(given.data / "image.npy", image())
    commands = {
        name: [sys.executable, str(Path(__file__)), "--tool", name, "--data", str(given.data)]
        for name in TOOLS
    }
    found = compare(commands, equal=equal, at_least=AIMS, rounds=given.rounds)
    cpu = {name: stated["cpu_seconds"] for name, stated in found["stated"].items()}
    found["cpu_times_faster"] = {name: round(value / cpu["voxlake"], 2) for name, value in cpu.items()}
    print(save({"machine": machine(), "clahe": found}, HERE, "clahe"))
    print(
        json.dumps(
            {key: found[key] for key in ("median", "times_faster", "cpu_times_faster", "outputs")}, indent=1
        )
    )


def image() -> np.ndarray:
    """Slow waves and noise over all 16 bits."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    noise = np.random.default_rng(0).normal(0, 800, x.shape)
    return ((np.sin(9 * x) * np.cos(7 * y) + 1.2) * 26000 + noise).clip(0, 65535).astype(np.uint16)


def measure(tool: str, data: Path) -> dict[str, Any]:
    values = np.load(data / "image.npy")
    apply = TOOLS[tool]()
    done = apply(values)
    np.save(data / f"{tool}.npy", done)
    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(TIMES):
        apply(values)
    return {
        "seconds": (time.perf_counter() - start) / TIMES,
        "cpu_seconds": (time.process_time() - cpu) / TIMES,
        "check": str(data / f"{tool}.npy"),
    }


def voxlake() -> Callable[[np.ndarray], np.ndarray]:
    from voxlake.core.grid import Grid
    from voxlake.core.volume import Volume
    from voxlake.processing.clahe import Clahe

    step, grid = Clahe(clip=CLIP, tiles=TILES, bins=BINS), Grid.flat_image((SIZE, SIZE))
    return lambda values: step(Volume(values[np.newaxis], grid)).numpy()[0]


def scikit_image() -> Callable[[np.ndarray], np.ndarray]:
    from skimage.exposure import equalize_adapthist

    side = SIZE // TILES
    return lambda values: equalize_adapthist(values, kernel_size=side, clip_limit=CLIP / BINS, nbins=BINS)


def opencv() -> Callable[[np.ndarray], np.ndarray]:
    import cv2

    return cv2.createCLAHE(CLIP, (TILES, TILES)).apply


TOOLS: dict[str, Callable[[], Callable[[np.ndarray], np.ndarray]]] = {
    "voxlake": voxlake,
    "scikit-image": scikit_image,
    "opencv": opencv,
}


def equal(checks: Mapping[str, Any]) -> str:
    ours, theirs = np.load(checks["voxlake"]), np.load(checks["scikit-image"])
    apart = np.abs((ours - ours.min()) / np.ptp(ours) - theirs)
    if apart.max() > 0.03 or apart.mean() > 0.005:
        raise RuntimeError(f"the tools disagree: at most {apart.max():.4f}, on average {apart.mean():.4f}")
    return f"within {apart.max():.4f} of the range, {apart.mean():.4f} on average"


if __name__ == "__main__":
    main()
