"""At least 100 kills of drivers and workers at random moments: python crash_campaign.py --kills 108 --seed 1

Every verb (ingest, prepare, compact) on every engine (processes, dask) and store (local, s3): a round kills
the driver or a worker, runs the verb again to its end, and compares the lake with one that nobody disturbed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))
from harness import machine, save

from voxlake.testing.crash_driver import Drivers
from voxlake.testing.crash_lakes import VERBS, make_job
from voxlake.testing.crash_sites import DaskSite, ProcessesSite, Site
from voxlake.testing.crashes import Cell, run_cell
from voxlake.testing.dask_cluster import run_cluster
from voxlake.testing.s3 import s3_server

HERE = Path(__file__).parent
ENGINES, STORES = ("processes", "dask"), ("local", "s3")
COLUMNS = ("drivers", "workers", "children", "written", "missed", "well")


def main() -> None:
    arguments = parser().parse_args()
    if arguments.store:
        campaign(arguments.store, arguments.engine, arguments.verb, arguments.kills, arguments.seed)
        return
    print(f"seed {arguments.seed}", flush=True)
    began, before = time.monotonic(), machine()
    each = -(-arguments.kills // (len(STORES) * len(arguments.engine) * len(arguments.verb)))
    cells: list[dict[str, Any]] = []
    broken = False
    # The two stores go on at the same time, each in a process of its own.
    for engine in arguments.engine:
        running = [start(store, engine, each, arguments) for store in STORES]
        for process in running:
            found, _ = process.communicate()
            cells += [json.loads(line) for line in found.splitlines()]
            broken |= process.returncode != 0
    show(cells)
    results = {
        "machine": before,
        "seed": arguments.seed,
        "seconds": round(time.monotonic() - began),
        "cells": cells,
    }
    print(f"raw numbers: {save(results, HERE, arguments.name)}")
    raise SystemExit(broken or any(cell["faults"] for cell in cells))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=108, help="in all cells together")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--engine", nargs="+", choices=ENGINES, default=list(ENGINES))
    options.add_argument("--verb", nargs="+", choices=VERBS, default=list(VERBS))
    options.add_argument(
        "--store",
        choices=STORES,
        help="only this one, so many kills in each cell, one line of JSON for each cell",
    )
    options.add_argument("--name", default="crash_campaign")
    return options


def start(store: str, engine: str, kills: int, arguments: argparse.Namespace) -> subprocess.Popen[str]:
    options = ["--store", store, "--engine", engine, "--kills", str(kills), "--seed", str(arguments.seed)]
    command = [sys.executable, __file__, *options, "--verb", *arguments.verb]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def campaign(store: str, engines: list[str], verbs: list[str], kills: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        # Caches belong to the campaign, and the server takes any credentials.
        os.environ |= {"HOME": name, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
        new_url = stack.enter_context(STORE[store](folder))
        job = make_job(folder)
        for engine in engines:
            with engine_site(engine, folder / engine) as site:
                drivers = stack.enter_context(Drivers(folder, cluster=engine == "dask", environment={}))
                for verb in verbs:
                    tally = run_cell(
                        Cell(verb, engine, store, site, new_url), job, drivers, kills=kills, seed=seed
                    )
                    found = tally.summary()
                    print(json.dumps(found), flush=True)
                    print(
                        {key: found[key] for key in ("cell", "run_seconds", *COLUMNS, "faults")},
                        file=sys.stderr,
                        flush=True,
                    )


@contextmanager
def local_store(folder: Path) -> Iterator[Callable[[], str]]:
    numbers = count()
    yield lambda: str(folder / f"lake-{next(numbers)}")


@contextmanager
def s3_store(folder: Path) -> Iterator[Callable[[], str]]:  # noqa: ARG001 - as the other one
    numbers = count()
    with s3_server() as server:
        server.bucket("voxlake")
        yield lambda: server.url("voxlake", f"lake-{next(numbers)}")


STORE = {"local": local_store, "s3": s3_store}


@contextmanager
def engine_site(engine: str, folder: Path) -> Iterator[Site]:
    if engine == "processes":
        here = ProcessesSite()
        with here.engine:
            yield here
        return
    folder.mkdir()
    with run_cluster(folder, workers=0) as cluster:
        there = DaskSite(cluster)
        with there.engine:
            yield there


def show(cells: list[dict[str, Any]]) -> None:
    print(f"{'cell':26}" + "".join(f"{name:>10}" for name in COLUMNS))
    for cell in cells:
        print(f"{cell['cell']:26}" + "".join(f"{cell[name]:>10}" for name in COLUMNS))
    print(f"{'together':26}" + "".join(f"{sum(cell[name] for cell in cells):>10}" for name in COLUMNS))
    for cell in cells:
        for fault in cell["faults"]:
            print(f"fault in {cell['cell']}: {fault}")


if __name__ == "__main__":
    main()
