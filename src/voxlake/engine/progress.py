"""How far a run has come, for a person at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from voxlake.core.run import balance_words

__all__ = ["ProgressBar", "progress_bar"]

# Long enough for a window of slow items to come back more than once.
_RATE_SECONDS = 300.0


class ProgressBar:
    """Takes note of progress; shows nothing unless it is given something to show it with."""

    def __init__(self, show: Callable[[int, str], None] | None = None) -> None:
        self._show = show
        self.count = 0

    def advance(self, n: int = 1, note: str = "") -> None:
        """Note that so many more items are done.

        Parameters
        ----------
        n : int
            How many.
        note : str
            A few words at the end of the line; they stay until others come.
        """
        self.reach(self.count + n, note)

    def reach(self, count: int, note: str = "") -> None:
        """Note that so many items are done altogether, for callers who have a count of their own."""
        self.count = count
        if self._show is not None:
            self._show(count, note)


@contextmanager
def progress_bar(
    description: str,
    total: int | None = None,
    *,
    enabled: bool | None = None,
    counts: Mapping[str, int] | None = None,
) -> Iterator[ProgressBar]:
    """Show on stderr how many items are done, how many a second, and how long the rest will take.

    Parameters
    ----------
    description : str
        What is being done, in a word or two.
    total : int, optional
        How many items there are; without it no time left is shown.
    enabled : bool, optional
        Whether to show anything; if left out, only when stderr is a terminal. Nothing at all is written
        when it is not enabled.
    counts : mapping of str to int, optional
        The live counts of the run by outcome, to be shown as its balance.

    Yields
    ------
    ProgressBar
        Call its `advance` for each item.
    """
    if not (sys.stderr.isatty() if enabled is None else enabled):
        yield ProgressBar()
        return
    # rich takes a tenth of a second to import: only for those who look at it.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as TimeLeftColumn
    from rich.text import Text

    class RateColumn(TextColumn):
        """Items per second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:,.0f}/s" if speed and speed >= 10 else f"{speed:.2g}/s" if speed else "")

    class BalanceColumn(TextColumn):
        """What became of the items so far."""

        def render(self, _: Task) -> Text:
            return Text(balance_words(counts or {}))

    known = total is not None
    columns = [
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30) if known else SpinnerColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}" if known else "{task.completed:,.0f}"),
        RateColumn(""),
        TimeElapsedColumn(),
        *([TextColumn("left"), TimeLeftColumn()] if known else []),
        *([BalanceColumn("")] if counts is not None else []),
        TextColumn("{task.fields[note]}", markup=False),
    ]
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=_RATE_SECONDS) as progress:
        line = progress.add_task(description, total=total, note="")

        def show(count: int, note: str) -> None:
            progress.update(line, completed=count)
            if note:
                progress.update(line, note=note)

        yield ProgressBar(show)
