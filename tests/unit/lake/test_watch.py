"""Watching folders: what is complete comes in once, what is being written waits, Ctrl-C ends it well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from voxlake.core.errors import UsageError
from voxlake.core.run import Run
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.lake.watch import keep_ingesting
from voxlake.sources.item import Source
from voxlake.testing.hostile import CtFiles


class Script:
    """Plays what happens between two looks, and ends with Ctrl-C."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> None:
        self._steps = list(steps)
        self.passes: list[list[str]] = []
        monkeypatch.setattr("voxlake.lake.watch.time.sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        if not self._steps:
            raise KeyboardInterrupt
        self._steps.pop(0)()

    def ingest(self, sources: Sequence[Source]) -> Run:
        names = [item.name for source in sources for item in source]
        self.passes.append(names)
        return Run("r", "ingest", {}, "done", {"seen": len(names), "stored": len(names)}, 0.0, "", "")


def nothing() -> None:
    """Time goes by."""


def test_files_wait_until_they_rest_and_come_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, archive = tmp_path / "a", tmp_path / "b" / "c", tmp_path / "x.zip"
    first.write_bytes(b"1")

    def begin() -> None:
        second.parent.mkdir()
        second.write_bytes(b"2")
        archive.write_bytes(b"half of an archive")

    def grow() -> None:
        second.write_bytes(b"22")

    script = Script(monkeypatch, begin, grow, nothing, nothing, nothing)
    total = keep_ingesting(script.ingest, [tmp_path], every=1)
    assert script.passes == [["a"], ["x.zip"], ["b/c"]]
    assert total.counts == {"seen": 3, "stored": 3}
    assert total.result == {"passes": 3}
    assert total.outcome == "done"


def test_what_changes_comes_again_and_what_leaves_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, link = tmp_path / "a", tmp_path / "link"
    file.write_bytes(b"1")
    link.symlink_to(tmp_path / "nowhere")
    script = Script(
        monkeypatch, nothing, nothing, lambda: file.write_bytes(b"changed"), nothing, nothing,
        file.unlink, lambda: file.write_bytes(b"changed"), nothing, nothing,
    )  # fmt: skip
    keep_ingesting(script.ingest, [tmp_path], every=1)
    assert script.passes == [["a", "link"], ["a"], ["a"]]


def test_a_file_that_changes_during_the_pass_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"1")
    script = Script(monkeypatch, nothing, nothing, nothing)
    seen = []

    def one_pass(sources: Sequence[Source]) -> Run:
        if not seen:
            (tmp_path / "a").write_bytes(b"longer")
        run = script.ingest(sources)
        seen.append(script.passes[-1])
        return run

    keep_ingesting(one_pass, [tmp_path], every=1)
    assert seen == [[], ["a"]]


def test_only_folders_and_sensible_times(tmp_path: Path) -> None:
    file = tmp_path / "a.dcm"
    file.write_bytes(b"1")
    with pytest.raises(UsageError, match="only folders"):
        keep_ingesting(lambda _: pytest.fail("it ran"), [file], every=1)
    with pytest.raises(UsageError, match="more than 0"):
        keep_ingesting(lambda _: pytest.fail("it ran"), [tmp_path], every=0)


def test_passes_are_runs_of_the_lake(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, files = tmp_path / "in", CtFiles()
    folder.mkdir()
    (folder / "1.dcm").write_bytes(files.file())
    script = Script(
        monkeypatch, nothing, lambda: (folder / "2.dcm").write_bytes(files.file()), nothing, nothing, nothing
    )
    runs: list[Run] = []
    total = ingest(lake, folder, watch=True, every=5, engine="serial", progress=False, each_run=runs.append)
    assert script.passes == []
    assert [run.balance() for run in runs] == ["1 seen = 1 stored"] * 2
    assert total.balance() == "2 seen = 2 stored"
    stored = lake.sql("select outcome, counts from runs where verb = 'ingest' order by started_at").rows()
    assert [(outcome, json.loads(counts)["stored"]) for outcome, counts in stored] == [("done", 1)] * 2


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.1)


def test_from_the_shell(lake: Lake, tmp_path: Path) -> None:
    folder, files = tmp_path / "in", CtFiles()
    folder.mkdir()
    (folder / "1.dcm").write_bytes(files.file())
    command = [sys.executable, "-c", "from voxlake.cli import main; main()", "ingest", str(folder)]
    command += ["--watch", "--every", "0.7", "--json", "--engine", "serial", "--lake", lake.url]
    command += ["--key", str(lake.key_file)]
    output = tmp_path / "out.jsonl"
    with output.open("wb") as stdout, (tmp_path / "err.txt").open("wb") as stderr:
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr)

        def lines() -> list[dict[str, object]]:
            return [json.loads(line) for line in output.read_text().splitlines()]

        try:
            wait_for(lambda: len(lines()) == 1)
            whole = files.file()
            with (folder / "slow.dcm").open("wb") as slow:
                for at in range(0, len(whole), 100):
                    slow.write(whole[at : at + 100])
                    slow.flush()
                    os.fsync(slow.fileno())
                    time.sleep(0.15)
            wait_for(lambda: len(lines()) == 2)
            time.sleep(1.5)
        finally:
            process.send_signal(signal.SIGINT)
            status = process.wait(30)
    found = lines()
    assert status == 0, (tmp_path / "err.txt").read_text()
    assert [one["counts"] for one in found] == [{"seen": 1, "stored": 1}] * 2 + [{"seen": 2, "stored": 2}]
    assert "2 seen = 2 stored" in (tmp_path / "err.txt").read_text()
    assert lake.sql("select count(*) from instances").rows() == [(2,)]
