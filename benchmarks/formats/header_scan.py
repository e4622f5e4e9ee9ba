"""Headers of CT files: 60 typed values, and every element as JSON. Against pydicom at its fastest settings.

One process scans a folder with four series in turns, as ingest does, with one `voxlake.dicom.header.Scanner`;
it meets every file for the first time, but for the one that warms the imports.

python benchmarks/formats/header_scan.py --peers PYTHON [--files 500] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "deidentify")]

from harness import compare, machine, save  # noqa: E402 - the folders beside are no package
from synthetic import make_files  # noqa: E402

from voxlake.store.schema import DERIVED_COLUMNS, HEADER_COLUMNS  # noqa: E402

VALUES = 60
KINDS = {
    pa.string(): "text",
    pa.list_(pa.string()): "texts",
    pa.float64(): "number",
    pa.int64(): "whole",
    pa.list_(pa.float64()): "numbers",
}
AIMS = {"values": 10.0, "tags": 8.0}
PEERS = {"values": ("pydicom", "pydicom_specific"), "tags": ("pydicom",)}
# Each file for itself: what the memory of the scanner adds.
ALONE = "voxlake_without_memory"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", required=True, help="Python with pydicom")
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, columns = Path(name) / "files", Path(name) / "columns.json"
        folder.mkdir()
        make_files(folder, arguments.files)
        columns.write_text(json.dumps(wanted()))
        results: dict[str, Any] = {"machine": machine(), "files": arguments.files, "values": VALUES}
        for task, aim in AIMS.items():
            pythons = dict.fromkeys(("voxlake", ALONE), sys.executable)
            pythons |= dict.fromkeys(PEERS[task], arguments.peers)
            results[task] = compare(
                {
                    tool: [python, str(HERE / "header_scan_drive.py"), tool, task, str(folder), str(columns)]
                    for tool, python in pythons.items()
                },
                equal=same,
                at_least=dict.fromkeys(PEERS[task], aim),
                rounds=arguments.rounds,
            )
    path = save(results, HERE, "header-scan")
    factors = {task: results[task]["times_faster"] for task in AIMS}
    sys.stdout.write(f"{json.dumps(factors)} in {path}\n")


def wanted() -> list[list[str]]:
    """Columns that stand for one element each, with its keyword and kind."""
    columns = [
        column
        for column in (*HEADER_COLUMNS, *DERIVED_COLUMNS)
        # An absent number of frames is 1 in a row.
        if column.tag and column.name != "number_of_frames"
    ]
    rows = [[column.name, column.tag, KINDS[column.type]] for column in columns if column.type in KINDS]
    return rows[:VALUES]


def same(checks: dict[str, Any]) -> str:
    """All tools must give the same values."""
    if len({json.dumps(check, sort_keys=True) for check in checks.values()}) > 1:
        raise ValueError(f"the tools differ: {checks}")
    return "equal for all files"


if __name__ == "__main__":
    main()
