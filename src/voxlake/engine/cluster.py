"""What the drivers of all clusters share: versions, and the books of replies."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from voxlake.core.errors import EngineError
from voxlake.engine.answers import read_answer
from voxlake.engine.child import Lost, Reply
from voxlake.engine.ledger import Ledger, Task

__all__ = ["Versions", "check_versions", "settle"]

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Versions:
    """What must be the same at both ends of a pickle."""

    python: str
    voxlake: str

    @classmethod
    def here(cls) -> Versions:
        """Those of this process; a bug fix of Python changes no pickle and is left out."""
        major, minor, _ = platform.python_version_tuple()
        return cls(f"{major}.{minor}", importlib.metadata.version("voxlake"))

    def __str__(self) -> str:
        return f"Python {self.python} and voxlake {self.voxlake}"


def check_versions(found: Mapping[str, Versions | BaseException]) -> None:
    """Refuse a cluster that does not run what this driver runs.

    Parameters
    ----------
    found : mapping of str to Versions or exception
        What each part of the cluster, by address, said of itself.

    Raises
    ------
    EngineError
        If one differs, or could not say.
    """
    here = Versions.here()
    wrong = []
    for place, versions in found.items():
        if isinstance(versions, ModuleNotFoundError):
            wrong.append(f"{place} lacks the module {versions.name}")
        elif isinstance(versions, BaseException):
            wrong.append(f"{place} could not load this version ({type(versions).__name__})")
        elif versions != here:
            wrong.append(f"{place} has {versions}")
    if wrong:
        more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise EngineError(
            f"the cluster does not run what this driver runs, {here}: {'; '.join(wrong[:_SHOWN])}{more}. "
            "Install the same version of voxlake on every machine of the cluster"
        )


def settle(ledger: Ledger, tasks: Sequence[Task], replies: Iterable[Reply]) -> None:
    """Enter the replies of a batch into the books.

    Parameters
    ----------
    ledger : Ledger
        Of the map.
    tasks : sequence of Task
        The batch, as the ledger gave it.
    replies : iterable of Reply
        One per item, in the same order.
    """
    for task, reply in zip(tasks, replies, strict=True):
        if isinstance(reply, Lost):
            ledger.charge(task, reply.failure, reply.seconds)
        else:
            seconds, failure, value = read_answer(reply)
            task.attempts += 1
            ledger.finish(task, value, failure, seconds)
