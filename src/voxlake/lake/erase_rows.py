"""Which rows of a table go with a patient, and what is written over in those that stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from voxlake.lake.erase_names import PATIENT, Names, equals_any, is_text, owned_by
from voxlake.store.schema import HEADER_COLUMNS

__all__ = ["Moves", "Removal"]

# A row of these tables goes even if it only names the patient in a sentence.
_ABOUT = frozenset({"findings", "quarantine"})
# Columns that hold a patient identifier, so that even one like "1" can be nothing else.
_OF_PATIENTS = frozenset({PATIENT, "subject", "group", "item"})
# What comes from stored bytes must stay equal to them.
_NEVER_SENTENCES = frozenset({"tags", *(column.name for column in HEADER_COLUMNS)})
# A difference from a model that is gone is a figure of that model too.
_OF_MODELS = frozenset({"model_id", "against"})
_SINGLE = ("_uid", "_digest", "_mac", "_id", "sha256")

Place = tuple[str, int]


@dataclass(frozen=True)
class Moves:
    """Where what shared an object with the patient lies now.

    Parameters
    ----------
    packs : mapping of (pack, offset) to (pack, offset)
        Members of packs.
    stacks : mapping of (array, position) to (array, position, shards)
        Images of stacked arrays.
    """

    packs: Mapping[Place, Place] = field(default_factory=dict)
    stacks: Mapping[Place, tuple[str, int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Removal:
    """Function of rows of one table, for `rewrite_table`.

    Works on any table by what its columns hold, so that a new table needs no entry here.

    Parameters
    ----------
    table : str
        Name of the table.
    names : Names
        By what the patient is known.
    moves : Moves
        What is to be re-pointed in rows that stay.
    models : frozenset of str
        Models that go whole: rows of theirs go, whomever they are about.
    """

    table: str
    names: Names
    moves: Moves = field(default_factory=Moves)
    models: frozenset[str] = frozenset()

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Rows that stay; the very same object where nothing changes."""
        gone = self.mask(rows)
        left = rows.filter(pa.array(~gone)) if gone.any() else rows
        return self._moved(self._redacted(left))

    def mask(self, rows: pa.Table) -> NDArray[np.bool_]:
        """Which rows go, bool (rows,)."""
        mine = owned_by(rows, self.names.patient)
        others = np.zeros(len(rows), dtype=bool)
        if PATIENT in rows.column_names:
            others = np.asarray(pc.is_valid(rows[PATIENT])) & ~mine
        named = np.zeros(len(rows), dtype=bool)
        made_from = np.zeros(len(rows), dtype=bool)
        for column in rows.schema:
            if column.name in _NEVER_SENTENCES or not is_text(column.type):
                continue
            values = rows[column.name]
            named |= equals_any(values, self.names.token_values)
            if self.names.certain or column.name in _OF_PATIENTS:
                named |= equals_any(values, [self.names.patient])
            made_from |= equals_any(values, self.names.content_values)
            if self.table in _ABOUT and self._holds_sentences(column):
                named |= equals_any(values, self._changes(values))
        return mine | made_from | (named & ~others) | self._of_models(rows)

    def _of_models(self, rows: pa.Table) -> NDArray[np.bool_]:
        found = np.zeros(len(rows), dtype=bool)
        for column in _OF_MODELS & set(rows.column_names) if self.models else ():
            found |= equals_any(rows[column], self.models)
        return found

    def _redacted(self, rows: pa.Table) -> pa.Table:
        for place, column in enumerate(rows.schema):
            if not self._holds_sentences(column):
                continue
            changes = self._changes(rows[column.name])
            if changes:
                values = [changes.get(value, value) for value in rows[column.name].to_pylist()]
                rows = rows.set_column(place, column, pa.array(values, column.type))
        return rows

    def _holds_sentences(self, column: pa.Field) -> bool:
        plain = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        # Comparing is enough for the identifiers of the largest table, and takes a fraction of the time.
        single = self.table == "instances" and column.name.endswith(_SINGLE)
        return plain and not single and column.name not in _NEVER_SENTENCES

    def _changes(self, values: pa.ChunkedArray) -> dict[str, str]:
        texts = [text for text in values.unique().to_pylist() if text is not None]
        redacted = {text: self.names.redacted(text) for text in texts}
        return {text: other for text, other in redacted.items() if text != other}

    def _moved(self, rows: pa.Table) -> pa.Table:
        there = set(rows.column_names)
        if self.moves.packs and {"pack", "offset"} <= there:
            rows = _put(rows, ("pack", "offset"), self.moves.packs)
        if self.moves.stacks and {"array", "position", "shards"} <= there:
            rows = _put(rows, ("array", "position", "shards"), self.moves.stacks)
        return rows


def _put(rows: pa.Table, columns: tuple[str, ...], moves: Mapping[Place, tuple[str | int, ...]]) -> pa.Table:
    concerned = equals_any(rows[columns[0]], {first for first, _ in moves})
    if not concerned.any():
        return rows
    keys = list(zip(rows[columns[0]].to_pylist(), rows[columns[1]].to_pylist(), strict=True))
    for number, name in enumerate(columns):
        place = rows.schema.get_field_index(name)
        old = rows[name].to_pylist()
        new = [moves[key][number] if key in moves else value for key, value in zip(keys, old, strict=True)]
        rows = rows.set_column(place, rows.schema.field(place), pa.array(new, rows.schema.field(place).type))
    return rows
