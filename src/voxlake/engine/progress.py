"""How far a run has come, for a person at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["ProgressBar", "progress_bar"]


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
        self.count += n
        if self._show is not None:
            self._show(n, note)


@contextmanager
def progress_bar(
    description: str, total: int | None = None, *, enabled: bool | None = None
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

    known = total is not None
    columns = [
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30) if known else SpinnerColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}" if known else "{task.completed:,.0f}"),
        RateColumn(""),
        TimeElapsedColumn(),
        *([TextColumn("left"), TimeLeftColumn()] if known else []),
        TextColumn("{task.fields[note]}", markup=False),
    ]
    with Progress(*columns, console=Console(stderr=True)) as progress:
        line = progress.add_task(description, total=total, note="")

        def show(n: int, note: str) -> None:
            progress.advance(line, n)
            if note:
                progress.update(line, note=note)

        yield ProgressBar(show)
