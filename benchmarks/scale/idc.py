"""Modality, body part and count over the series of the Imaging Data Commons: voxlake's SQL against pandas.

    python idc.py --index idc_index_data/idc_index.parquet --lake /tmp/idc-lake --peers .peers/bin/python

The rows go into the table `series` of a lake by `Tables.append`, as ingest puts them there (once; the lake is
kept), and once more into a lake that is compacted, as one is after a large ingest. pandas reads the Parquet
file of the package at its best documented settings: two columns only, pyarrow engine, Arrow types; and with
the columns as categories, counted by `groupby` and by `value_counts`.

Three readings, each with all tools in turns and every turn in a fresh process:

- ``repeated``: from the statement to its rows in a running process that has asked before, median of
  `REPEATS`; both sides read their files anew each time.
- ``first``: the first statement of a process that has its libraries loaded and, of voxlake, its lake opened.
- ``process``: from the start of Python to the rows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

Rows = list[tuple[Any, ...]]
Query = Callable[[], Rows]

STATEMENT = "select modality, body_part_examined, count(*) from series group by all"
COLUMNS = ["Modality", "BodyPartExamined"]
NAMES = {
    "SeriesInstanceUID": "series_instance_uid",
    "StudyInstanceUID": "study_instance_uid",
    "PatientID": "patient_id",
    "Modality": "modality",
    "BodyPartExamined": "body_part_examined",
    "Manufacturer": "manufacturer",
    "ManufacturerModelName": "manufacturer_model_name",
    "SeriesDescription": "series_description",
    "StudyDescription": "study_description",
    "PatientSex": "patient_sex",
    "PatientAge": "patient_age",
    "SOPClassUID": "sop_class_uid",
    "instanceCount": "instances",
}
ROWS_AT_ONCE = 50_000
READINGS = ("repeated", "first", "process")
REPEATS = 7


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--index", type=Path, required=True, help="idc_index.parquet of idc-index-data")
    parser.add_argument("--lake", type=Path, required=True)
    parser.add_argument("--peers", default=sys.executable, help="Python of the environment with pandas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tool", choices=sorted(TOOLS))
    parser.add_argument("--reading", choices=READINGS, help="of --tool")
    given = parser.parse_args()
    if given.tool:
        print(json.dumps(measured(TOOLS[given.tool](given), given.reading)))
        return
    from harness import compare, machine, save

    fill(given.lake, given.index)
    fill(compacted(given.lake), given.index, compact=True)
    about = machine()
    peers = {name: 3.0 for name in TOOLS if name not in OURS}
    results = {
        reading: compare(commands(given, reading), equal=same, at_least=peers, rounds=given.rounds)
        for reading in READINGS
    }
    for reading, found in results.items():
        medians = found["median"]
        found["times_faster"] = {
            ours: {name: round(medians[name] / medians[ours], 2) for name in peers} for ours in OURS
        }
        names = ("median", "times_faster", "outputs")
        print(json.dumps({"reading": reading} | {name: found[name] for name in names}, indent=1))
    save({"machine": about, **results}, Path(__file__).parent, "idc")


def commands(given: argparse.Namespace, reading: str) -> dict[str, list[str]]:
    paths = ["--index", str(given.index), "--lake", str(given.lake), "--reading", reading]
    return {
        name: [sys.executable if name in OURS else given.peers, __file__, *paths, "--tool", name]
        for name in TOOLS
    }


def measured(query: Query, reading: str) -> dict[str, Any]:
    began = time.perf_counter()
    found = query()
    first = time.perf_counter() - began
    process = since_start()
    if reading == "repeated":
        seconds = statistics.median(once(query) for _ in range(REPEATS))
    else:
        seconds = process if reading == "process" else first
    return {"seconds": seconds, "check": digest(found)}


def once(query: Query) -> float:
    began = time.perf_counter()
    query()
    return time.perf_counter() - began


def since_start() -> float:
    """Seconds since the process began, by the system's clock (Linux, in hundredths)."""
    began = int(Path("/proc/self/stat").read_text().rpartition(") ")[2].split()[19])
    return float(Path("/proc/uptime").read_text().split()[0]) - began / os.sysconf("SC_CLK_TCK")


