"""One slice of a stored series in a new process: voxlake against pydicom on the single file.

A series of 200 slices whose headers hold some 110 elements, as those of a scanner. Everything is in the
memory of the system (warm), nothing in that of the process (cold). voxlake finds the slice by its
SOPInstanceUID among those of the lake; pydicom is told the file. Three comparisons: `first_call` from the end
of the imports until the values are there; `from_start` from before the interpreter starts, most of which both
spend on starting Python and importing NumPy, which alone is timed as `numpy`; and `later_calls`, the same
slice again and again in one process.

    python benchmarks/formats/one_frame.py --peers PYTHON [--rounds 5] [--data FOLDER]
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
SLICE = 100
MODES = {
    "first_call": ("voxlake", "pydicom"),
    "from_start": ("voxlake", "pydicom", "numpy"),
    "later_calls": ("voxlake", "pydicom"),
}
CALLS = 200
# Written to a file of its own, so that nothing else is loaded.
SCRIPT = """
import sys, time
{imports}
begin = time.time()
for call in range(int(sys.argv[2])):
    values = {read}
seconds = (time.time() - (float(sys.argv[1]) or begin)) / int(sys.argv[2])
"""
REPORT = """
import hashlib, json
check = hashlib.sha256(values.astype("<i4").tobytes()).hexdigest()
print(json.dumps({"seconds": seconds, "check": check, "shape": values.shape}))
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--start", nargs=3, metavar=("MODE", "PYTHON", "SCRIPT"))
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "voxlake-benchmark-frame")
    given = parser.parse_args()
    if given.start:
        start(*given.start)
        return
    sys.path[:0] = [str(HERE.parent), str(HERE)]
    from harness import compare, machine, save

    scripts = prepare(given.data)
    pythons = {"voxlake": sys.executable, "pydicom": given.peers, "numpy": sys.executable}
    results = {}
    for mode, names in MODES.items():
        tools = {
            name: [sys.executable, str(Path(__file__)), "--start", mode, pythons[name], str(scripts[name])]
            for name in names
        }
        results[mode] = compare(tools, equal=equal, at_least={"pydicom": 3.0}, rounds=given.rounds)
        print(mode, json.dumps({key: results[mode][key] for key in ("median", "times_faster")}, indent=1))
    print(save({"machine": machine(), **results}, HERE, "one_frame"))


def start(mode: str, python: str, script: str) -> None:
    """Run a script in a new interpreter that is told when it was started, or 0, and how often to read."""
    import subprocess

    calls = str(CALLS if mode == "later_calls" else 1)
    # Twice, and the second counts: the first brings libraries and files into the memory of the system.
    for _ in range(2):
        moment = repr(time.time()) if mode == "from_start" else "0"
        done = subprocess.run([python, script, moment, calls], capture_output=True, text=True, check=True)
    print(done.stdout.strip().splitlines()[-1])


def prepare(data: Path) -> dict[str, Path]:
    """Make files, lake and scripts; gives the scripts."""
    from voxlake.lake.ingest import ingest
    from voxlake.lake.lake import open_lake
    from voxlake.volumes.frames import read_frame

    new = not (data / "lake").exists()
    if new:
        make(data / "files")
    lake = open_lake(data / "lake", key=data / "key", create=new)
    if new:
        ingest(lake, data / "files", policy="none", progress=False)
    uid = lake.sql(
        "select sop_instance_uid from instances where instance_number = $n", {"n": SLICE + 1}
    ).rows()[0][0]
    # The look-up is made once for a lake, not for every process.
    read_frame(lake, uid)
    frame = f"read_frame({str(data / 'lake')!r}, {uid!r})"
    file = str(data / "files" / f"{SLICE:04}.dcm")
    texts = {
        "voxlake": SCRIPT.format(imports="from voxlake import read_frame", read=frame),
        "pydicom": SCRIPT.format(
            imports="from pydicom import dcmread", read=f"dcmread({file!r}).pixel_array"
        ),
        "numpy": SCRIPT.format(imports="import numpy as np", read="np.zeros((1, 1))"),
    }
    scripts = {name: data / f"one_frame_{name}.py" for name in texts}
    for name, script in scripts.items():
        script.write_text(texts[name] + REPORT)
    return scripts


def make(folder: Path) -> None:
    """Write the series: pixels and places of `ct_series`, among the elements of a scanner's header."""
    sys.path.insert(0, str(HERE.parent / "deidentify"))
    import ct_series
    import synthetic
    from pydicom import dcmread

    plain = folder.parent / "plain"
    for number, path in enumerate(ct_series.make(plain)):
        own = dcmread(path)
        dataset = synthetic.ct(number, own.PixelData)
        for element in own:
            dataset[element.tag] = element
        folder.mkdir(parents=True, exist_ok=True)
        dataset.save_as(folder / path.name, enforce_file_format=True)
        path.unlink()
    plain.rmdir()


def equal(checks: Mapping[str, Any]) -> str:
    """Both must give the same stored values."""
    if len({check for name, check in checks.items() if name != "numpy"}) != 1:
        raise RuntimeError(f"the tools disagree: {checks}")
    return "equal in every pixel, as stored"


if __name__ == "__main__":
    main()
