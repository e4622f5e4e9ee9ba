"""An epoch of patches of 96x96x96 with augmentation over 100 stored volumes with masks of 128x128x128.

Four patches of each volume in batches of two, half of them about a voxel of the foreground; flips along three
axes, rotation up to 15 degrees with scaling up to 15% (30% of the patches), gamma, contrast and noise (20%
each).
What is timed is the second epoch, without a network: the first fills the caches and is stated.

voxlake: arrays of its local cache, mapped; two threads of the training process make the next two batches, as
training does by default.
monai: `CacheDataset` (all volumes in memory), random crops and changes of patches, DataLoader of 2 workers.
torchio: `Queue` with a `LabelSampler` over volumes in memory-mappable NIfTI, changes of whole volumes as its
documentation has them, 2 workers.

Random numbers differ, so patches are compared by what is in them: mean, deviation, and share of foreground.

    python benchmarks/networks/epoch.py --peers PYTHON [--rounds 5] [--volumes 100] [--size 128] [--patch 96]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PER_VOLUME, BATCH = 4, 2
DEGREES, SCALE, MOVED, CHANGED, NOISE, GAMMA = 15.0, 0.15, 0.3, 0.2, 0.1, 0.5
AIMS = {"monai": 2.0, "torchio": 2.0}
# Standard deviation of the background.
SPREAD = 1 / 12
# Gives the batches of an epoch: images and labels as NumPy arrays.
Epoch = Callable[[], Iterator[tuple[Any, Any]]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--volumes", type=int, default=100)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--patch", type=int, default=96)
    given = parser.parse_args()
    if given.tool:
        print(json.dumps(measure(given.tool, given)))
        return
    sys.path.insert(0, str(HERE.parent))
    from harness import compare, machine, save

    with tempfile.TemporaryDirectory() as folder:
        store(Path(folder), given.volumes, given.size)
        shared = ("--folder", folder, "--volumes", str(given.volumes), "--patch", str(given.patch))
        commands = {
            name: [
                sys.executable if name == "voxlake" else given.peers,
                *(str(Path(__file__)), "--tool", name, *shared),
            ]
            for name in TOOLS
        }
        found = compare(commands, equal=equal, at_least=AIMS, rounds=given.rounds)
    sizes = {"volumes": given.volumes, "size": given.size, "patch": given.patch, "per_volume": PER_VOLUME}
    print(save({"machine": machine(), **sizes, **found}, HERE, "epoch"))
    print(json.dumps(found["times_faster"], indent=1))


def store(folder: Path, volumes: int, size: int) -> None:
    """Noise with two bright blocks, as arrays and as NIfTI."""
    import nibabel
    import numpy as np

    for number in range(volumes):
        rng = np.random.default_rng(number)
        labels = np.zeros((size,) * 3, dtype=np.uint8)
        for value in (1, 2):
            start = rng.integers(0, size - size // 6, 3)
            labels[tuple(slice(begin, begin + size // 6) for begin in start)] = value
        # From 0 to 1, where the gamma of all tools means the same.
        values = np.clip(
            1 / 3 + SPREAD * (rng.standard_normal(labels.shape, dtype=np.float32) + 2 * labels), 0, 1
        )
        for name, data in (("image", values), ("label", labels)):
            np.save(folder / f"{name}-{number:03d}.npy", data)
            nibabel.save(nibabel.Nifti1Image(data.T, np.eye(4)), folder / f"{name}-{number:03d}.nii")


def measure(tool: str, given: argparse.Namespace) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    import numpy as np
    import torch

    torch.set_num_threads(2)
    epoch, stated = TOOLS[tool](given.folder, given.volumes, given.patch)
    seconds, check = [], {}
    for _ in range(2):
        start, waited, figures = time.perf_counter(), 0.0, []
        for images, labels in epoch():
            arrived = time.perf_counter()
            shown = float(((labels == 1) | (labels == 2)).mean())
            figures.append((len(images), float(images.mean()), float(images.std()), shown))
            # What the benchmark looks at is no work of the tools.
            waited += time.perf_counter() - arrived
        seconds.append(time.perf_counter() - start - waited)
        table = np.array(figures)
        check = dict(
            zip(
                ("patches", "mean", "deviation", "foreground"),
                (float(table[:, 0].sum()), *table[:, 1:].mean(axis=0).tolist()),
                strict=True,
            )
        )
    return {"seconds": seconds[1], "first": seconds[0], "check": check, "tool": stated}


def voxlake(folder: Path, volumes: int, patch: int) -> tuple[Epoch, str]:
    from importlib.metadata import version
    from itertools import count

    import numpy as np
    import torch

    from voxlake.learning.segmentation.cases import Case, Cases
    from voxlake.learning.segmentation.patches import PatchSource
    from voxlake.learning.segmentation.settings import PatchAugmentation, SegmentationSettings

    items = []
    for number in range(volumes):
        values, labels = (
            np.load(folder / f"{name}-{number:03d}.npy", mmap_mode="r") for name in ("image", "label")
        )
        items.append(Case(str(number), str(number), values, labels, (1.0, 1.0, 1.0), str(number)))
    settings = SegmentationSettings(
        patch=(patch,) * 3,
        per_volume=PER_VOLUME,
        foreground=0.5,
        augmentation=PatchAugmentation(
            flip=("slice", "row", "column"), rotate=DEGREES, scale=SCALE, moved=MOVED,
            gamma=GAMMA, contrast=0.25, noise=2 * NOISE, changed=CHANGED,
        ),
    )  # fmt: skip
    source = PatchSource(Cases(tuple(items), ("one", "two"), 3), settings, batch_size=BATCH, seed=1)
    numbers = count(1)

    def epoch() -> Iterator[tuple[Any, Any]]:
        for batch in source.epoch(next(numbers)):
            yield batch.inputs[0].numpy(), batch.targets.numpy()

    return epoch, f"voxlake {version('voxlake')}, torch {torch.__version__}"


def by_monai(folder: Path, volumes: int, patch: int) -> tuple[Epoch, str]:
    import monai
    import torch
    from monai import transforms
    from monai.data import CacheDataset, DataLoader, list_data_collate

    keys = ["image", "label"]
    steps = transforms.Compose(
        [
            transforms.LoadImaged(keys, image_only=True),
            transforms.EnsureChannelFirstd(keys),
            transforms.RandCropByPosNegLabeld(
                keys, label_key="label", spatial_size=(patch,) * 3, pos=1, neg=1, num_samples=PER_VOLUME
            ),
            *(transforms.RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(3)),
            transforms.RandAffined(
                keys, prob=MOVED, rotate_range=[math.radians(DEGREES)] * 3, scale_range=[SCALE] * 3,
                mode=("bilinear", "nearest"), padding_mode="border",
            ),
            transforms.RandAdjustContrastd("image", prob=CHANGED, gamma=(1 / (1 + GAMMA), 1 + GAMMA)),
            transforms.RandScaleIntensityd("image", prob=CHANGED, factors=0.25),
            transforms.RandGaussianNoised("image", prob=CHANGED, std=2 * NOISE * SPREAD),
        ]
    )  # fmt: skip
    items = [{key: str(folder / f"{key}-{number:03d}.nii") for key in keys} for number in range(volumes)]
    cached = CacheDataset(items, steps, cache_rate=1.0, num_workers=2, progress=False)
    # Each volume gives four patches: a loader of half a volume would be a batch of two; two batches are one.
    loader = DataLoader(
        cached,
        batch_size=1,
        shuffle=True,
        num_workers=2,
        collate_fn=list_data_collate,
        persistent_workers=True,
    )

    def epoch() -> Iterator[tuple[Any, Any]]:
        for batch in loader:
            for start in range(0, PER_VOLUME, BATCH):
                yield (
                    batch["image"][start : start + BATCH].numpy(),
                    batch["label"][start : start + BATCH].numpy(),
                )

    return epoch, f"monai {monai.__version__}, torch {torch.__version__}"


def by_torchio(folder: Path, volumes: int, patch: int) -> tuple[Epoch, str]:
    import torch
    import torchio

    subjects = [
        torchio.Subject(
            image=torchio.ScalarImage(folder / f"image-{number:03d}.nii"),
            label=torchio.LabelMap(folder / f"label-{number:03d}.nii"),
        )
        for number in range(volumes)
    ]
    transform = torchio.Compose(
        [
            torchio.RandomFlip(axes=(0, 1, 2), flip_probability=0.5),
            torchio.RandomAffine(scales=SCALE, degrees=DEGREES, p=MOVED),
            torchio.RandomGamma(log_gamma=math.log(1 + GAMMA), p=CHANGED),
            torchio.RandomNoise(std=(0, 2 * NOISE * SPREAD), p=CHANGED),
        ]
    )
    queue = torchio.Queue(
        torchio.SubjectsDataset(subjects, transform=transform),
        max_length=8 * PER_VOLUME,
        samples_per_volume=PER_VOLUME,
        sampler=torchio.LabelSampler(patch, label_name="label", label_probabilities={0: 2, 1: 1, 2: 1}),
        num_workers=2,
    )
    loader = torchio.SubjectsLoader(queue, batch_size=BATCH, num_workers=0)

    def epoch() -> Iterator[tuple[Any, Any]]:
        for batch in loader:
            yield batch["image"][torchio.DATA].numpy(), batch["label"][torchio.DATA].numpy()

    return epoch, f"torchio {torchio.__version__}, torch {torch.__version__}"


TOOLS: dict[str, Callable[[Path, int, int], tuple[Epoch, str]]] = {
    "voxlake": voxlake,
    "monai": by_monai,
    "torchio": by_torchio,
}


def equal(checks: Mapping[str, Any]) -> str:
    """As many patches; deviation within 20%, foreground within a factor of 1.5."""
    ours = checks["voxlake"]
    for name, found in checks.items():
        if found["patches"] != ours["patches"]:
            raise RuntimeError(f"{name} gives {found['patches']} patches, not {ours['patches']}")
        if abs(found["deviation"] / ours["deviation"] - 1) > 0.2:
            raise RuntimeError(f"the patches differ: {checks}")
        if not 1 / 1.5 < found["foreground"] / ours["foreground"] < 1.5:
            raise RuntimeError(f"the tools sample differently: {checks}")
    return json.dumps(
        {name: {key: round(value, 3) for key, value in one.items()} for name, one in checks.items()}
    )


if __name__ == "__main__":
    main()
