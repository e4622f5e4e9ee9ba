"""Items that misbehave, to see that they cost nobody but themselves."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from typing import Literal

from voxlake.core.errors import ItemError
from voxlake.sources.item import NO_HINTS, Hints

__all__ = ["Misbehaving"]


@dataclass(frozen=True)
class Misbehaving:
    """An item that hangs or kills its worker when it is read; in the driver it can be read.

    Parameters
    ----------
    name : str
        Name of the item.
    conduct : {"hang", "die", "raise"}
        What it does to a worker.
    """

    name: str
    conduct: Literal["hang", "die", "raise"]
    size: int | None = 10
    hints: Hints = NO_HINTS
    ignored: str | None = None

    def read(self, limit: int) -> bytes:
        """Misbehave in a worker; give ten bytes elsewhere."""
        if multiprocessing.parent_process() is not None:
            if self.conduct == "hang":
                time.sleep(3600)
            if self.conduct == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.conduct == "raise":
                raise RuntimeError("this text must not be repeated anywhere")
        if limit < 10:
            raise ItemError("too_large", f"10 bytes, the limit is {limit}")
        return b"misbehaved"
