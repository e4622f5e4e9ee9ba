"""The one tree of errors.

::

    VoxlakeError
    ├── SettingsError            a plan, task, policy or mapping that cannot be read as one
    ├── UsageError               a call that names something that is not there, or contradicts itself
    │   ├── NotFoundError
    │   └── AlreadyExistsError
    ├── GeometryError            a grid operation that has no honest answer
    │   └── FlatGridError        millimetres asked of an image that has none
    ├── ItemError                one item is bad; carries a reason code, the batch goes on
    ├── LakeError                the lake itself
    │   ├── KeyMismatchError
    │   ├── IntegrityError
    │   └── QueryError
    ├── LeakageError             the same patient or image on both sides of a split
    ├── BalanceError             a run that lost count of its items
    └── EngineError              the engine itself could not go on

Messages say what was got, what was expected and what to do. They carry identifiers of the lake
(digests, pseudonyms) only, never patient data or source names.
"""

from __future__ import annotations

__all__ = [
    "AlreadyExistsError",
    "BalanceError",
    "EngineError",
    "FlatGridError",
    "GeometryError",
    "IntegrityError",
    "ItemError",
    "KeyMismatchError",
    "LakeError",
    "LeakageError",
    "NotFoundError",
    "QueryError",
    "SettingsError",
    "UsageError",
    "VoxlakeError",
]


class VoxlakeError(Exception):
    """Root of every error that voxlake raises on purpose."""


class SettingsError(VoxlakeError):
    """Settings that cannot be read: an unknown key, a wrong type, a value out of range."""


class UsageError(VoxlakeError):
    """A call that cannot be carried out as it was made."""


class NotFoundError(UsageError):
    """A cohort, model, run, table or file that is not there."""


class AlreadyExistsError(UsageError):
    """A name that is taken."""


class GeometryError(VoxlakeError):
    """A grid operation without an honest answer."""


class FlatGridError(GeometryError):
    """Millimetres asked of an image that has no spacing."""


class ItemError(VoxlakeError):
    """One item is bad. The run records it and goes on.

    Parameters
    ----------
    reason : str
        Reason code, one of `voxlake.core.reasons.REASONS`.
    message : str
        What was got and what was expected; no patient data, no source names.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[type[ItemError], tuple[str, str]]:
        return (type(self), (self.reason, self.message))


class LakeError(VoxlakeError):
    """The lake cannot be opened, read or written."""


class KeyMismatchError(LakeError):
    """The key at hand is not the key of this lake."""


class IntegrityError(LakeError):
    """Stored bytes or rows are not what the catalogue says."""


class QueryError(LakeError):
    """An SQL statement that failed or is not allowed."""


class LeakageError(VoxlakeError):
    """The same patient or the same image stands on both sides of a split."""


class BalanceError(VoxlakeError):
    """The counts of a run do not add up."""


class EngineError(VoxlakeError):
    """The engine could not go on."""
