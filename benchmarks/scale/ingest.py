"""Ingest of 4,000 CT files of 0.5 MB on two processes, against peers: python ingest.py --peers PYTHON

Peers: a loop with pydicom, shutil, SHA-256 and SQLite; bare reading, hashing and writing; Orthanc's STOW-RS;
and voxlake itself with the default policy. See README.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ct_files import make_files

sys.path.append(str(Path(__file__).parents[1]))
from harness import compare, machine, save

HERE = Path(__file__).parent
AIMS = {"pydicom_loop": 4.0, "pydicom_json_loop": 4.0, "bare": 0.6, "orthanc": 5.0, "voxlake_research": 0.5}


def main() -> None:
    arguments = parser().parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    # The key is given; the look-up cache of a lake lies in the home folder.
    os.environ["HOME"] = str(folder)
    try:
        source = folder / "source"
        make_files(source, arguments.files)
        results = compare(
            commands(arguments, source, folder),
            equal=agree,
            at_least={name: aim for name, aim in AIMS.items() if name in arguments.tools},
            ours="voxlake_none",
            rounds=arguments.rounds,
        )
    finally:
        shutil.rmtree(folder)
    results = {"machine": machine(), "files": arguments.files, **results}
    # How fast the default policy is in terms of policy none: the other way round than for peers.
    if "voxlake_research" in arguments.tools:
        slower = results["times_faster"].pop("voxlake_research")
        results["research_to_none"] = round(1 / slower, 3)
    print(results["median"], results["times_faster"], results.get("research_to_none"))
    print(f"raw numbers: {save(results, HERE, arguments.name)}")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--peers", required=True, help="python of the environment with pydicom")
    made.add_argument("--files", type=int, default=4000)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--tools", nargs="+", choices=AIMS, default=list(AIMS))
    made.add_argument("--folder", type=Path, help="where files and lakes go: 5 GB for 4,000 files")
    made.add_argument("--name", default="ingest")
    return made


def commands(arguments: argparse.Namespace, source: Path, folder: Path) -> dict[str, list[str]]:
    """Every tool as a command."""
    drive, places = str(HERE / "ingest_drive.py"), [str(source), str(folder / "output")]
    found = {"voxlake_none": [sys.executable, drive, "voxlake_none", *places]}
    for name in arguments.tools:
        python = sys.executable if name == "voxlake_research" else arguments.peers
        found[name] = [python, "-W", "ignore", drive, name, *places]
    if "orthanc" in found:
        found["orthanc"] = [arguments.peers, str(HERE / "orthanc_drive.py"), *places]
    return found


def agree(checks: Mapping[str, Any]) -> str:
    """The same files with the same bytes; Orthanc tells their number, and research changes their bytes."""
    ours = checks["voxlake_none"]
    for name, found in checks.items():
        if found["files"] != ours["files"]:
            raise RuntimeError(f"{name} has {found['files']} of {ours['files']} files")
        if name in ("bare", "pydicom_loop", "pydicom_json_loop") and found != ours:
            raise RuntimeError(f"the bytes of {name} differ")
    return f"{ours['files']} files each; the same SHA-256 of all of them where bytes are kept"


if __name__ == "__main__":
    main()
