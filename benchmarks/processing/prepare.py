"""`prepare` of CT series, from packs to stored arrays: python prepare.py [--peers PYTHON] [--series 100]

The same steps, on the same synthetic DICOM files, by two processes each:

- voxlake: ``prepare`` over a lake that has taken the files in (packs), into sharded, compressed arrays.
- MONAI: ``PersistentDataset`` over the folders, filled by a ``DataLoader`` with two workers; reader is
  ``ITKReader``, its fastest for a folder of DICOM. It stores tensors as ``.pt``, not compressed.
- TorchIO: ``ScalarImage`` of each folder, the same steps, saved as ``.nii`` (not compressed) by two
  processes.

Steps: canonical orientation, 2.5x1x1 mm linear, window -1000..400 to 0..1. None smooths before it resamples
but voxlake, which is told not to. Outputs are compared: shape, mean and deviation of every volume.
Peak memory is that of the whole tree of processes, sampled ten times a second.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SPACING = (2.5, 1.0, 1.0)
LOW, HIGH = -1000.0, 400.0
WORKERS = 2
AIMS = {"MONAI": 4.0, "TorchIO": 4.0}
PLAN = f"""
[[steps]]
step = "reorient"
orientation = "SPL"

[[steps]]
step = "resample"
spacing = {list(SPACING)}
order = "linear"
antialias = false

[[steps]]
step = "window"
low = {LOW}
high = {HIGH}
unit = "HU"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tool")
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without", action="append", default=[], choices=sorted(AIMS))
    parser.add_argument(
        "--data", type=Path, default=Path(tempfile.gettempdir()) / "voxlake-benchmark-prepare"
    )
    given = parser.parse_args()
    data = given.data / f"{given.series}x{given.slices}"
    if given.tool:
        print(json.dumps(measure(given.tool, data)))
        return
    sys.path.insert(0, str(HERE.parent))
    from harness import compare, machine, save

    make(data, given.series, given.slices)
    tools = {
        name: [
            sys.executable if name == "voxlake" else given.peers, __file__,
            *("--tool", name, "--series", str(given.series), "--slices", str(given.slices)),
            *("--data", str(given.data)),
        ]
        for name in ("voxlake", *AIMS)
        if name not in given.without
    }  # fmt: skip
    found = compare(tools, equal=equal, at_least=AIMS, rounds=given.rounds)
    stated = {"series": given.series, "slices": given.slices, "workers": WORKERS, "plan": PLAN}
    print(save({"machine": machine(), **stated, **found}, HERE, "prepare"))
    print(json.dumps({"seconds": found["median"], "times_faster": found["times_faster"]}, indent=1))


def make(data: Path, series: int, slices: int) -> None:
    """Write the files and take them into a lake, unless that was done before."""
    if (data / "lake").exists():
        return
    sys.path.insert(0, str(HERE.parent / "scale"))
    from ct_files import make_files

    from voxlake.lake.cohorts import select
    from voxlake.lake.ingest import ingest
    from voxlake.lake.lake import open_lake

    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    make_files(data / "files", series * slices, slices=slices)
    lake = open_lake(data / "unfinished", key=data / "key", policy="none")
    ingest(lake, data / "files", progress=False)
    select(lake, "all")
    (data / "unfinished").rename(data / "lake")


def measure(tool: str, data: Path) -> dict[str, Any]:
    out = data / f"out-{tool}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    run = TOOLS[tool](data, out)
    peak = Peak()
    start = time.perf_counter()
    with peak:
        figures = run()
    seconds = time.perf_counter() - start
    check = sorted(figures())
    stored = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    shutil.rmtree(out)
    return {"seconds": seconds, "check": check, "peak_bytes": peak.bytes, "stored_bytes": stored}


class Peak:
    """The most memory that this process and its children took together, while in use (Linux)."""

    def __init__(self) -> None:
        self.bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            self.bytes = max(self.bytes, sum(map(memory, family())))


def family() -> list[int]:
    """Numbers of this process and of all that descend from it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name of a command may hold blanks and brackets.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = [os.getpid()]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def memory(process: int) -> int:
    """Bytes in memory, with its share of what is shared (the proportional set size)."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


Figures = Callable[[], list[list[float]]]


