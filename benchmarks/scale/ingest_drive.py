"""One tool takes in one folder on two processes: python ingest_drive.py TOOL INPUT OUTPUT

Prints one line of JSON: seconds without imports and without the start of the processes, CPU seconds of all
processes, the largest memory of one, and as ``check`` how many files came in and a digest over their SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

PROCESSES = 2
GROUP = 64
# What a catalogue of CT is searched by; the peer keeps no more, while voxlake writes every element.
COLUMNS = (
    "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "SOPClassUID", "PatientID", "PatientSex",
    "PatientAge", "Modality", "BodyPartExamined", "StudyDate", "SeriesDescription", "StudyDescription",
    "ProtocolName", "Manufacturer", "ManufacturerModelName", "SeriesNumber", "InstanceNumber", "ImageType",
    "SliceThickness", "KVP", "ConvolutionKernel", "Rows", "Columns", "BitsAllocated", "BitsStored",
    "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "WindowCenter",
    "WindowWidth", "FrameOfReferenceUID",
)  # fmt: skip
Found = dict[str, Any]


def voxlake(source: Path, output: Path, policy: str) -> Found:
    import pandas as pd  # noqa: F401 - pyarrow loads it with the first array

    from voxlake.engine.open import open_engine
    from voxlake.lake.ingest import ingest
    from voxlake.lake.lake import open_lake

    lake = open_lake(output / "lake", key=output / "key", policy=policy)
    with open_engine(f"processes:{PROCESSES}") as engine:
        list(engine.map(warm, range(PROCESSES)))
        before, cpu = cpu_of_descendants(), time.process_time()
        start = time.perf_counter()
        run = ingest(lake, source, engine=engine, progress=False)
        seconds = time.perf_counter() - start
        workers_cpu, driver_cpu = cpu_of_descendants() - before, time.process_time() - cpu
    rows = lake.sql('select sha256, "length" from instances').rows()
    check = run.counts["stored"], sorted(digest for digest, _ in rows), sum(size for _, size in rows)
    return {"seconds": seconds, "check": told(*check), "workers_cpu": workers_cpu, "driver_cpu": driver_cpu}


def cpu_of_descendants() -> float:
    """CPU seconds of all living processes that this one started, or they did."""
    ticks, parents = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        number = int(stat.parent.name)
        parents[number], ticks[number] = int(fields[1]), int(fields[11]) + int(fields[12])
    found = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sum(ticks[child] for child in found - {os.getpid()}) / os.sysconf("SC_CLK_TCK")


def warm(number: int) -> int:
    import voxlake.lake.intake  # noqa: F401 - what the workers need is loaded before the clock starts

    time.sleep(0.5)
    return number


def voxlake_none(source: Path, output: Path) -> Found:
    return voxlake(source, output, "none")


def voxlake_research(source: Path, output: Path) -> Found:
    return voxlake(source, output, "research")


def pydicom_loop(source: Path, output: Path) -> Found:
    return in_sqlite(source, output, copy_and_index)


def pydicom_json_loop(source: Path, output: Path) -> Found:
    return in_sqlite(source, output, copy_and_index_all)


def in_sqlite(source: Path, output: Path, work: Callable[..., list[tuple[str, int]]]) -> Found:
    database = output / "index.sqlite"
    with sqlite3.connect(database) as connection:
        connection.execute("pragma journal_mode = wal")
        names = ", ".join(COLUMNS)
        connection.execute(f"create table instances ({names}, tags, path, sha256, size)")
    found = with_pool(work, source, output, warm_pydicom)
    del found["rows"]
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select sha256, size from instances").fetchall()
    return found | {"check": told(len(rows), sorted(row[0] for row in rows), sum(row[1] for row in rows))}


def warm_pydicom(number: int) -> int:
    import pydicom  # noqa: F401 - what the workers need is loaded before the clock starts

    time.sleep(0.5)
    return number


def copy_and_index_all(work: tuple[list[str], str]) -> list[tuple[str, int]]:
    """The same, with every element as JSON, as voxlake has it."""
    return copy_and_index(work, tags=True)


def copy_and_index(work: tuple[list[str], str], *, tags: bool = False) -> list[tuple[str, int]]:
    """Take in a group of files in one transaction."""
    from pydicom import dcmread

    group, output = work
    rows = []
    for name in group:
        dataset = dcmread(name, stop_before_pixels=True)
        with Path(name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        target = f"{output}/{digest}.dcm"
        shutil.copy(name, target)
        values = [str(dataset.get(keyword, "")) for keyword in COLUMNS]
        text = dataset.to_json() if tags else None
        rows.append((*values, text, target, digest, Path(target).stat().st_size))
    with sqlite3.connect(f"{output}/index.sqlite", timeout=60) as connection:
        connection.execute("pragma synchronous = off")
        marks = ", ".join("?" * (len(COLUMNS) + 4))
        connection.executemany(f"insert into instances values ({marks})", rows)
    return [(row[-2], row[-1]) for row in rows]


def bare(source: Path, output: Path) -> Found:
    found = with_pool(read_hash_write, source, output, warm_nothing)
    rows = found.pop("rows")
    return found | {"check": told(len(rows), sorted(row[0] for row in rows), sum(row[1] for row in rows))}


def warm_nothing(number: int) -> int:
    time.sleep(0.5)
    return number


def read_hash_write(work: tuple[list[str], str]) -> list[tuple[str, int]]:
    """Read a group of files, hash each, write each."""
    group, output = work
    rows = []
    for name in group:
        data = Path(name).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        Path(f"{output}/{digest}").write_bytes(data)
        rows.append((digest, len(data)))
    return rows


def with_pool(
    work: Callable[..., list[tuple[str, int]]], source: Path, output: Path, ready: Callable[[int], int]
) -> Found:
    with ProcessPoolExecutor(PROCESSES) as pool:
        list(pool.map(ready, range(PROCESSES)))
        start = time.perf_counter()
        files = sorted(str(path) for path in source.rglob("*.dcm"))
        groups = [(files[place : place + GROUP], str(output)) for place in range(0, len(files), GROUP)]
        rows = [row for part in pool.map(work, groups) for row in part]
        return {"seconds": time.perf_counter() - start, "rows": rows}


def told(count: int, digests: list[str], size: int) -> Found:
    return {"files": count, "bytes": size, "digest": hashlib.sha256("".join(digests).encode()).hexdigest()}


def main() -> None:
    name, source, target = sys.argv[1:4]
    output = Path(target)
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    tools: dict[str, Callable[[Path, Path], Found]] = {
        tool.__name__: tool
        for tool in (voxlake_none, voxlake_research, pydicom_loop, pydicom_json_loop, bare)
    }
    found = tools[name](Path(source), output)
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    found.setdefault("driver_cpu", own.ru_utime + own.ru_stime)
    found.setdefault("workers_cpu", children.ru_utime + children.ru_stime)
    found["driver_peak_mib"] = own.ru_maxrss // 1024
    shutil.rmtree(output)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
