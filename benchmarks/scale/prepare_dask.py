"""`prepare` of 100 series of 100 slices on Dask, two workers against one: python prepare_dask.py

A scheduler and its workers are real processes; each worker has one thread. Every round prepares the same
cohort in a fresh copy of the lake.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))
from harness import compare, machine, save

HERE = Path(__file__).parent
TOOLS = Path(sys.executable).parent
PLAN = """
[[steps]]
step = "reorient"
orientation = "SPL"

[[steps]]
step = "resample"
spacing = [2.5, 1.0, 1.0]
"""


def main() -> None:
    arguments = parser().parse_args()
    if arguments.drive:
        drive(Path(arguments.drive), int(arguments.workers))
        return
    folder = Path(tempfile.mkdtemp())
    os.environ["HOME"] = str(folder)
    try:
        make_lake(folder, arguments.series, arguments.slices)
        tools = {
            f"{count} workers": [sys.executable, __file__, "--drive", str(folder), "--workers", str(count)]
            for count in (1, 2)
        }
        found = compare(
            tools, equal=agree, at_least={"1 workers": 1.6}, ours="2 workers", rounds=arguments.rounds
        )
    finally:
        shutil.rmtree(folder)
    results = {"machine": machine(), "series": arguments.series, "slices": arguments.slices, **found}
    print(found["median"], found["times_faster"])
    print(f"raw numbers: {save(results, HERE, arguments.name)}")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--series", type=int, default=100)
    made.add_argument("--slices", type=int, default=100)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--name", default="prepare_dask")
    made.add_argument("--drive", help="a folder made by the parent; for the parent only")
    made.add_argument("--workers", default="1")
    return made


def make_lake(folder: Path, series: int, slices: int) -> None:
    """Make a lake with a cohort of CT series."""
    from ct_files import make_files

    from voxlake.lake.cohorts import select
    from voxlake.lake.ingest import ingest
    from voxlake.lake.lake import open_lake

    source = folder / "source"
    make_files(source, series * slices, slices=slices)
    lake = open_lake(folder / "lake", key=folder / "key", policy="none")
    ingest(lake, source, progress=False)
    select(lake, "all")
    shutil.rmtree(source)


def drive(folder: Path, workers: int) -> None:
    """Prepare the cohort once, in a copy of the lake; print the seconds."""
    import pandas as pd  # noqa: F401 - pyarrow loads it with the first array

    from voxlake.engine.open import open_engine
    from voxlake.lake.cohorts import get_cohort
    from voxlake.lake.lake import open_lake
    from voxlake.volumes.prepare import prepare

    copied = folder / f"copy_{workers}"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(folder / "lake", copied)
    plan = folder / "plan.toml"
    plan.write_text(PLAN)
    lake = open_lake(copied, key=folder / "key")
    with cluster(workers) as address, open_engine(address) as engine:
        list(engine.map(warm, range(2 * workers)))
        start = time.perf_counter()
        run = prepare(get_cohort(lake, "all"), plan=plan, engine=engine, progress=False)
        seconds = time.perf_counter() - start
    digests = sorted(row[0] for row in lake.sql("select sha256 from volumes").rows())
    shutil.rmtree(copied)
    print(json.dumps({"seconds": seconds, "check": digests, "counts": dict(run.counts)}))


def warm(number: int) -> int:
    """Load what the workers need before the clock starts."""
    import voxlake.volumes.prepare  # noqa: F401 - as above

    time.sleep(0.5)
    return number


@contextmanager
def cluster(workers: int) -> Iterator[str]:
    """A scheduler and workers of one thread each; gives the URL of the engine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    host, port = place.split(":")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = [str(TOOLS / "dask"), "scheduler", "--host", host, "--port", port, "--no-dashboard"]
    worker = [str(TOOLS / "dask"), "worker", f"tcp://{place}", "--nthreads", "1", "--no-dashboard"]
    started = [subprocess.Popen(scheduler, **quiet)]
    try:
        started += [subprocess.Popen(worker, **quiet) for _ in range(workers)]
        wait_for(place, workers)
        yield f"dask://{place}"
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def wait_for(place: str, workers: int) -> None:
    """Wait until the workers have come to the scheduler."""
    from distributed import Client

    with Client(f"tcp://{place}", timeout="60s") as client:
        client.wait_for_workers(workers, timeout=60)


def agree(checks: Mapping[str, Any]) -> str:
    """Both give the same arrays."""
    one, two = checks.values()
    if one != two or not one:
        raise RuntimeError("the arrays differ")
    return f"{len(one)} arrays, the same digests"


if __name__ == "__main__":
    main()
