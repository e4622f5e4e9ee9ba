"""A table of subjects and variables: what every kind of mining takes; it knows no lake."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import digest_many
from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.hints import hint

__all__ = ["Column", "FeatureTable", "GroupedBy", "Left", "Level", "vector_of"]

Level = Literal["volume", "instance", "series", "study", "patient", "row"]
GroupedBy = Literal["patient", "study", "row"]


@dataclass(frozen=True, eq=False)
class Column:
    """One variable.

    Parameters
    ----------
    name : str
        Its name, unique in a table.
    kind : {"number", "category"}
        What it holds.
    values : numpy.ndarray
        (N,): float64 with NaN where it is missing, or object: str, None where it is missing.
    source : str
        Where it is from: ``features``, ``headers``, ``labels``, ``embeddings``, ``file``, ``sql``, ``given``.
    """

    name: str
    kind: Literal["number", "category"]
    values: NDArray[Any]
    source: str = "given"

    def __len__(self) -> int:
        return len(self.values)

    def take(self, positions: Sequence[int] | NDArray[np.int64]) -> Column:
        """The column of some rows, in that order."""
        return replace(self, values=self.values[np.asarray(positions, dtype=np.int64)])

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Bool (N,), where there is no value."""
        if self.kind == "number":
            return np.asarray(np.isnan(self.values))
        return np.array([value is None for value in self.values], dtype=np.bool_)

    def as_category(self) -> Column:
        """The column as categories; whole numbers are written without a point."""
        if self.kind == "category":
            return self
        texts = np.empty(len(self), dtype=object)
        texts[:] = [_written(float(value)) for value in self.values]
        return replace(self, kind="category", values=texts)

    def texts(self) -> list[str]:
        """Values as text, ``""`` where there is none; equal values give equal text."""
        if self.kind == "number":
            return ["" if math.isnan(value) else repr(value) for value in map(float, self.values.tolist())]
        return ["" if value is None else f"={value}" for value in self.values]


@dataclass(frozen=True)
class Left:
    """A subject that cannot be used, and why."""

    item: str
    reason: str
    detail: str


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Subjects and what is known of them.

    Parameters
    ----------
    level : str
        What a row is about; ``"row"`` for a table from outside whose rows are nothing in the lake.
    subjects : tuple of str
        (N,), unique: identifiers in the lake, or keys of rows.
    patients, studies : tuple of str or None
        (N,), pseudonyms and UIDs, where known.
    groups : tuple of str
        (N,), what a split never tears apart.
    grouped_by : {"patient", "study", "row"}
        What the groups are; ``"row"``: no patients are known, and each row is its own group.
    contents : tuple of tuple of str
        (N,), digests of what each row was made from.
    inputs : tuple of Column
        The variables.
    target : Column or None
        What is to be learned.
    asides : mapping of name to Column
        Columns that are carried along and are no inputs.
    left : tuple of Left
        What could not be used.
    sources : mapping
        Where the values are from, as plain values.

    Raises
    ------
    UsageError
        Lengths or names do not fit together, or a subject occurs twice.
    """

    level: Level
    subjects: tuple[str, ...]
    patients: tuple[str | None, ...]
    studies: tuple[str | None, ...]
    groups: tuple[str, ...]
    grouped_by: GroupedBy
    contents: tuple[tuple[str, ...], ...]
    inputs: tuple[Column, ...]
    target: Column | None = None
    asides: Mapping[str, Column] = field(default_factory=lambda: MappingProxyType({}))
    left: tuple[Left, ...] = ()
    sources: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        rows = len(self.subjects)
        if len(set(self.subjects)) != rows:
            raise UsageError(f"{rows - len(set(self.subjects))} subjects of the table occur more than once")
        for what in ("patients", "studies", "groups", "contents"):
            if len(getattr(self, what)) != rows:
                raise UsageError(f"{len(getattr(self, what))} {what} for {rows} rows of the table")
        for column in self._columns():
            if column.values.shape != (rows,):
                raise UsageError(
                    f"column '{column.name}' has shape {column.values.shape}, the table {rows} rows"
                )
        if len(set(self.names)) != len(self.names):
            raise UsageError("two columns of the table have one name")

    def __len__(self) -> int:
        return len(self.subjects)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(column.name for column in self.inputs)

    def column(self, name: str) -> Column:
        """An input, the target or a column that is carried along.

        Raises
        ------
        NotFoundError
            There is none of that name; a near miss is named.
        """
        known = {column.name: column for column in self._columns()}
        if name not in known:
            raise NotFoundError(f"the table has no column '{name}'{hint(name, known)}")
        return known[name]

    def numbers(self) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """Numeric inputs as float64 (N, P), NaN where missing, and their names."""
        found = [column for column in self.inputs if column.kind == "number"]
        values = np.empty((len(self), len(found)))
        for place, column in enumerate(found):
            values[:, place] = column.values
        return values, tuple(column.name for column in found)

    def take(self, positions: Sequence[int] | NDArray[np.int64]) -> FeatureTable:
        """Some rows, in that order."""
        where = np.asarray(positions, dtype=np.int64)
        return replace(
            self,
            subjects=tuple(self.subjects[place] for place in where),
            patients=tuple(self.patients[place] for place in where),
            studies=tuple(self.studies[place] for place in where),
            groups=tuple(self.groups[place] for place in where),
            contents=tuple(self.contents[place] for place in where),
            inputs=tuple(column.take(where) for column in self.inputs),
            target=None if self.target is None else self.target.take(where),
            asides={name: column.take(where) for name, column in self.asides.items()},
        )

    def with_inputs(self, inputs: Sequence[Column]) -> FeatureTable:
        """The same rows with other variables."""
        return replace(self, inputs=tuple(inputs))

    def with_target(self, target: Column | None) -> FeatureTable:
        """The same rows with another target."""
        return replace(self, target=target)

    def digest(self) -> str:
        """SHA-256 over subjects, groups and all values."""
        parts = [self.level, self.grouped_by, *self.subjects, *self.groups]
        for column in self._columns():
            parts += [column.name, column.kind, *column.texts()]
        return digest_many(parts)

    def _columns(self) -> list[Column]:
        target = [] if self.target is None else [self.target]
        return [*self.inputs, *target, *self.asides.values()]


def vector_of(name: str, source: str) -> str | None:
    """Name of the vector that a column is a coordinate of, ``vector.0``; None for one that stands alone."""
    return name.rpartition(".")[0] if source == "embeddings" else None


def _written(value: float) -> str | None:
    if np.isnan(value):
        return None
    return str(int(value)) if value.is_integer() else repr(value)