def voxlake(data: Path, out: Path) -> Callable[[], Figures]:
    from voxlake.core.plan import Plan
    from voxlake.engine.open import open_engine
    from voxlake.lake.cohorts import get_cohort
    from voxlake.lake.lake import open_lake
    from voxlake.processing.registry import load_plan
    from voxlake.store.arrays import open_array
    from voxlake.volumes.prepare import prepare

    lake_folder = out / "lake"
    # Hard links: packs are never written to again.
    shutil.copytree(data / "lake", lake_folder, copy_function=lambda a, b: Path(b).hardlink_to(a))
    for table in (lake_folder / "tables").rglob("*"):
        if table.is_file():
            content = table.read_bytes()
            table.unlink()
            table.write_bytes(content)
    lake = open_lake(lake_folder, key=data / "key")
    plan: Plan = load_plan(PLAN)

    def run() -> Figures:
        with open_engine(f"processes:{WORKERS}") as engine:
            done = prepare(get_cohort(lake, "all"), plan=plan, engine=engine, progress=False)
        assert not done.counts.get("failed"), dict(done.counts)
        return figures

    def figures() -> list[list[float]]:
        rows = lake.sql('select "array", shards from volumes').rows()
        return [summary(open_array(lake.objects, array, shards=shards)[...]) for array, shards in rows]

    return run


def monai(data: Path, out: Path) -> Callable[[], Figures]:
    import torch
    from monai.data import DataLoader, PersistentDataset
    from monai.transforms import (
        Compose,
        EnsureChannelFirst,
        LoadImage,
        Orientation,
        ScaleIntensityRange,
        Spacing,
    )

    steps = Compose(
        [
            LoadImage(image_only=True, reader="ITKReader", dtype="float32"),
            EnsureChannelFirst(),
            Orientation(axcodes="LPS"),
            Spacing(pixdim=SPACING[::-1], mode="bilinear", padding_mode="border"),
            ScaleIntensityRange(LOW, HIGH, 0.0, 1.0, clip=True),
        ]
    )
    folders = [str(folder) for folder in sorted((data / "files").iterdir())]
    dataset = PersistentDataset(folders, steps, cache_dir=out / "cache")

    def run() -> Figures:
        torch.set_num_threads(1)
        loader = DataLoader(Filled(dataset), batch_size=1, num_workers=WORKERS)
        assert sum(int(one) for one in loader) == len(folders)
        return lambda: [summary(dataset[number][0].numpy().T) for number in range(len(folders))]

    return run


class Filled:
    """Makes an item of a dataset and hands only a 1 back: what is wanted lies in the cache."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> int:
        self.dataset[number]
        return 1


def torchio(data: Path, out: Path) -> Callable[[], Figures]:
    from concurrent.futures import ProcessPoolExecutor

    folders = sorted((data / "files").iterdir())
    targets = [out / f"{folder.name}.nii" for folder in folders]

    def run() -> Figures:
        with ProcessPoolExecutor(WORKERS) as pool:
            list(pool.map(by_torchio, folders, targets))
        return figures

    def figures() -> list[list[float]]:
        import nibabel
        import numpy as np

        return [summary(np.asarray(nibabel.load(target).dataobj).T) for target in targets]

    return run


def by_torchio(folder: Path, target: Path) -> None:
    import torch
    import torchio as tio

    torch.set_num_threads(1)
    steps = tio.Compose(
        [
            tio.ToCanonical(),
            tio.Resample(SPACING[::-1], image_interpolation="linear"),
            tio.RescaleIntensity((0, 1), in_min_max=(LOW, HIGH)),
            tio.Clamp(0, 1),
        ]
    )
    steps(tio.ScalarImage(folder)).save(target)


def summary(values: Any) -> list[float]:
    """Sizes do not depend on the direction of the axes, nor do mean and deviation."""
    import numpy as np

    inner = np.asarray(values)[2:-2, 2:-2, 2:-2].astype(np.float64)
    return [*map(float, values.shape), float(inner.mean()), float(inner.std())]


TOOLS: dict[str, Callable[[Path, Path], Callable[[], Figures]]] = {
    "voxlake": voxlake,
    "MONAI": monai,
    "TorchIO": torchio,
}


def equal(checks: Mapping[str, Any]) -> str:
    """Grids differ by a voxel at an edge and by less than one in where they start."""
    import numpy as np

    ours = np.array(checks["voxlake"])
    worst = 0.0
    for name, theirs in checks.items():
        apart = np.abs(np.array(theirs) - ours)
        if apart[:, :3].max() > 2 or apart[:, 3:].max() > 0.02:
            raise RuntimeError(f"voxlake and {name} disagree: {ours[0].tolist()}, {theirs[0]}")
        worst = max(worst, float(apart[:, 3:].max()))
    return (
        f"shapes within a voxel or two; mean and deviation of each volume at most {worst:.2g} apart (of 0..1)"
    )


if __name__ == "__main__":
    main()
