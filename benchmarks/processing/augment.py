"""Random affine, elastic deformation and noise on a patch of 128x128x128 voxels, drawn anew each time.

Rotations up to 10 degrees, scales up to a tenth, shifts up to 5 voxels; displacements up to 7.5 voxels on a
lattice of 7 control points an axis; Gaussian noise of 0.1. 2 threads, after a warm-up, drawing included.

TorchIO: RandomAffineElasticDeformation (one resampling for both, the same cubic B-splines) and RandomNoise.
MONAI: RandAffine, RandSmoothDeform (its fast deformation: a random lattice of the same size, grown linearly)
and RandGaussianNoise. "MONAI elastic" is Rand3DElastic (both in one resampling, noise smoothed by a Gaussian)
with RandGaussianNoise: stated, not compared in strength, for its displacements follow another model.

Random numbers differ, so outputs are compared by what they do: ramps along the three axes are transformed to
measure how far voxels are moved, a constant volume to measure the noise; means over several draws.

    python benchmarks/processing/augment.py --peers PYTHON [--rounds 5] [--clock wall|cpu]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SIZE = 128
DEGREES, SCALE, SHIFT, LARGEST, POINTS, NOISE = 10.0, 0.1, 5.0, 7.5, 7, 0.1
REPEATS = {"voxlake": 10, "torchio": 1, "monai": 3, "monai elastic": 1}
DRAWS = 2
AIMS = {"torchio": 3.0, "monai": 3.0}
# Volumes (channels, slices, rows, columns) and whether noise is added -> as many, one draw for all.
Apply = Callable[[Any, bool], Any]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool")
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    given = parser.parse_args()
    if given.tool:
        print(json.dumps(measure(given.tool, given.clock)))
        return
    sys.path.insert(0, str(HERE.parent))
    from harness import compare, machine, save

    commands = {
        name: [
            sys.executable if name == "voxlake" else given.peers,
            *(str(Path(__file__)), "--tool", name, "--clock", given.clock),
        ]
        for name in TOOLS
    }
    found = compare(commands, equal=equal, at_least=AIMS, rounds=given.rounds)
    print(save({"machine": machine(), "clock": given.clock, **found}, HERE, "augment"))
    print(json.dumps(found["times_faster"], indent=1))


def measure(tool: str, clock: str) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    import numpy as np

    apply, stated = TOOLS[tool]()
    values = np.random.default_rng(1).random((1, SIZE, SIZE, SIZE), dtype=np.float32)
    apply(values, True)
    now = time.perf_counter if clock == "wall" else time.process_time
    start = now()
    for _ in range(REPEATS[tool]):
        apply(values, True)
    seconds = (now() - start) / REPEATS[tool]
    return {"seconds": seconds, "check": effect(apply), "tool": stated, "repeats": REPEATS[tool]}


def effect(apply: Apply) -> dict[str, float]:
    """How far voxels in the middle are moved (voxels, mean over draws), and the deviation of the noise."""
    import numpy as np

    middle = (slice(None), *(slice(SIZE // 4, -SIZE // 4),) * 3)
    ramps = np.stack(np.meshgrid(*(np.arange(SIZE, dtype=np.float32),) * 3, indexing="ij"))
    moved = [
        np.linalg.norm((np.asarray(apply(ramps, False)) - ramps)[middle], axis=0).mean() for _ in range(DRAWS)
    ]
    level = np.asarray(apply(np.full((1, SIZE, SIZE, SIZE), 5, np.float32), True))
    return {"moved": float(statistics.mean(map(float, moved))), "noise": float(level[middle].std())}


def voxlake() -> tuple[Apply, str]:
    from importlib.metadata import version

    import numpy as np

    from voxlake.core.grid import Grid
    from voxlake.core.volume import Volume
    from voxlake.processing.augment.base import Augmentation
    from voxlake.processing.augment.noise import RandomNoise
    from voxlake.processing.augment.warp import RandomAffine, RandomElastic

    grid = Grid.from_spacing((SIZE, SIZE, SIZE), (1.0, 1.0, 1.0))
    rng = np.random.default_rng(2)
    power = float(np.log2(1 + SCALE))
    spatial = (
        RandomAffine(
            degrees=(-DEGREES, DEGREES), log2_scale=(-power, power), shift=(-SHIFT, SHIFT), outside="edge"
        ),
        RandomElastic(points=POINTS, largest=LARGEST, outside="edge"),
    )
    noise = RandomNoise(deviation=(NOISE, NOISE))

    def apply(stack: Any, with_noise: bool) -> Any:
        plan = Augmentation((*spatial, noise) if with_noise else spatial).draw(rng, grid)
        return np.stack([plan(Volume(each, grid)).numpy() for each in stack])

    return apply, f"voxlake {version('voxlake')}, NumPy {np.__version__}"


def by_torchio() -> tuple[Apply, str]:
    import torch
    import torchio

    torch.set_num_threads(2)
    torch.manual_seed(2)
    spatial = torchio.RandomAffineElasticDeformation(
        affine_kwargs={
            "scales": SCALE,
            "degrees": DEGREES,
            "translation": SHIFT,
            "default_pad_value": "minimum",
        },
        elastic_kwargs={"num_control_points": POINTS, "max_displacement": LARGEST, "locked_borders": 2},
    )
    noise = torchio.RandomNoise(std=(NOISE, NOISE))

    def apply(stack: Any, with_noise: bool) -> Any:
        images = {str(n): torchio.ScalarImage(tensor=each[None]) for n, each in enumerate(stack)}
        done = spatial(torchio.Subject(images))
        done = noise(done) if with_noise else done
        return torch.cat([done[str(n)].data for n in range(len(stack))]).numpy()

    return apply, f"torchio {torchio.__version__}, torch {torch.__version__}"


def by_monai(*, smoothed: bool = False) -> tuple[Apply, str]:
    import math

    import monai
    import torch
    from monai import transforms

    torch.set_num_threads(2)
    affine = {
        "prob": 1.0,
        "rotate_range": [math.radians(DEGREES)] * 3,
        "scale_range": [SCALE] * 3,
        "translate_range": [SHIFT] * 3,
        "spatial_size": (SIZE,) * 3,
        "padding_mode": "border",
        "mode": "bilinear",
    }
    if smoothed:
        spatial = [transforms.Rand3DElastic(sigma_range=(9, 9), magnitude_range=(300, 300), **affine)]
    else:
        deform = transforms.RandSmoothDeform(
            (SIZE,) * 3, (POINTS,) * 3, field_mode="trilinear", align_corners=True, prob=1.0,
            def_range=LARGEST / (SIZE / 2), grid_mode="bilinear",
        )  # fmt: skip
        spatial = [transforms.RandAffine(cache_grid=True, **affine), deform]
    noise = transforms.RandGaussianNoise(prob=1.0, std=NOISE, sample_std=False)
    for each in (*spatial, noise):
        each.set_random_state(seed=2)

    def apply(stack: Any, with_noise: bool) -> Any:
        done = torch.from_numpy(stack)
        for each in (*spatial, noise) if with_noise else spatial:
            done = each(done)
        return done.numpy()

    return apply, f"monai {monai.__version__}, torch {torch.__version__}"


def by_monai_elastic() -> tuple[Apply, str]:
    return by_monai(smoothed=True)


TOOLS: dict[str, Callable[[], tuple[Apply, str]]] = {
    "voxlake": voxlake,
    "torchio": by_torchio,
    "monai": by_monai,
    "monai elastic": by_monai_elastic,
}


def equal(checks: Mapping[str, Any]) -> str:
    """Noise must be of the stated deviation; voxels must move about as far."""
    ours = checks["voxlake"]
    for name, found in checks.items():
        if abs(found["noise"] / NOISE - 1) > 0.03:
            raise RuntimeError(f"the noise of {name} is {found['noise']}, not {NOISE}")
        if name != "monai elastic" and not 0.5 < found["moved"] / ours["moved"] < 2:
            raise RuntimeError(f"the tools move voxels differently far: {checks}")
    moved = {name: round(found["moved"], 2) for name, found in checks.items()}
    return f"noise within 3%; mean displacement in voxels: {moved}"


if __name__ == "__main__":
    main()
