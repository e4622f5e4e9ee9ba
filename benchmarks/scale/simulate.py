"""How the metadata of a lake behaves as it grows: measured where it fits, computed beyond.

    python simulate.py
    python simulate.py --instances 1000000 20000000 100000000 --files 100 1000 10000 50000

For each number of files a real Delta log is written (one commit for each file, with the statistics of real
add actions, and a checkpoint), opened and added to. For each number of rows a real index of UIDs is made of
random keys and searched. What one lake of N instances needs is then put together: every line says whether its
figures were `measured` at that size or `computed` from the largest measured one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from deltalake import DeltaTable, write_deltalake
from harness import machine, save

from voxlake.store.objects import Objects
from voxlake.store.schema import arrow_schema
from voxlake.store.tables import Tables
from voxlake.store.uid_runs import GROUPS, INSTANCE, Run, sort_instances, write_run

ROWS_AS_INGESTED = 10_000
ROWS_COMPACTED = 1_000_000
BYTES_OF_AN_INSTANCE = 500_000
INSTANCES_OF_A_SERIES = 71
INSTANCES_OF_A_PACK = 250
NAMES_OF_COLUMNS = [field.name for field in arrow_schema("instances")]
SIZES = (1_000_000, 20_000_000, 100_000_000, 1_000_000_000)
TARGET_BYTES = 10**15


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--instances", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--commits", type=int, default=20)
    parser.add_argument("--commit-rows", type=int, nargs="+", default=[1, 1_000, 10_000])
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="voxlake-simulate-"))
    try:
        rates = [
            measure_commits(folder / f"commits-{rows}", rows, given.commits) for rows in given.commit_rows
        ]
        logs = [measure_log(folder / f"log-{files}", files, given.commits) for files in sorted(given.files)]
        indexes = [measure_index(folder / f"index-{rows}", rows) for rows in sorted(given.rows)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lakes = [lake_of(instances, logs, indexes) for instances in given.instances]
    # As many instances of half a megabyte as make a petabyte.
    lakes.append({"petabyte": True} | lake_of(TARGET_BYTES // BYTES_OF_AN_INSTANCE, logs, indexes))
    for title, lines in (("commits", rates), ("log", logs), ("index", indexes), ("lake", lakes)):
        for line in lines:
            print(title, json.dumps(line))
    save(
        {"machine": machine(), "commits": rates, "logs": logs, "indexes": indexes, "lakes": lakes},
        Path(__file__).parent,
        "simulate",
    )


def measure_commits(place: Path, rows: int, commits: int) -> dict[str, Any]:
    """How long one writer takes for a commit of so many rows of `instances`, by `Tables.append`."""
    tables = Tables(Objects.open(place))
    tables.append("instances", [])
    times = []
    for number in range(commits):
        listed = [row_of_instance(number * rows + row) for row in range(rows)]
        times.append(once(lambda listed=listed: tables.append("instances", listed)))
    seconds = statistics.median(times)
    return {
        "rows": rows,
        "commits": commits,
        "commit_seconds": seconds,
        "commits_a_second": round(1 / seconds, 1),
        "measured": True,
    }


def row_of_instance(number: int) -> dict[str, Any]:
    return {
        "sop_instance_uid": f"2.25.{number:039}",
        "series_instance_uid": f"2.25.{number // INSTANCES_OF_A_SERIES:039}",
        "source_mac": f"{number:064x}",
        "sha256": f"{number:064x}",
        "modality": "CT",
        "rows": 512,
        "columns": 512,
        "pack": f"packs/ab/{number // INSTANCES_OF_A_PACK:064x}.pack",
        "offset": number % INSTANCES_OF_A_PACK * BYTES_OF_AN_INSTANCE,
        "length": BYTES_OF_AN_INSTANCE,
    }


def measure_log(place: Path, files: int, commits: int) -> dict[str, Any]:
    """A Delta log with so many files: its size, how long it takes to open, and to see what is added."""
    schema = arrow_schema("instances")
    write_deltalake(place, schema.empty_table(), configuration={"delta.checkpointInterval": "1000000"})
    log = place / "_delta_log"
    random = np.random.default_rng(files)
    # All in one commit: what a checkpoint holds is the same, and it is made sooner.
    with (log / f"{1:020}.json").open("w") as file:
        file.writelines(json.dumps({"add": action(random, number)}) + "\n" for number in range(files))
    commit_bytes = (log / f"{1:020}.json").stat().st_size / files
    checkpoint_seconds = once(DeltaTable(place).create_checkpoint)
    checkpoint_bytes = sum(file.stat().st_size for file in log.glob("*.checkpoint*.parquet"))
    opened = [once(lambda: DeltaTable(place).version()) for _ in range(3)]
    table = DeltaTable(place)
    listed = [once(table.file_uris) for _ in range(3)]
    added, seen = [], []
    for number in range(commits):
        add = json.dumps({"add": action(random, files + number)}) + "\n"
        version = table.version() + 1
        added.append(once(lambda add=add, version=version: (log / f"{version:020}.json").write_text(add)))
        seen.append(once(table.update_incremental))
    return {
        "files": files,
        "bytes_of_a_commit": round(commit_bytes),
        "checkpoint_bytes": checkpoint_bytes,
        "checkpoint_seconds": checkpoint_seconds,
        "open_seconds": statistics.median(opened),
        "list_files_seconds": statistics.median(listed),
        "see_a_commit_seconds": statistics.median(seen),
        "measured": True,
    }


def action(random: np.random.Generator, number: int) -> dict[str, Any]:
    """An add action as a commit of ingest writes it: statistics of the first 32 columns."""
    digits = np.sort(random.integers(10**17, 10**18, 2))
    # As UIDs, the longest values that are common.
    low, high = (f"2.25.{digit}{digit}000" for digit in digits)
    names = NAMES_OF_COLUMNS[:32]
    statistics_of = {
        "numRecords": ROWS_AS_INGESTED,
        "minValues": dict.fromkeys(names, low),
        "maxValues": dict.fromkeys(names, high),
        "nullCount": dict.fromkeys(names, 0),
    }
    return {
        "path": f"part-{number:05}-{uuid.uuid4()}-c000.zstd.parquet",
        "partitionValues": {},
        "size": 1_000_000,
        "modificationTime": 1_790_000_000_000 + number,
        "dataChange": True,
        "stats": json.dumps(statistics_of),
    }


def measure_index(place: Path, rows: int) -> dict[str, Any]:
    """An index of so many UIDs: its size, how long sorting and writing take, and a look-up."""
    random = np.random.default_rng(rows)
    keys = random.integers(0, 2**64, rows, np.uint64)
    series = np.sort(random.integers(0, 2**64, max(1, rows // INSTANCES_OF_A_SERIES), np.uint64))
    wanted = random.choice(keys, 500)
    names = np.zeros(rows // INSTANCES_OF_A_PACK * 78 + 1, np.uint8)
    runs: list[Run] = []

    def build() -> None:
        ordered, places = sort_instances(keys, np.zeros(rows, INSTANCE))
        groups = {f"{name}-keys": series for name in GROUPS}
        groups |= {f"{name}-files": np.zeros(len(series), np.uint32) for name in GROUPS}
        arrays = {"instance-keys": ordered, "instance-places": places, "packs": names, **groups}
        runs.append(write_run(place, arrays))

    build_seconds = once(build)
    run = runs[0]
    times = [once(lambda key=key: run.places[np.searchsorted(run.keys, key)]) for key in wanted]
    size = sum(file.stat().st_size for file in place.rglob("*.npy"))
    return {
        "rows": rows,
        "bytes": size,
        "bytes_of_a_row": round(size / rows, 1),
        "sort_and_write_seconds": build_seconds,
        "look_up_seconds": statistics.median(times),
        "look_up_seconds_95": round(float(np.quantile(times, 0.95)), 7),
        "measured": True,
    }


def lake_of(instances: int, logs: list[dict[str, Any]], indexes: list[dict[str, Any]]) -> dict[str, Any]:
    """What a lake of so many instances needs, as ingested and after `compact`."""
    index, index_how = scaled(indexes, "rows", instances, ("bytes", "sort_and_write_seconds"))
    found: dict[str, Any] = {
        "instances": instances,
        "stored_bytes": instances * BYTES_OF_AN_INSTANCE,
        "packs": instances // INSTANCES_OF_A_PACK,
        "index_bytes": index["bytes"],
        "index_sort_and_write_seconds": index["sort_and_write_seconds"],
        "index": index_how,
    }
    for layout, rows in (("ingested", ROWS_AS_INGESTED), ("compacted", ROWS_COMPACTED)):
        files = max(1, instances // rows)
        names = ("checkpoint_bytes", "checkpoint_seconds", "open_seconds", "list_files_seconds")
        log, how = scaled(logs, "files", files, names)
        found[layout] = {"files": files, **log, "how": how}
    return found


def scaled(
    measured: list[dict[str, Any]], by: str, wanted: int, names: tuple[str, ...]
) -> tuple[dict[str, float], str]:
    """Figures for a size: linear between what was measured, and in proportion beyond it."""
    sizes = [line[by] for line in measured]
    largest = measured[-1]
    if wanted <= sizes[-1]:
        found = {name: float(np.interp(wanted, sizes, [line[name] for line in measured])) for name in names}
        how = "measured" if wanted in sizes else "computed between measured sizes"
        if wanted < sizes[0]:
            how = f"as measured for {sizes[0]}"
    else:
        found = {name: largest[name] * wanted / largest[by] for name in names}
        how = f"computed, {wanted / largest[by]:.3g} times the largest measured size"
    return {name: round(value, 6) for name, value in found.items()}, how


def once(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return round(time.perf_counter() - began, 7)


if __name__ == "__main__":
    main()
