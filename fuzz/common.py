"""What all fuzz targets share: the set-up of atheris, and which errors are answers."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable

import atheris

# Address space beyond what the imports take; libFuzzer's own limit is on resident memory.
_MEMORY = 3 * 2**30


class FoundError(Exception):
    """The code under test gave an answer that it must not give."""


def expect(condition: bool, what: str) -> None:
    """Raise `FoundError` unless the condition holds; an assertion could be optimised away."""
    if not condition:
        raise FoundError(what)


def fuzz(target: Callable[[bytes], None]) -> None:
    """Run one target under atheris with the arguments of the command line.

    Parameters
    ----------
    target : callable
        Takes bytes. What it raises is a finding.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, resource.RLIM_INFINITY))
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
