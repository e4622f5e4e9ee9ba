"""A CT series of 200 slices into memory: voxlake against SimpleITK, MONAI and dcm2niix.

Every tool is told what to read (voxlake: the rows of the catalogue; the others: the files, in slice order;
dcm2niix: the folder) and gives values in HU. Imports are not counted. voxlake's look-up of the rows by
SeriesInstanceUID is measured apart, and stated. dcm2niix writes to a file in memory (tmpfs), uncompressed;
its time is that of its process.

    python benchmarks/formats/assemble.py --peers PYTHON [--rounds 5] [--data FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
AIMS = {"SimpleITK": 5.0, "MONAI": 15.0, "dcm2niix": 2.0}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool")
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "voxlake-benchmark-ct")
    given = parser.parse_args()
    if given.tool:
        print(json.dumps(TOOLS[given.tool](given.data)))
        return
    sys.path[:0] = [str(HERE.parent), str(HERE)]
    from harness import compare, machine, save

    prepare(given.data)
    tools = {
        name: [
            sys.executable if name == "voxlake" else given.peers,
            str(Path(__file__)),
            *("--tool", name, "--data", str(given.data)),
        ]
        for name in TOOLS
    }
    results = compare(tools, equal=equal, at_least=AIMS, rounds=given.rounds)
    print(save({"machine": machine(), **results}, HERE, "assemble"))
    print(json.dumps({"median": results["median"], "times_faster": results["times_faster"]}, indent=1))


def prepare(data: Path) -> None:
    """Make the files and the lake."""
    from ct_series import make

    from voxlake.lake.ingest import ingest
    from voxlake.lake.lake import open_lake

    make(data / "files")
    if not (data / "lake" / "lake.toml").exists():
        lake = open_lake(data / "lake", key=data / "key", policy="none")
        ingest(lake, data / "files", engine="serial", progress=False)


def equal(checks: Mapping[str, Any]) -> str:
    """All tools must give the same values."""
    if len(set(checks.values())) != 1:
        raise RuntimeError(f"the tools disagree: {checks}")
    return "equal in every voxel, in HU"


def files(data: Path) -> list[str]:
    return [str(path) for path in sorted((data / "files").glob("*.dcm"))]


def stated(seconds: float, values: Any, tool: str, **more: Any) -> dict[str, Any]:
    import numpy as np

    whole = np.ascontiguousarray(values, dtype=np.int16)
    digest = hashlib.sha256(whole.tobytes()).hexdigest()
    return {"seconds": seconds, "check": digest, "tool": tool, "type": str(values.dtype), **more}


def voxlake(data: Path) -> dict[str, Any]:
    from importlib.metadata import version

    from voxlake.lake.lake import open_lake
    from voxlake.volumes.assembly import assemble_stored

    lake = open_lake(data / "lake", key=data / "key", create=False)
    query = "select * exclude (tags) from instances where series_instance_uid = $uid"
    uid = lake.sql("select series_instance_uid from series").rows()[0][0]
    start = time.perf_counter()
    rows = lake.sql(query, {"uid": uid}).dicts()
    catalogue = time.perf_counter() - start
    start = time.perf_counter()
    volume = assemble_stored(lake.objects, rows)
    seconds = time.perf_counter() - start
    if volume is None:
        raise RuntimeError("the series was not assembled by ranges")
    return stated(seconds, volume.numpy(), f"voxlake {version('voxlake')}", look_up_seconds=catalogue)


def simpleitk(data: Path) -> dict[str, Any]:
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(files(data))
    start = time.perf_counter()
    image = reader.Execute()
    values = SimpleITK.GetArrayViewFromImage(image)
    return stated(time.perf_counter() - start, values, f"SimpleITK {SimpleITK.Version().VersionString()}")


def monai(data: Path) -> dict[str, Any]:
    import monai
    from monai.transforms import LoadImage

    best = None
    # Whichever of its readers is faster here. A list of files would be channels; a folder is a series. The
    # values need not be float.
    for reader in ("ITKReader", "PydicomReader"):
        try:
            load = LoadImage(reader=reader, image_only=True, dtype="int16")
            start = time.perf_counter()
            image = load(str(data / "files"))
            seconds = time.perf_counter() - start
        except ImportError:
            # ITK is an extra of MONAI.
            continue
        if best is None or seconds < best[0]:
            best = (seconds, image, reader)
    if best is None:
        raise RuntimeError("no reader of MONAI reads the series")
    seconds, image, reader = best
    # MONAI's axes are (column, row, slice).
    return stated(seconds, image.numpy().transpose(2, 1, 0), f"MONAI {monai.__version__} {reader}")


def dcm2niix(data: Path) -> dict[str, Any]:
    import nibabel
    import numpy as np

    program = Path(sys.executable).parent / "dcm2niix"
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
    try:
        start = time.perf_counter()
        done = subprocess.run(
            [str(program), "-z", "n", "-b", "n", "-f", "x", "-o", str(folder), str(data / "files")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        image = nibabel.load(next(folder.glob("*.nii")))
        # Its rows run from back to front.
        values = np.asarray(image.dataobj).transpose(2, 1, 0)[:, ::-1]
        return stated(seconds, values, done.stdout.strip().splitlines()[0][:80])
    finally:
        shutil.rmtree(folder)


TOOLS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "voxlake": voxlake,
    "SimpleITK": simpleitk,
    "MONAI": monai,
    "dcm2niix": dcm2niix,
}

if __name__ == "__main__":
    main()
