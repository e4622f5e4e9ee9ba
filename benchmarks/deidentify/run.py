"""Compare voxlake with its peers: rows of Annex E, survivors, seconds. See README.md."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydicom import dcmread
from synthetic import make_files

from voxlake.core.errors import VoxlakeError
from voxlake.privacy.profile import Row, load_profile
from voxlake.testing.deidentification.annex_e import annex_e_object
from voxlake.testing.deidentification.planting import vr_of
from voxlake.testing.deidentification.row_scores import score_rows

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "src/voxlake/privacy/table_e1_1_2026d.json"
TOOLS = ("voxlake", "dicognito", "dicom_anonymizer", "deid", "deid_recipe")
DUMMIES = {
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "AS": "001D",
    "DS": "0",
    "IS": "0",
    "UI": "deid_func:pydicom_uuid",
    "UR": "urn:anonymized",
} | dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), "ANONYMIZED")
# Quoted, not measured here: Orthanc 1.12 has no Python entry.
QUOTED = {"orthanc": {"rows_right_percent": 66.4, "source": "earlier measurement, same kind of object"}}


def main() -> None:
    arguments = parser().parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = folder / "deid.recipe"
        recipe.write_text(recipe_of_the_table())
        results = {
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": {
                "cores": os.cpu_count(),
                "python": platform.python_version(),
                "system": platform.platform(),
            },
            "load_before": os.getloadavg(),
            "annex_e": {tool: annex_e(tool, folder, recipe, arguments) for tool in TOOLS},
            "speed": speed(folder, recipe, arguments),
            "table": json.loads(call([arguments.peers, str(HERE / "compare_table.py"), str(TABLE)])),
            "quoted": QUOTED,
        }
    out = arguments.out or HERE / "results" / f"{datetime.now(UTC):%Y-%m-%d}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    show(results)
    print(f"raw numbers: {out}")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--peers", required=True, help="python of the environment with requirements.txt")
    made.add_argument("--files", type=int, default=200)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--out", type=Path)
    return made


def recipe_of_the_table() -> str:
    """Write Table E.1-1 as a recipe of deid, as its documentation tells its users to do."""
    lines = ["FORMAT dicom", "", "%header", ""]
    for row in load_profile().rows:
        action = recipe_action(row)
        if action and "x" not in row.tag and row.tag != "private" and row.tag[:4] not in ("0000", "0002"):
            verb, _, value = action.partition(" ")
            lines.append(f"{verb} ({row.tag[:4].upper()},{row.tag[4:].upper()}) {value}".rstrip())
    return "\n".join(lines) + "\n"


def recipe_action(row: Row) -> str:
    """Take the first part of the code; deid cannot replace sequences or bytes, so they are removed."""
    first = row.basic.split("/")[0]
    if first == "U":
        return "REPLACE deid_func:pydicom_uuid"
    if first == "Z":
        return "BLANK"
    vr = vr_of(int(row.tag, 16)) if "x" not in row.tag and row.tag != "private" else ""
    return f"REPLACE {DUMMIES[vr]}" if first == "D" and vr in DUMMIES else "REMOVE"


def command(tool: str, source: Path, target: Path, recipe: Path, peers: str) -> list[str]:
    python = sys.executable if tool == "voxlake" else peers
    return [python, "-W", "ignore", str(HERE / "drive.py"), tool, str(source), str(target), str(recipe)]


def call(arguments: list[str]) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done.stdout.strip().splitlines()[-1]


def annex_e(tool: str, folder: Path, recipe: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    found = {}
    for implicit in (False, True):
        original = annex_e_object(implicit=implicit)
        encoding = "implicit" if implicit else "explicit"
        source, target = folder / f"annex_e_{encoding}", folder / f"annex_e_{encoding}_{tool}"
        source.mkdir(exist_ok=True)
        target.mkdir()
        (source / "object.dcm").write_bytes(original.data)
        try:
            stated = json.loads(call(command(tool, source, target, recipe, arguments.peers)))
            scores = score_rows(original, (target / "object.dcm").read_bytes())
        except (RuntimeError, VoxlakeError) as error:
            found[encoding] = {"error": str(error)}
            continue
        found[encoding] = {
            "version": stated["version"],
            "rows": scores.rows,
            "rows_right_percent": round(100 * scores.share_right(), 2),
            "rows_right_at_the_top_percent": round(100 * scores.share_right(0), 2),
            "survivors_top_percent": round(100 * scores.share_surviving(nested=False), 2),
            "survivors_nested_percent": round(100 * scores.share_surviving(nested=True), 2),
        }
    return found


def speed(folder: Path, recipe: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    source = folder / "ct"
    source.mkdir()
    make_files(source, arguments.files)
    before = {path.name: pixels(path) for path in source.iterdir()}
    seconds: dict[str, list[float]] = {tool: [] for tool in TOOLS}
    checked: dict[str, Any] = {}
    for turn in range(arguments.rounds):
        # Every round starts with another tool, so that none always runs on the coldest or warmest machine.
        for tool in TOOLS[turn % len(TOOLS) :] + TOOLS[: turn % len(TOOLS)]:
            target = folder / f"ct_{tool}"
            target.mkdir(exist_ok=True)
            try:
                stated = json.loads(call(command(tool, source, target, recipe, arguments.peers)))
            except RuntimeError as error:
                checked[tool] = {"error": str(error)}
                continue
            seconds[tool].append(stated["seconds"])
            checked[tool] = check(target, before)
    return {
        tool: {
            "seconds": times,
            "median_files_per_second": round(arguments.files / statistics.median(times), 2)
            if times
            else None,
            "outputs": checked[tool],
        }
        for tool, times in seconds.items()
    }


def check(target: Path, before: dict[str, str]) -> dict[str, int]:
    """Open every output: how many are there, and how many have the same pixels."""
    after = {path.name: pixels(path) for path in target.iterdir()}
    return {
        "files": len(after),
        "pixels_equal": sum(after.get(name) == digest for name, digest in before.items()),
    }


def pixels(path: Path) -> str:
    return hashlib.sha256(dcmread(path).PixelData).hexdigest()


def show(results: dict[str, Any]) -> None:
    for tool in TOOLS:
        rows = results["annex_e"][tool]["explicit"]
        rate = results["speed"][tool]["median_files_per_second"]
        print(f"{tool:18} {rows} {rate} files/s {results['speed'][tool]['outputs']}")
    table = results["table"]
    print(
        f"table: {table['equal']} rows equal, different {table['different']}, only ours {table['only_ours']}"
    )


if __name__ == "__main__":
    main()
