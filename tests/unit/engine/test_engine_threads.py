"""Workers take their share of the cores, whatever library they use."""

from __future__ import annotations

import os
from operator import call

import cv2
import pytest
import SimpleITK as sitk
import torch

from voxlake.engine.contract import Engine
from voxlake.engine.open import open_engine
from voxlake.engine.processes import ProcessesEngine
from voxlake.engine.threads import (
    THREAD_VARIABLES,
    allowed_threads,
    share_of,
    thread_limits,
    threads_limited,
    usable_cores,
)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def seen_by(engine: Engine) -> list[str | None]:
    return [outcome.value for outcome in engine.map(os.getenv, THREAD_VARIABLES)]


@pytest.mark.parametrize(
    ("cores", "workers", "share"), [(8, 2, 4), (8, 3, 2), (2, 2, 1), (2, 5, 1), (1, 1, 1)]
)
def test_a_share_is_never_nothing(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, share: int
) -> None:
    monkeypatch.setattr("voxlake.engine.threads.usable_cores", lambda: cores)
    assert share_of(workers) == share


def test_each_pool_has_its_own_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxlake.engine.threads.usable_cores", lambda: 6)
    for workers, share in ((3, 2), (1, 6)):
        with ProcessesEngine(workers) as engine:
            assert seen_by(engine) == [str(share)] * len(THREAD_VARIABLES)
    assert not set(THREAD_VARIABLES) & set(os.environ)


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert allowed_threads() == 3
    with open_engine("processes:2") as engine:
        assert seen_by(engine) == ["3"] + [str(share_of(2))] * (len(THREAD_VARIABLES) - 1)


def test_workers_have_the_environment_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    # The fork server was started long ago, and credentials of a bucket may have been set or taken away since.
    monkeypatch.setenv("VOXLAKE_TEST_OLD", "there")
    with open_engine("processes:1") as engine:
        assert [outcome.value for outcome in engine.map(os.getenv, ["VOXLAKE_TEST_OLD"])] == ["there"]
    monkeypatch.delenv("VOXLAKE_TEST_OLD")
    monkeypatch.setenv("VOXLAKE_TEST_NEW", "now")
    with open_engine("processes:1") as engine:
        seen = engine.map(os.getenv, ["VOXLAKE_TEST_OLD", "VOXLAKE_TEST_NEW"])
        assert [outcome.value for outcome in seen] == [None, "now"]


@pytest.mark.slow
def test_libraries_heed_it() -> None:
    asked = [cv2.getNumThreads, torch.get_num_threads, sitk.ProcessObject.GetGlobalDefaultNumberOfThreads]
    with ProcessesEngine(usable_cores()) as engine:
        assert [outcome.value for outcome in engine.map(call, asked)] == [1, 1, 1]


def test_alone_a_process_has_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert allowed_threads() == usable_cores() >= 1
    for nonsense in ("", "0", "-1", "many", "2,1"):
        monkeypatch.setenv("OMP_NUM_THREADS", nonsense)
        assert allowed_threads() == usable_cores()


def test_limits_end_with_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKL_NUM_THREADS", "5")
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert thread_limits(2, os.environ)["MKL_NUM_THREADS"] == "5"
    with threads_limited(2):
        assert [os.environ[name] for name in THREAD_VARIABLES] == [
            "2",
            "2",
            "5",
            *["2"] * (len(THREAD_VARIABLES) - 3),
        ]
    assert os.environ["OMP_NUM_THREADS"] == ""
    assert os.environ["MKL_NUM_THREADS"] == "5"
    assert not (set(THREAD_VARIABLES) - {"MKL_NUM_THREADS", "OMP_NUM_THREADS"}) & set(os.environ)
