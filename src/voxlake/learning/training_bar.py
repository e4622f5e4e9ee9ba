"""How far a training is, on the progress bar: steps of all epochs of all folds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from voxlake.engine.progress import ProgressBar, progress_bar
from voxlake.learning.checkpoint import EpochRecord
from voxlake.learning.loop import StepRecord

__all__ = ["FoldBar", "TrainingBar", "training_bar"]

# A step may take a millisecond: more than a few lines a second nobody can read.
_SECONDS_BETWEEN_LINES = 0.25


class FoldBar:
    """Shows the training of one fold; `on_step` and `on_epoch` are for `voxlake.learning.loop.fit`.

    Parameters
    ----------
    bar : ProgressBar
        Counts the steps of all folds.
    start, steps : int
        Steps of the folds before, and in an epoch of this one.
    epochs : int
        Most epochs.
    title : str
        Which fold.
    say : callable
        What is said of an epoch that is done.
    """

    def __init__(
        self,
        bar: ProgressBar,
        *,
        start: int,
        steps: int,
        epochs: int,
        title: str,
        say: Callable[[EpochRecord], str],
    ) -> None:
        self._bar = bar
        self._start = start
        self._steps = steps
        self._epochs = epochs
        self._title = title
        self._say = say
        self._said = ""
        self._shown = -_SECONDS_BETWEEN_LINES

    def on_step(self, record: StepRecord) -> None:
        """Move on within an epoch, a few times a second."""
        now = time.monotonic()
        if now - self._shown < _SECONDS_BETWEEN_LINES:
            return
        self._shown = now
        done = record.epoch - 1 + record.step / record.steps
        loss = "" if record.train_loss is None else f", loss {record.train_loss:.3f}"
        self._reach(done, f"{self._title}, epoch {record.epoch}/{self._epochs}{loss}{self._said}")

    def on_epoch(self, record: EpochRecord) -> None:
        """Say how an epoch ended."""
        self._said = f", {self._say(record)}"
        self._reach(record.epoch, f"{self._title}, epoch {record.epoch}/{self._epochs}{self._said}")

    def end(self) -> None:
        """Count the epochs that were not needed, or were done before."""
        self._reach(self._epochs)

    def _reach(self, epochs: float, note: str = "") -> None:
        self._bar.reach(self._start + round(epochs * self._steps), note)


class TrainingBar:
    """Shows the training of all folds.

    Parameters
    ----------
    bar : ProgressBar
        Counts steps.
    epochs : int
        Most epochs of a fold.
    steps : sequence of int
        Of each fold the steps in an epoch.
    say : callable
        What is said of an epoch that is done.
    """

    def __init__(
        self, bar: ProgressBar, epochs: int, steps: Sequence[int], say: Callable[[EpochRecord], str]
    ) -> None:
        self._bar = bar
        self._epochs = epochs
        self._steps = tuple(steps)
        self._say = say

    @contextmanager
    def fold(self, number: int) -> Iterator[FoldBar]:
        """Show one fold, 0 for the first."""
        shown = FoldBar(
            self._bar,
            start=self._epochs * sum(self._steps[:number]),
            steps=self._steps[number],
            epochs=self._epochs,
            title=f"fold {number + 1}/{len(self._steps)}",
            say=self._say,
        )
        yield shown
        shown.end()


@contextmanager
def training_bar(
    epochs: int, steps: Sequence[int], say: Callable[[EpochRecord], str], *, enabled: bool | None
) -> Iterator[TrainingBar]:
    """Show a training on stderr; see `TrainingBar` and `voxlake.engine.progress.progress_bar`."""
    with progress_bar("train", epochs * sum(steps), enabled=enabled) as bar:
        yield TrainingBar(bar, epochs, steps, say)
