"""A killed run loses nothing; two writers at the same time lose nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.sources.phantoms import Phantoms

SOURCE = "phantoms:?patients=12&slices=8&rows=16&columns=16"
SCRIPT = """
import sys
import voxlake as vl
import voxlake.lake.recorder as recorder
recorder._SECONDS_BETWEEN_COMMITS = 0.0
import voxlake.lake.ingest as module
module._GROUP_FILES = 8
module._WINDOW_GROUPS_PER_WORKER = 1
lake = vl.open(sys.argv[1], key=sys.argv[2])
print("ready", flush=True)
run = vl.ingest(lake, sys.argv[3], engine="processes:2")
print(run.balance(), flush=True)
"""


def start(lake: Lake) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, lake.url, str(lake.key_file), SOURCE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def content(lake: Lake) -> dict[str, list[tuple[object, ...]]]:
    """What must be the same however a lake came about: keys and digests, not run ids, times and packs."""
    return {
        "instances": lake.sql(
            "select source_mac, policy_digest, sop_instance_uid, sha256, length from instances order by all"
        ).rows(),
        "series": lake.sql(
            "select series_instance_uid, members_digest, geometry, slices from series order by all"
        ).rows(),
        "labels": lake.sql("select subject, name, value, source from labels order by all").rows(),
        "quarantine": lake.sql("select quarantine_id, reason from quarantine order by all").rows(),
    }


@pytest.mark.slow
def test_killed_at_any_moment(new_lake: Callable[..., Lake]) -> None:
    quiet = new_lake("quiet")
    ingest(quiet, SOURCE, engine="serial")
    expected = content(quiet)
    assert len(expected["instances"]) == len(list(Phantoms(patients=12, slices=8, rows=16, columns=16)))
    process = start(new_lake("timed"))
    assert process.stdout is not None
    process.stdout.readline()
    began = time.monotonic()
    process.communicate()
    whole = time.monotonic() - began
    disturbed = 0
    for number in range(8):
        lake = new_lake(f"kill-{number}")
        for share in (number / 8, 1 - number / 8):
            process = start(lake)
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(whole * share)
            disturbed += process.poll() is None
            process.kill()
            process.communicate()
        run = ingest(lake, SOURCE, engine="serial")
        assert run.counts["seen"] == len(expected["instances"])
        assert content(lake) == expected, number
    assert disturbed >= 8


def test_killed_in_the_middle(new_lake: Callable[..., Lake]) -> None:
    quiet, lake = new_lake("quiet"), new_lake("killed")
    ingest(quiet, SOURCE, engine="serial")
    process = start(lake)
    assert process.stdout is not None
    process.stdout.readline()
    deadline = time.monotonic() + 60
    while not lake.tables.version("instances") and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    before = lake.sql("select count(*) from instances").rows()[0][0]
    run = ingest(lake, SOURCE, engine="serial")
    assert run.counts["seen"] == run.counts.get("stored", 0) + run.counts.get("already", 0)
    assert run.counts.get("already", 0) == before > 0
    assert content(lake) == content(quiet)


def test_two_writers_at_the_same_time(new_lake: Callable[..., Lake]) -> None:
    quiet, lake = new_lake("quiet"), new_lake("shared")
    ingest(quiet, SOURCE, engine="serial")
    processes = [start(lake), start(lake)]
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert " seen = " in output
    assert content(lake) == content(quiet)
