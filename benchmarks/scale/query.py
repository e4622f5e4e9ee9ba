"""Look-ups and SQL over a lake of many instances: how long each takes, in a process that has the lake open.

    python make_catalogue.py /tmp/catalogue --instances 20000000
    python query.py /tmp/catalogue

The first figures are those of a machine that knows nothing of the lake: the index is made, keys are compared.
Each query then runs with other values every time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import machine, save

from voxlake.lake.lake import Lake, open_lake
from voxlake.store.uid_index import UidIndex

COHORT = """
select patient_id, count(*) as series from series
where modality = 'CT' and body_part_examined = 'CHEST' and slice_thickness <= ? group by patient_id
"""
SERIES = (
    'select sop_instance_uid, instance_number, pack, "offset" from instances where series_instance_uid = ?'
)
AIMS = {"cohort_by_patient": 0.150, "one_series": 0.020, "one_sop_uid": 0.005}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("lake", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--keep-index", action="store_true", help="do not measure how long the index takes")
    given = parser.parse_args()
    lake = open_lake(given.lake, key=given.lake.with_name(given.lake.name + ".key"), create=False)
    first: dict[str, Any] = {}
    if not given.keep_index:
        shutil.rmtree(lake.cache, ignore_errors=True)
        first["index_seconds"] = once(lambda: UidIndex(lake.cache).sync(lake.tables))
        first["keys_compared_seconds"] = once(lambda: lake.sql("select count(*) from instances"))
    instances, series = (
        lake.sql(f"select count(*) from {name}").rows()[0][0] for name in ("instances", "series")
    )
    first["index_bytes_of_a_row"] = round(size(lake.cache / "uids-1") / instances, 1)
    values = sample(lake, given.rounds)
    cohort = timed(
        [0.5 + 0.1 * turn for turn in range(given.rounds)], lambda value: lake.sql(COHORT, [value])
    )
    seconds = {
        "cohort_by_patient": cohort,
        "one_series": timed([row[1] for row in values], lambda uid: lake.sql(SERIES, [uid])),
        "one_sop_uid": timed([row[0] for row in values], lake.find),
        "one_sop_uid_by_sql": timed(
            [row[0] for row in values],
            lambda uid: lake.sql("select * from instances where sop_instance_uid = ?", [uid]),
        ),
        "find_series": timed([row[1] for row in values], lake.find),
        "find_study": timed([row[2] for row in values], lake.find),
        "unknown_uid": timed([f"2.25.9{turn}" for turn in range(given.rounds)], lake.find),
    }
    check(lake, values)
    median = {name: round(statistics.median(times), 5) for name, times in seconds.items()}
    results = {
        "machine": machine(),
        "instances": instances,
        "series": series,
        "files": {name: len(lake.tables.files(name)) for name in ("instances", "series")},
        "first": first,
        "median": median,
        "aim": AIMS,
        "seconds": seconds,
    }
    print(json.dumps({"first": first, "median": median}, indent=1))
    save(results, Path(__file__).parent, f"query-{instances}")


def sample(lake: Lake, count: int) -> list[tuple[str, str, str]]:
    """SOP, series and study UIDs from all over the table."""
    files = lake.tables.files("instances")
    found = []
    for file in files[:: max(1, len(files) // count)][:count]:
        import pyarrow.parquet as pq

        columns = ["sop_instance_uid", "series_instance_uid", "study_instance_uid"]
        row = pq.ParquetFile(file).read(columns=columns).slice(17, 1).to_pylist()[0]
        found.append(tuple(row[name] for name in columns))
    return found


def check(lake: Lake, values: list[tuple[str, str, str]]) -> None:
    """The look-up gives what a query over all files gives."""
    for uid, *_ in values[:3]:
        found = lake.find(uid)
        rows = lake.sql(
            "select pack, \"offset\", length from instances where sop_instance_uid || '' = ?", [uid]
        ).rows()
        if found is None or [(spot.pack, spot.offset, spot.length) for spot in found.spots] != rows:
            raise RuntimeError(f"the look-up of {uid} gives another place than SQL")


def timed(values: list[Any], call: Callable[[Any], object]) -> list[float]:
    """Seconds of a call for each value, after one that is not counted."""
    call(values[-1])
    return [once(lambda value=value: call(value)) for value in values]


def once(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return round(time.perf_counter() - began, 6)


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()
