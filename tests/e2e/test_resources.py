"""Workers, memory and metrics: the options that every verb over items has, and what they do."""

from __future__ import annotations

import inspect
import io
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from voxlake.cli.main import run
from voxlake.core.errors import UsageError
from voxlake.core.plan import Plan
from voxlake.core.run import OUTCOMES, Run
from voxlake.engine.open import open_engine
from voxlake.exchange.deidentify import deidentify
from voxlake.lake.check import check
from voxlake.lake.cohorts import select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.sources.item import NO_HINTS
from voxlake.sources.phantoms import Phantoms
from voxlake.verbs import VERBS
from voxlake.volumes.prepare import prepare

# They count epochs, or several runs at once.
NO_METRICS = {"train", "demo"}


def parameters(verb) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(getattr(import_module(verb.module), verb.function)).parameters)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.command)
def test_every_verb_over_items_has_the_options(verb) -> None:
    has = set(parameters(verb))
    if "engine" in has:
        assert {"workers", "memory"} <= has
    if "progress" in has and verb.command not in NO_METRICS:
        assert "metrics" in has


def balance(path: Path, found: Run, lake: str) -> dict[str, float]:
    """The counts in a metrics file, all of which are of this run; and the gauges that have no outcome."""
    counts, others = {}, {}
    for family in text_string_to_metric_families(path.read_text("utf-8")):
        for sample in family.samples:
            assert (sample.labels["verb"], sample.labels["lake"]) == (found.verb, lake)
            if "outcome" in sample.labels:
                counts[sample.labels["outcome"]] = sample.value
            elif family.name == "voxlake_run_info":
                assert sample.labels["run_id"] == found.run_id
            else:
                others[sample.name] = sample.value
    assert counts == {name: found.counts.get(name, 0) for name in OUTCOMES}
    assert others["voxlake_items_seen_total"] == found.counts["seen"]
    assert (others["voxlake_run_active"], others["voxlake_run_failed"]) == (0, 0)
    return others


def test_metrics_agree_with_the_balance(lake: Lake, phantoms: Phantoms, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    (folder / "notes.txt").write_text("no image")
    path, name = tmp_path / "voxlake.prom", lake.settings.lake_id
    found = ingest(lake, phantoms, folder, engine="serial", metrics=path)
    assert found.counts["stored"] == 32
    assert found.failures == 2
    seen = balance(path, found, name)
    assert seen["voxlake_bytes_total"] == 172 + 8, "phantoms do not tell their size, files do"
    assert seen["voxlake_workers"] == 1
    for verb in (
        lambda: check(lake, engine="serial", metrics=path),
        lambda: prepare(select(lake, "all"), plan=Plan(), engine="serial", metrics=path),
        lambda: prepare(select(lake, "all"), plan=Plan(), engine="serial", metrics=path),
        lambda: deidentify(folder, dry_run=True, engine="serial", metrics=path),
    ):
        path.unlink()
        found = verb()
        gauges = balance(path, found, "" if found.verb == "deidentify" else name)
        assert (gauges["voxlake_bytes_total"] > 0) == (found.counts["seen"] > found.counts.get("already", 0))


def test_a_failed_run_says_so(lake: Lake, tmp_path: Path) -> None:
    def broken():
        raise LookupError
        yield

    class Broken:
        labels_digest = None

        def __iter__(self):
            return broken()

    path = tmp_path / "voxlake.prom"
    with pytest.raises(LookupError):
        ingest(lake, Broken(), engine="serial", metrics=path)
    text = path.read_text("utf-8")
    assert re.search(r"(?m)^voxlake_run_failed{.*} 1$", text)
    assert "last_success" not in text
    with pytest.raises(UsageError, match="cannot be written"):
        ingest(lake, Broken(), engine="serial", metrics=tmp_path / "nowhere" / "voxlake.prom")


def test_options_on_the_command_line(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VOXLAKE_LAKE", lake.url)
    monkeypatch.setenv("VOXLAKE_KEY_FILE", str(lake.key_file))
    source = "phantoms:?patients=1&slices=8&rows=16&columns=16&second_study=0"
    path = tmp_path / "voxlake.prom"
    command = ["ingest", source, "--workers", "1", "--memory", "1.5GB", "--metrics", str(path)]
    assert run(command) == 0
    assert re.search(r'(?m)^voxlake_items_total{.*outcome="stored"} 8$', path.read_text("utf-8"))
    assert re.search(r"(?m)^voxlake_workers{.*} 1$", path.read_text("utf-8"))
    capsys.readouterr()
    assert run([*command, "--engine", "processes:2"]) == 2
    assert "a number of its own" in capsys.readouterr().err
    assert run(["ingest", source, "--workers", "0"]) == 2
    assert "at least 1 worker" in capsys.readouterr().err


# Each item is one of a few small pictures: after the first they are already there, so that what is
# measured is the way of an item through the driver and not what the lake keeps of it.
_MANY = """
import io, resource, sys
import numpy as np
from PIL import Image
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import open_lake
from voxlake.sources.item import NO_HINTS

def picture(seed):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (4, 4), np.uint8)).save(stream, "png")
    return stream.getvalue()

PICTURES = [picture(seed) for seed in range(50)]

class Tiny:
    hints, ignored, size = NO_HINTS, None, 100
    def __init__(self, number):
        self.name = f"{number}.png"
        self.number = number
    def read(self, limit):
        return PICTURES[self.number % 50]

class Many:
    labels_digest = None
    def __init__(self, count):
        self.count = count
    def __iter__(self):
        return (Tiny(number) for number in range(self.count))

lake = open_lake(sys.argv[1], key=sys.argv[2])
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
for count in (40_000, 200_000):
    counts = ingest(lake, Many(count), policy="none", engine="serial").counts
    assert counts["seen"] == count == counts["already"] + counts.get("stored", 0)
    print(peak())
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_does_not_grow_with_the_input(new_lake, tmp_path: Path) -> None:
    lake = new_lake("many")
    done = subprocess.run(
        [sys.executable, "-c", _MANY, lake.url, str(lake.key_file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    few, many = map(float, done.stdout.split())
    assert many < few + 40, (
        f"peak memory of the driver: {few:.0f} MB at 40,000 items, {many:.0f} MB at 200,000"
    )


class Tiny:
    """One small picture under many names."""

    hints, ignored, size = NO_HINTS, None, 100

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self.content = content

    def read(self, limit: int) -> bytes:
        return self.content


def test_sources_stay_generators(lake: Lake) -> None:
    """What was pulled and is not settled yet is a window, whatever the size of the source."""
    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, "png")
    pulled = done = farthest = 0

    class Counting:
        labels_digest = None

        def __iter__(self):
            nonlocal pulled
            for pulled in range(1, 3001):
                yield Tiny(f"{pulled}.png", stream.getvalue())

    class Watched:
        url, workers = "watched", 1

        def map(self, function, groups, **limits):
            nonlocal done, farthest
            with open_engine("serial") as engine:
                for outcome in engine.map(function, groups, **limits):
                    farthest = max(farthest, pulled - done)
                    done += len(outcome.item)
                    yield outcome

    run = ingest(lake, Counting(), engine=Watched(), policy="none")
    assert run.counts == {"seen": 3000, "stored": 1, "already": 2999}
    assert done == 3000
    assert farthest <= 64 * 17
