"""The metrics file: read with the parser of Prometheus' own client."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from voxlake.core.errors import UsageError
from voxlake.engine.metrics import RunFacts, metrics_file

LABELS = {"lake": "4711", "verb": "ingest"}


def facts(**more: object) -> RunFacts:
    return RunFacts("ingest", {"seen": 9, "stored": 5, "failed": 1}, "20260101-abc", lake="4711", **more)


def read(path: Path) -> dict[tuple[str, str], float]:
    """Samples by name and outcome; every one has the same labels beside."""
    found = {}
    for family in text_string_to_metric_families(path.read_text("utf-8")):
        assert family.documentation
        assert family.type in ("counter", "gauge")
        for sample in family.samples:
            labels = dict(sample.labels)
            outcome = labels.pop("outcome", "")
            assert sample.timestamp is None, "the textfile collector refuses timestamps"
            if family.name != "voxlake_run_info":
                assert labels == LABELS
            assert (sample.name, outcome) not in found
            found[sample.name, outcome] = sample.value
    return found


def test_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "voxlake.prom"
    before = time.time()
    with metrics_file(path, facts(workers=3, bytes=2**40)):
        during = read(path)
        time.sleep(0.05)
    after = read(path)
    for found in (during, after):
        assert found["voxlake_items_seen_total", ""] == 9
        assert found["voxlake_items_total", "stored"] == 5
        assert found["voxlake_items_total", "failed"] == 1
        assert found["voxlake_items_total", "quarantined"] == 0
        assert found["voxlake_bytes_total", ""] == 2**40
        assert found["voxlake_workers", ""] == 3
        assert found["voxlake_run_info", ""] == 1
        assert before - 1 < found["voxlake_run_start_timestamp_seconds", ""] < time.time() + 1
    assert (during["voxlake_run_active", ""], after["voxlake_run_active", ""]) == (1, 0)
    assert ("voxlake_run_last_success_timestamp_seconds", "") not in during
    assert before - 1 < after["voxlake_run_last_success_timestamp_seconds", ""] < time.time() + 1
    assert after["voxlake_run_failed", ""] == 0
    assert after["voxlake_run_seconds_total", ""] >= 0.05
    assert 10 < after["voxlake_items_per_second", ""] < 6 / 0.05
    assert '{lake="4711",verb="ingest",run_id="20260101-abc",version="' in path.read_text("utf-8")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["voxlake.prom"]


def test_it_is_written_while_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "voxlake.prom"
    counts = {"seen": 1}
    with metrics_file(path, RunFacts("ingest", counts, "r", lake="4711"), every=0.01):
        counts["stored"] = 77
        until = time.monotonic() + 10
        while read(path)["voxlake_items_total", "stored"] != 77 and time.monotonic() < until:
            time.sleep(0.01)
        assert read(path)["voxlake_items_total", "stored"] == 77
        assert read(path)["voxlake_run_active", ""] == 1


def test_a_reader_never_meets_half_a_file(tmp_path: Path) -> None:
    path, over, sizes = tmp_path / "voxlake.prom", threading.Event(), set()

    def reader() -> None:
        while not over.is_set():
            sizes.add(path.read_text("utf-8").count("\n") if path.exists() else -1)

    with metrics_file(path, facts(), every=0.001):
        watcher = threading.Thread(target=reader)
        watcher.start()
        time.sleep(0.3)
        over.set()
        watcher.join()
    assert len(sizes) == 1


def test_a_failed_run_keeps_the_time_of_the_last_success(tmp_path: Path) -> None:
    path = tmp_path / "voxlake.prom"
    name = ("voxlake_run_last_success_timestamp_seconds", "")
    with metrics_file(path, facts()):
        pass
    first = read(path)[name]
    with pytest.raises(KeyboardInterrupt), metrics_file(path, facts()):
        raise KeyboardInterrupt
    assert read(path)[name] == first
    assert (read(path)["voxlake_run_failed", ""], read(path)["voxlake_run_active", ""]) == (1, 0)
    with metrics_file(path, RunFacts("ingest", {}, "r", lake="other")):
        assert "last_success" not in path.read_text("utf-8")


def test_everybody_may_read_it(tmp_path: Path) -> None:
    with metrics_file(tmp_path / "voxlake.prom", facts()):
        usual = tmp_path / "usual"
        usual.touch()
        assert (tmp_path / "voxlake.prom").stat().st_mode == usual.stat().st_mode


def test_odd_characters_are_escaped(tmp_path: Path) -> None:
    path = tmp_path / "voxlake.prom"
    with metrics_file(path, RunFacts('a"b\\c\nd', {}, "r")):
        pass
    families = {family.name: family for family in text_string_to_metric_families(path.read_text("utf-8"))}
    assert families["voxlake_workers"].samples[0].labels["verb"] == 'a"b\\c\nd'


def test_what_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"), metrics_file(tmp_path / "no" / "x", facts()):
        raise AssertionError
    precious = tmp_path / "image.dcm"
    precious.write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(UsageError, match="not written by voxlake"), metrics_file(precious, facts()):
        raise AssertionError
    assert precious.read_bytes() == b"\0" * 128 + b"DICM"


def test_a_folder_that_goes_away_does_not_stop_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    done = False
    with metrics_file(folder / "voxlake.prom", facts(), every=0.01):
        (folder / "voxlake.prom").unlink()
        until = time.monotonic() + 5
        while folder.exists() and time.monotonic() < until:
            try:
                folder.rmdir()
            except OSError:
                for file in folder.iterdir():
                    file.unlink(missing_ok=True)
        time.sleep(0.05)
        done = True
    assert done


def test_without_a_file_nothing_happens(tmp_path: Path) -> None:
    with metrics_file(None, facts()):
        assert threading.active_count() >= 1
    assert list(tmp_path.iterdir()) == []
