"""One attempt at one item, and the words for what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from voxlake.core.errors import ItemError, VoxlakeError
from voxlake.engine.contract import Failure

__all__ = ["attempt", "describe"]

Given = TypeVar("Given")
Made = TypeVar("Made")


def attempt(function: Callable[[Given], Made], argument: Given) -> tuple[Made | None, Failure | None]:
    """Call the function and turn whatever it raises into a failure.

    Parameters
    ----------
    function : callable
        Anybody's function.
    argument : object
        Its one argument.

    Returns
    -------
    value : object or None
        What the function returned.
    failure : Failure or None
        What it raised. Only KeyboardInterrupt passes through.
    """
    try:
        return function(argument), None
    except KeyboardInterrupt:
        raise
    except MemoryError:
        return None, Failure("memory", "the item needed more memory than there is", "MemoryError")
    # SystemExit and the panics of Rust extensions are no subclasses of Exception, and still the item's.
    except BaseException as error:  # noqa: BLE001 - the function is anybody's and fails its item, not the run
        return None, describe(error)


def describe(error: BaseException) -> Failure:
    """Say what was raised without quoting it.

    The text of a foreign exception may hold patient data or a file name, so only its type and the place
    where it was raised are kept. Errors of voxlake are written to be safe and keep their message.

    Parameters
    ----------
    error : BaseException
        What was caught, with its traceback.

    Returns
    -------
    Failure
        With the reason of an `ItemError`, else ``"error"``.
    """
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, ItemError):
        return Failure(error.reason, error.message, name)
    if isinstance(error, VoxlakeError):
        return Failure("error", str(error), name)
    return Failure("error", f"{name} at {_place(error)}", name)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    if trace is None:
        return "an unknown place"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', 'unknown')}:{trace.tb_lineno}"
