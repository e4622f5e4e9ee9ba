"""Groups come back whole, in order and in bounded number, whatever becomes of one of them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

from voxlake.engine.contract import Failure, Outcome
from voxlake.engine.open import open_engine
from voxlake.lake.grouped import Lost, map_groups, stream_groups

LIMITS: dict[str, Any] = {"timeout": 60.0, "memory": None}


def doubled(group: Sequence[int]) -> list[int]:
    if 13 in group:
        raise ValueError("an unlucky group")
    return [2 * item for item in group]


class Backwards:
    """An engine that is done with each three items in the reverse of their order."""

    url = "backwards"
    workers = 3

    def __init__(self) -> None:
        self.pulled = 0
        self.maps = 0

    def map(self, function: Any, items: Iterable[Any], **_: Any) -> Generator[Outcome[Any, Any]]:
        self.maps += 1
        waiting: list[tuple[int, Any]] = []
        for index, item in enumerate(items):
            self.pulled += 1
            waiting.append((index, item))
            if len(waiting) == self.workers:
                yield from self._done(function, waiting)
                waiting = []
        yield from self._done(function, waiting)

    def _done(self, function: Any, waiting: list[tuple[int, Any]]) -> Iterator[Outcome[Any, Any]]:
        for index, item in reversed(waiting):
            try:
                yield Outcome(index, item, function(item), None, 1, 0.0)
            except ValueError:
                yield Outcome(index, item, None, Failure("error", "no value"), 1, 0.0)


def groups(count: int) -> Iterator[tuple[int, ...]]:
    return iter([(2 * number, 2 * number + 1) for number in range(count)])


def test_results_come_in_the_order_of_the_groups() -> None:
    found = list(stream_groups(Backwards(), doubled, groups(5), window=10, **LIMITS))
    assert found == [((2 * n, 2 * n + 1), [4 * n, 4 * n + 2]) for n in range(5)]


def test_a_broken_group_loses_only_the_item_that_broke_it() -> None:
    found = list(stream_groups(Backwards(), doubled, groups(20), window=6, **LIMITS))
    assert [group for group, _ in found] == list(groups(20))
    lost = [
        (group, place)
        for group, results in found
        for place, one in enumerate(results)
        if isinstance(one, Lost)
    ]
    assert lost == [((12, 13), 1)]
    assert found[6][1][0] == 24


def test_no_more_groups_are_pulled_than_fit_the_window_while_one_is_broken() -> None:
    engine = Backwards()
    stream = stream_groups(engine, doubled, groups(100), window=8, **LIMITS)
    for _ in range(6):
        next(stream)
    # Group 6 is broken: it and those behind it wait, then its items are tried alone.
    assert next(stream)[0] == (12, 13)
    assert engine.pulled <= 6 + 8 + 2
    assert engine.maps == 2
    assert len(list(stream)) == 93


def test_groups_are_pulled_as_they_are_consumed() -> None:
    engine = Backwards()
    stream = stream_groups(engine, doubled, ((n,) for n in range(20, 10_000)), window=8, **LIMITS)
    for _ in range(30):
        next(stream)
    assert engine.pulled <= 33
    stream.close()


def test_all_groups_through_an_engine_of_its_own() -> None:
    with open_engine("serial") as engine:
        found = map_groups(engine, doubled, [(1, 2), (), (13, 3)], **LIMITS)
    assert found[:2] == [[2, 4], []]
    assert isinstance(found[2][0], Lost)
    assert found[2][1] == 6
