"""Asking a remote store again when it is busy or the connection is cut, and giving up in time."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from obstore.exceptions import GenericError

from voxlake.core.errors import LakeError

__all__ = ["ATTEMPTS", "CLIENT", "RETRY", "passing", "pause", "persist"]

ATTEMPTS = 8
"""How often a request that fails for a passing reason is made, by us."""

RETRY: Any = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
}
"""How often the library repeats a request by itself: only what can be repeated without harm."""

CLIENT: Any = {"timeout": timedelta(seconds=120), "connect_timeout": timedelta(seconds=10)}
"""Limits of one request."""

_SECONDS = 120.0
_LONGEST_PAUSE = 4.0
_STATUS = re.compile(r"(?:status code: |returned non-2xx status code: )(\d{3})")
# Time-outs, conflicts of conditional writes, throttling; and whatever the server says of itself.
_PASSING = frozenset({408, 409, 425, 429})
_SERVER = 500

Value = TypeVar("Value")


def persist(action: Callable[[], Value], verb: str, path: str) -> Value:
    """Do something with a remote store, again and again while it fails for a passing reason.

    Parameters
    ----------
    action : callable
        May be called several times; also after a call of which nobody knows whether it took effect.
    verb, path : str
        For the message.

    Raises
    ------
    LakeError
        The reason does not pass, or all attempts are used up.
    """
    began = time.monotonic()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except (GenericError, ConnectionError, TimeoutError) as error:
            spent = time.monotonic() - began
            if attempt == ATTEMPTS or spent > _SECONDS or not passing(error):
                raise LakeError(
                    f"cannot {verb} object '{path}' after {attempt} attempts in {spent:.0f} s: "
                    f"{_cause(error)}"
                ) from error
        pause(attempt)
    raise LakeError(f"cannot {verb} object '{path}'")


def passing(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    status = _STATUS.search(str(error))
    return status is None or int(status[1]) >= _SERVER or int(status[1]) in _PASSING


def pause(attempt: int) -> None:
    """Wait before the next attempt; not all clients that were turned away come back at the same time."""
    time.sleep(random.SystemRandom().uniform(0.2, 1) * min(_LONGEST_PAUSE, 0.1 * 2**attempt))


def _cause(error: Exception) -> str:
    # Before the dash stands the whole URL, behind the first line the library's debug output.
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return line.rpartition(" - ")[2]
