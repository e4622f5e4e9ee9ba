"""Lakes for the crash campaign: a small job with something of everything, and what must come out of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydicom import dcmread

from voxlake.core.run import OUTCOMES
from voxlake.engine.contract import Engine
from voxlake.engine.serial import SerialEngine
from voxlake.lake.cohorts import get_cohort, select
from voxlake.lake.compact import compact
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.orphans import leftovers
from voxlake.lake.verify import verify
from voxlake.sources.phantoms import Phantoms
from voxlake.store.keys import LakeKey
from voxlake.store.objects import Objects
from voxlake.volumes.prepare import prepare

__all__ = [
    "VERBS",
    "Job",
    "content",
    "faults_of",
    "make_job",
    "make_lake_for",
    "read_lake",
    "run_verb",
    "write_lake",
]

VERBS = ("ingest", "prepare", "compact")

# Run ids, times and where bytes lie are another time's; everything else must be the same.
_LEFT_OUT = ("run_id", "committed_at")
_TABLES: Mapping[str, tuple[str, ...]] = {
    "instances": ("pack", '"offset"'),
    "series": (),
    "stacks": (),
    "deidentifications": (),
    "quarantine": (),
    "findings": (),
    "labels": (),
    "cohorts": ("table_versions",),
    "cohort_members": (),
    "volumes": (),
}
_PLAN = '[[steps]]\nstep = "reorient"\norientation = "SPL"\n'
_LIMIT = 2**20


@dataclass(frozen=True)
class Job:
    """What is done in every round.

    Parameters
    ----------
    source : Path
        Folder of files.
    parts : tuple of Path
        The same files in several folders.
    mapping, plan, key : Path
        Files for the options of these names.
    items : int
        How many files there are.
    """

    source: Path
    parts: tuple[Path, ...]
    mapping: Path
    plan: Path
    key: Path
    items: int

    def arguments(self, verb: str, url: str, engine: str) -> list[str]:
        """Words of the command."""
        words = {
            "ingest": [str(self.source), "--mapping", str(self.mapping)],
            "prepare": ["all", "--plan", str(self.plan)],
            "compact": ["--grace", "0"],
        }[verb]
        return [verb, *words, "--lake", url, "--key", str(self.key), "--engine", engine, "--json"]


def make_job(folder: Path, *, patients: int = 5) -> Job:
    """Write the files of the job: series, and files that are refused, repeated, contradictory or nameless."""
    source = folder / "source"
    items = list(Phantoms(patients=patients, slices=8, rows=16, columns=16, second_study=0.0))
    files = {f"{number // 8}/{number:03d}.dcm": item.read(_LIMIT) for number, item in enumerate(items)}
    first = files["0/000.dcm"]
    files |= {
        "0/again.dcm": first,
        "1/other.dcm": _changed(first, patient="NAMELESS", pixels=True),
        "2/broken.dcm": first[:300],
        "3/nobody.dcm": _changed(files["1/009.dcm"], patient="", uid=True),
        "3/notes.txt": b"not an image",
    }
    for name, data in files.items():
        file = source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    mapping, plan, key = folder / "mapping.csv", folder / "plan.toml", folder / "key"
    mapping.write_text("path,label:side\n*0.dcm,left\n*1.dcm,right\n*again.dcm,left\n")
    plan.write_text(_PLAN)
    LakeKey(bytes(range(32))).save(key)
    return Job(source, tuple(sorted(source.iterdir())), mapping, plan, key, len(files))


def _changed(data: bytes, *, patient: str, pixels: bool = False, uid: bool = False) -> bytes:
    dataset = dcmread(BytesIO(data))
    dataset.PatientID = patient
    if pixels:
        dataset.PixelData = bytes(len(dataset.PixelData))
    if uid:
        for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            setattr(dataset, name, f"2.25.{sum(name.encode())}")
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def make_lake_for(verb: str, job: Job, url: str) -> bool:
    """Make the lake on which a verb is going to be killed; False where the verb makes it itself."""
    if verb == "ingest":
        return False
    lake = open_lake(url, key=job.key)
    for part in job.parts if verb == "compact" else (job.source,):
        ingest(lake, part, mapping=job.mapping, engine="serial", progress=False)
    cohort = select(lake, "all")
    if verb == "compact":
        prepare(cohort, plan=job.plan, engine="serial", progress=False)
        # What two drivers at the same time may commit, and what a killed one may leave.
        rows = lake.sql("select * exclude (committed_at) from instances order by sop_instance_uid limit 8")
        lake.tables.append("instances", rows.dicts())
        lake.objects.put(f"packs/ab/ab{'0' * 62}.pack", b"left behind")
    return True


def run_verb(verb: str, job: Job, lake: Lake, engine: Engine) -> dict[str, Any]:
    """Run a verb here, to its end; returns what ``--json`` would print."""
    if verb == "ingest":
        run = ingest(lake, job.source, mapping=job.mapping, engine=engine, progress=False)
    elif verb == "prepare":
        run = prepare(get_cohort(lake, "all"), plan=job.plan, engine=engine, progress=False)
    else:
        run = compact(lake, grace="0", engine=engine, progress=False)
    return run.to_dict()


def read_lake(objects: Objects) -> dict[str, bytes]:
    """Everything that a lake holds."""
    return {path: objects.get(path) for path in objects.list("")}


def write_lake(files: Mapping[str, bytes], url: str) -> None:
    """Write a copy of a lake; it gets an identifier of its own, by which caches tell the two apart."""
    target = Objects.open(url)
    for path, data in files.items():
        # Of the settings only; nothing else knows the identifier.
        renamed = _renamed(data) if path == "lake.toml" else data
        target.put(path, renamed)


def _renamed(settings: bytes) -> bytes:
    return re.sub(rb'lake_id = "[0-9a-f]{32}"', f'lake_id = "{uuid4().hex}"'.encode(), settings)


def content(lake: Lake) -> dict[str, list[str]]:
    """What must be the same however a lake came about: every key and digest, not run ids, times and packs."""
    # One statement, because opening a session for each table takes longer than reading them.
    rows = lake.sql(
        " union all ".join(
            f"select '{table}' as place, cast(to_json(one) as varchar) as row from "
            f"(select * exclude ({', '.join((*_LEFT_OUT, *columns))}) from {table}) as one"
            for table, columns in _TABLES.items()
        )
        + " order by all"
    ).rows()
    return {table: [row for place, row in rows if place == table] for table in _TABLES}


def faults_of(lake: Lake, expected: Mapping[str, list[str]]) -> list[str]:
    """What is wrong with a lake after a kill and a run to the end; empty if all is well.

    The lake is compacted and verified again, after which nothing may be left that no row names.
    """
    faults = [*_unbalanced(lake), *_other_content(lake, expected)]
    with SerialEngine() as engine:
        found = verify(lake, engine=engine, progress=False)
        faults += [
            f"{one['object']}: {one['fault']}" for one in found.result["faults"] if one["fault"] != "orphan"
        ]
        done = compact(lake, grace="0", engine=engine, progress=False)
        if done.failures:
            faults.append(f"compact: {done.balance()} {dict(done.reasons)}")
        found = verify(lake, engine=engine, progress=False)
    faults += [f"after compact, {one['object']}: {one['fault']}" for one in found.result["faults"]]
    if found.result["orphans"]["objects"]:
        faults.append(f"after compact, {found.result['orphans']['objects']} orphans")
    now = datetime.now(UTC) + timedelta(seconds=1)
    faults += [f"after compact, {path}: never got its name" for path in leftovers(lake.objects, now)]
    return [*faults, *(f"after compact, {one}" for one in _other_content(lake, expected))]


def _other_content(lake: Lake, expected: Mapping[str, list[str]]) -> list[str]:
    found = content(lake)
    faults = []
    for table, rows in expected.items():
        if found[table] != rows:
            missing = [row for row in rows if row not in found[table]]
            extra = [row for row in found[table] if row not in rows]
            faults.append(
                f"table {table} has {len(found[table])} rows, expected {len(rows)}: "
                f"{len(missing)} missing {missing[:1]}, {len(extra)} extra {extra[:1]}"
            )
    return faults


def _unbalanced(lake: Lake) -> list[str]:
    """Runs that came to their end and do not account for each item that they saw."""
    columns = ", ".join(
        f"coalesce(cast(json_extract(counts, '$.{name}') as bigint), 0)" for name in ("seen", *OUTCOMES)
    )
    items = dict(lake.sql("select run_id, count(*) from items group by run_id").rows())
    faults = []
    for run, verb, outcome, seen, *outcomes in lake.sql(
        f"select run_id, verb, outcome, {columns} from runs"
    ).rows():
        listed = items.get(run, 0)
        # Verify and compact list what is not right, or not worth a word, in numbers only.
        whole = listed == seen or verb not in ("ingest", "prepare", "compact")
        if outcome == "done" and (seen != sum(outcomes) or not whole):
            faults.append(f"{verb} saw {seen}, has {outcomes} and lists {listed}")
    return faults
