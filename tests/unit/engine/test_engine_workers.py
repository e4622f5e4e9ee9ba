"""The number of workers beside the name of an engine."""

from __future__ import annotations

import pytest

from voxlake.core.errors import UsageError
from voxlake.engine.contract import Engine
from voxlake.engine.open import using_engine
from voxlake.engine.processes import ProcessesEngine
from voxlake.engine.serial import SerialEngine
from voxlake.engine.workers import engine_with_workers


@pytest.mark.parametrize(
    ("engine", "workers", "expected"),
    [
        (None, None, None),
        ("processes:3", None, "processes:3"),
        (None, 3, "processes:3"),
        ("processes", 3, "processes:3"),
        ("processes:3", 3, "processes:3"),
        ("serial", 1, "serial"),
    ],
)
def test_what_is_opened(engine: str | None, workers: int | None, expected: str | None) -> None:
    assert engine_with_workers(engine, workers) == expected


@pytest.mark.parametrize(
    ("engine", "workers", "words"),
    [
        ("processes:3", 2, "'processes:3' has a number of its own"),
        ("serial", 2, "'serial' has a number of its own"),
        ("tcp://scheduler:8786", 2, "leave one of the two out"),
        (SerialEngine(), 2, "'serial' has a number of its own"),
        (ProcessesEngine(3), 2, "'processes:3' has a number"),
        (None, 0, "at least 1 worker, got 0"),
        ("serial", -1, "at least 1 worker"),
    ],
)
def test_contradictions_are_refused(engine: str | Engine | None, workers: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        engine_with_workers(engine, workers)


def test_an_engine_with_that_number_is_used_and_left_open() -> None:
    with SerialEngine() as engine:
        with using_engine(engine, 1) as used:
            assert used is engine
        assert len(list(engine.map(abs, [1]))) == 1
    with using_engine(None, 3) as opened:
        assert (opened.url, opened.workers) == ("processes:3", 3)
