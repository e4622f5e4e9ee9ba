"""What every call into pydicom is wrapped in."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.errors import BytesLengthException, InvalidDicomError

__all__ = ["PYDICOM_ERRORS", "quiet"]

# What pydicom and the codecs raise on damaged input. Broad on purpose: pydicom converts values when they are
# touched, so any of these may come out of any access; but listed, so that a fault outside (no memory, a
# keyboard interrupt) is never taken for a bad file.
PYDICOM_ERRORS: tuple[type[Exception], ...] = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    LookupError,  # KeyError, IndexError, unknown character set
    ValueError,  # UnicodeError among them
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,  # OverflowError, decimal.InvalidOperation
    RuntimeError,  # NotImplementedError, RecursionError, errors of the codecs
    StopIteration,
    struct.error,
    zlib.error,
)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings and log records to itself: they quote values, which may be a patient's.

    Warning filters and log levels belong to the process, so two threads inside this context at once may see
    each other's; workers are processes with one thread.
    """
    logger = logging.getLogger("pydicom")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Above CRITICAL, because pydicom logs the exceptions of its decoders with the values in them.
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)
