"""Random patches of 96x96x96 voxels out of one stored volume of 200x512x512, as training draws them.

From the lake's array against ``.nii.gz`` by nibabel (slices of ``dataobj``) and a Zarr array as zarr-python
makes and reads it without being told anything; from the hot cache against a bare ``numpy.memmap``. All draw
the same places, and each patch is copied into memory of its own. Opening is not counted; a few patches are
read before the time runs.

    python benchmarks/formats/patches.py --peers PYTHON [--rounds 5] [--data FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SIZE = 96
SEED = 20
# Enough for a second or more each; what is stated is seconds for one patch.
COUNTS = {"voxlake": 200, "nibabel": 6, "zarr-python": 40, "hot cache": 2000, "memmap": 2000}
WARM = 3
AIMS = {"nibabel": 80.0, "zarr-python": 2.0}
Read = Callable[[tuple[int, int, int]], Any]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool")
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "voxlake-benchmark-ct")
    given = parser.parse_args()
    if given.tool:
        print(json.dumps(measure(given.tool, given.data)))
        return
    sys.path[:0] = [str(HERE.parent), str(HERE)]
    from harness import compare, machine, save

    prepare(given.data)

    def commands(*names: str) -> dict[str, list[str]]:
        own = ("voxlake", "hot cache")
        return {
            name: [
                sys.executable if name in own else given.peers,
                str(Path(__file__)),
                *("--tool", name, "--data", str(given.data)),
            ]
            for name in names
        }

    results = {
        "array": compare(
            commands("voxlake", "nibabel", "zarr-python"), equal=equal, at_least=AIMS, rounds=given.rounds
        ),
        "cache": compare(
            commands("hot cache", "memmap"), equal=equal, at_least={"memmap": 0.8}, ours="hot cache",
            rounds=given.rounds,
        ),
    }  # fmt: skip
    print(save({"machine": machine(), **results}, HERE, "patches"))
    print(json.dumps({part: found["times_faster"] for part, found in results.items()}, indent=1))


def prepare(data: Path) -> None:
    """Make the volume in every form."""
    from assemble import prepare as make

    make(data)
    if (data / "volume.npy").exists():
        return
    import nibabel
    import numpy as np
    import zarr

    from voxlake.lake.lake import open_lake
    from voxlake.store.arrays import write_volume
    from voxlake.volumes.series import read_series

    lake = open_lake(data / "lake", key=data / "key", create=False)
    volume = read_series(lake, lake.sql("select series_instance_uid from series").rows()[0][0])
    values = volume.numpy()
    write_volume(lake.objects, "benchmark", values, grid=volume.grid)
    nibabel.save(nibabel.Nifti1Image(values.T, np.eye(4)), data / "volume.nii.gz")
    zarr.create_array(data / "volume.zarr", data=values, overwrite=True)
    np.save(data / "volume.npy", values)
    shutil.rmtree(data / "hot", ignore_errors=True)


def measure(tool: str, data: Path) -> dict[str, Any]:
    import numpy as np

    read, shape, stated = TOOLS[tool](data)
    room = np.array(shape) - SIZE + 1
    places = [
        (z, y, x)
        for z, y, x in np.random.default_rng(SEED).integers(0, room, (max(COUNTS.values()), 3)).tolist()
    ]
    digest = hashlib.sha256()
    for place in places[:WARM]:
        digest.update(np.ascontiguousarray(read(place), dtype="<i2").tobytes())
    start = time.perf_counter()
    for place in places[: COUNTS[tool]]:
        read(place)
    seconds = (time.perf_counter() - start) / COUNTS[tool]
    return {"seconds": seconds, "check": digest.hexdigest(), "patches": COUNTS[tool], "tool": stated}


def box(place: tuple[int, int, int]) -> tuple[slice, slice, slice]:
    z, y, x = place
    return slice(z, z + SIZE), slice(y, y + SIZE), slice(x, x + SIZE)


def voxlake(data: Path, *, cache: bool = False) -> tuple[Read, tuple[int, ...], str]:
    from importlib.metadata import version

    from voxlake.lake.lake import open_lake
    from voxlake.store.arrays import open_array
    from voxlake.volumes.cache import HotCache
    from voxlake.volumes.patches import read_patch

    lake = open_lake(data / "lake", key=data / "key", create=False)
    array = open_array(lake.objects, "arrays/benchmark.zarr", shards=None)
    source = HotCache(data / "hot").open(array) if cache else array
    size = (SIZE, SIZE, SIZE)
    return (lambda place: read_patch(source, place, size)), array.shape, f"voxlake {version('voxlake')}"


def hot_cache(data: Path) -> tuple[Read, tuple[int, ...], str]:
    return voxlake(data, cache=True)


def by_nibabel(data: Path) -> tuple[Read, tuple[int, ...], str]:
    import nibabel
    import numpy as np

    # The file stays open between patches, and is searched from where it stands.
    image = nibabel.load(data / "volume.nii.gz", keep_file_open=True)

    def read(place: tuple[int, int, int]) -> Any:
        z, y, x = box(place)
        return np.ascontiguousarray(np.asarray(image.dataobj[x, y, z]).T)

    return read, tuple(reversed(image.shape)), f"nibabel {nibabel.__version__}"


def by_zarr(data: Path) -> tuple[Read, tuple[int, ...], str]:
    import zarr

    array = zarr.open_array(data / "volume.zarr", mode="r")
    return (lambda place: array[box(place)]), array.shape, f"zarr {zarr.__version__}, chunks {array.chunks}"


def by_memmap(data: Path) -> tuple[Read, tuple[int, ...], str]:
    import numpy as np

    values = np.load(data / "volume.npy", mmap_mode="r")
    return (lambda place: np.array(values[box(place)])), values.shape, f"numpy {np.__version__}"


TOOLS: dict[str, Callable[[Path], tuple[Read, tuple[int, ...], str]]] = {
    "voxlake": voxlake,
    "nibabel": by_nibabel,
    "zarr-python": by_zarr,
    "hot cache": hot_cache,
    "memmap": by_memmap,
}


def equal(checks: Mapping[str, Any]) -> str:
    """All must give the same voxels."""
    if len(set(checks.values())) != 1:
        raise RuntimeError(f"the tools disagree: {checks}")
    return f"equal in every voxel of {WARM} patches"


if __name__ == "__main__":
    main()