def compacted(lake: Path) -> Path:
    return lake.with_name(lake.name + "-compacted")


def fill(place: Path, index: Path, *, compact: bool = False) -> None:
    """Put the rows into a lake, unless they are there."""
    import pyarrow.parquet as pq

    from voxlake.lake.lake import open_lake
    from voxlake.store.compaction import compact_table

    lake = open_lake(place, key=place.with_name(place.name + ".key"), policy="none")
    if lake.tables.version("series") is None:
        rows = pq.read_table(index, columns=list(NAMES)).rename_columns(list(NAMES.values()))
        for batch in rows.to_batches(max_chunksize=ROWS_AT_ONCE):
            lake.tables.append("series", batch.to_pylist())
        if compact:
            compact_table(lake.tables, "series")
    # The keys of all rows are compared once for each version of a table, by whoever asks first.
    lake.sql(STATEMENT)


def with_compacted(given: argparse.Namespace) -> Query:
    return with_voxlake(argparse.Namespace(lake=compacted(given.lake)))


def with_voxlake(given: argparse.Namespace) -> Query:
    import duckdb  # noqa: F401 - loaded before the clock runs, as pandas is

    from voxlake.lake.lake import open_lake

    lake = open_lake(given.lake, key=given.lake.with_name(given.lake.name + ".key"), create=False)
    return lambda: lake.sql(STATEMENT).rows()


def with_pandas(given: argparse.Namespace) -> Query:
    import pandas as pd
    import pyarrow.parquet  # noqa: F401 - loaded before the clock runs

    def query() -> Rows:
        frame = pd.read_parquet(given.index, columns=COLUMNS, engine="pyarrow", dtype_backend="pyarrow")
        rows = frame.groupby(COLUMNS, dropna=False, sort=False, observed=True).size().reset_index()
        return [tuple(row) for row in rows.itertuples(index=False)]

    return query


def with_categories(given: argparse.Namespace) -> Query:
    categories = reader_of_categories(given)

    def query() -> Rows:
        rows = categories().groupby(COLUMNS, dropna=False, sort=False, observed=True).size().reset_index()
        return [tuple(row) for row in rows.itertuples(index=False)]

    return query


def with_value_counts(given: argparse.Namespace) -> Query:
    categories = reader_of_categories(given)

    def query() -> Rows:
        counts = categories().value_counts(COLUMNS, dropna=False, sort=False)
        # Of categories it counts pairs that do not occur as well.
        return [tuple(row) for row in counts[counts > 0].reset_index().itertuples(index=False)]

    return query


def reader_of_categories(given: argparse.Namespace) -> Callable[[], Any]:
    import pandas as pd
    import pyarrow.parquet  # noqa: F401 - loaded before the clock runs

    # Passed on to pyarrow: texts arrive as the dictionaries as which the file holds them.
    return lambda: pd.read_parquet(given.index, columns=COLUMNS, engine="pyarrow", read_dictionary=COLUMNS)


def digest(rows: Iterable[tuple[Any, ...]]) -> str:
    lines = sorted(
        json.dumps([value if isinstance(value, str) else None for value in row[:2]] + [int(row[2])])
        for row in rows
    )
    return f"{len(lines)} groups, sha256 {hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:16]}"


def same(found: Mapping[str, Any]) -> str:
    if len(set(found.values())) != 1:
        raise RuntimeError(f"the outputs differ: {dict(found)}")
    return f"equal: {next(iter(found.values()))}"


TOOLS = {
    "voxlake": with_voxlake,
    "voxlake compacted": with_compacted,
    "pandas": with_pandas,
    "pandas categories": with_categories,
    "pandas value_counts": with_value_counts,
}
OURS = ("voxlake", "voxlake compacted")


if __name__ == "__main__":
    main()
