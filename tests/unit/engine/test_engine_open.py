"""From a URL to an engine."""

from __future__ import annotations

import os
import sys

import pytest

from voxlake.core.errors import EngineError, SettingsError
from voxlake.engine.open import open_engine, using_engine
from voxlake.engine.processes import ProcessesEngine
from voxlake.engine.serial import SerialEngine


@pytest.mark.parametrize(
    ("url", "kind", "workers"),
    [
        ("serial", SerialEngine, 1),
        ("processes:3", ProcessesEngine, 3),
        ("processes", ProcessesEngine, len(os.sched_getaffinity(0))),
        (None, ProcessesEngine, len(os.sched_getaffinity(0))),
    ],
)
def test_known_urls(url: str | None, kind: type, workers: int) -> None:
    with open_engine(url) as engine:
        assert isinstance(engine, kind)
        assert engine.workers == workers


def test_the_url_of_an_engine_opens_one_like_it() -> None:
    with open_engine() as first, open_engine(first.url) as second:
        assert (first.url, first.workers) == (second.url, second.workers)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("proceses", "did you mean 'processes'"),
        ("process:4", "did you mean 'processes"),
        ("Serial", "did you mean 'serial'"),
        ("", "known: .*processes, processes:N, .*serial"),
        ("processes:0", "from 1"),
        ("processes:-1", "from 1"),
        ("processes:two", "from 1"),
        ("processes:", "from 1"),
        ("ray://host", "expected ray://host:10001"),
        ("ray://host:10001?workers=0", "expected ray://host:10001"),
        ("ray://user@host:10001", "expected ray://host:10001"),
    ],
)
def test_other_urls_are_explained(url: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        open_engine(url)


@pytest.mark.parametrize("url", ["ray://local", "ray://127.0.0.1:9"])
def test_without_ray_it_says_what_to_install(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"pip install 'voxlake\[ray\]'"):
        open_engine(url)


def test_an_engine_is_returned_as_it_is() -> None:
    with SerialEngine() as engine:
        assert open_engine(engine) is engine


def test_using_closes_only_what_it_opened() -> None:
    with using_engine("serial") as opened:
        assert len(list(opened.map(abs, [1]))) == 1
    with pytest.raises(EngineError, match="closed"):
        opened.map(abs, [1])
    with SerialEngine() as given:
        with using_engine(given) as used:
            assert used is given
        assert len(list(given.map(abs, [1]))) == 1
