"""One slice of a stored series in a new process: voxlake against pydicom on the single file.

Everything is in the memory of the system (warm), nothing in that of the process (cold). voxlake finds the
slice by its SOPInstanceUID among those of the lake; pydicom is told the file. Two comparisons: `first_call`
from the end of the imports until the values are there, and `from_start` from before the interpreter starts,
most of which both spend on starting Python and importing NumPy.

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
# Written to a file of its own, so that nothing else is loaded.
VOXLAKE = """
import sys, time
from voxlake import read_frame
begin = time.time()
values = read_frame({lake!r}, {uid!r})
seconds = time.time() - (float(sys.argv[1]) or begin)
"""
PYDICOM = """
import sys, time
from pydicom import dcmread
begin = time.time()
values = dcmread({file!r}).pixel_array
seconds = time.time() - (float(sys.argv[1]) or begin)
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
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "voxlake-benchmark-ct")
    given = parser.parse_args()
    if given.start:
        start(*given.start)
        return
    sys.path[:0] = [str(HERE.parent), str(HERE)]
    from harness import compare, machine, save

    scripts = prepare(given.data)
    pythons = {"voxlake": sys.executable, "pydicom": given.peers}
    results = {}
    for mode in ("first_call", "from_start"):
        tools = {
            name: [sys.executable, str(Path(__file__)), "--start", mode, pythons[name], str(script)]
            for name, script in scripts.items()
        }
        results[mode] = compare(tools, equal=equal, at_least={"pydicom": 3.0}, rounds=given.rounds)
        print(mode, json.dumps({key: results[mode][key] for key in ("median", "times_faster")}, indent=1))
    print(save({"machine": machine(), **results}, HERE, "one_frame"))


def start(mode: str, python: str, script: str) -> None:
    """Run a script in a new interpreter that is told when it was started, or 0."""
    import subprocess

    # Twice, and the second counts: the first brings libraries and files into the memory of the system.
    for _ in range(2):
        moment = repr(time.time()) if mode == "from_start" else "0"
        done = subprocess.run([python, script, moment], capture_output=True, text=True, check=True)
    print(done.stdout.strip().splitlines()[-1])


def prepare(data: Path) -> dict[str, Path]:
    """Make files, lake and scripts; gives the scripts."""
    from assemble import prepare as make
    from ct_series import SLICES

    from voxlake.lake.lake import open_lake
    from voxlake.volumes.frames import read_frame

    make(data)
    lake = open_lake(data / "lake", key=data / "key", create=False)
    uid = lake.sql(
        "select sop_instance_uid from instances where instance_number = $n", {"n": SLICE + 1}
    ).rows()[0][0]
    # The look-up is made once for a lake, not for every process.
    read_frame(lake, uid)
    assert SLICE < SLICES
    texts = {
        "voxlake": VOXLAKE.format(lake=str(data / "lake"), uid=uid),
        "pydicom": PYDICOM.format(file=str(data / "files" / f"{SLICE:04}.dcm")),
    }
    scripts = {name: data / f"one_frame_{name}.py" for name in texts}
    for name, script in scripts.items():
        script.write_text(texts[name] + REPORT)
    return scripts


def equal(checks: Mapping[str, Any]) -> str:
    """Both must give the same stored values."""
    if len(set(checks.values())) != 1:
        raise RuntimeError(f"the tools disagree: {checks}")
    return "equal in every pixel, as stored"


if __name__ == "__main__":
    main()
