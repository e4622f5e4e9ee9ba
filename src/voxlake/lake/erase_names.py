"""By what a patient is known in a lake: everything that `erase` has to find again."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from voxlake.lake.lake import Lake
from voxlake.store.rewrite import raw_rows
from voxlake.store.schema import TABLES

__all__ = ["PATIENT", "Names", "equals_any", "gather_names", "is_text", "owned_by", "sole_key"]

PATIENT = "patient_id"
_STUDY = "study_instance_uid"
_UID = "_instance_uid"
# Of `instances`: what other tables name an object by. The first are digests of stored bytes.
_CONTENTS = ("sha256", "original_sha256", "sop_instance_uid")
_OF_INSTANCES = (*_CONTENTS, "source_mac", "deidentification")
_KEYED = re.compile(r"P-[A-Z2-7]{13}")
_TOKEN = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*")
_LONG = 6


@dataclass(frozen=True)
class Names:
    """By what a patient is known.

    Parameters
    ----------
    patient : str
        Pseudonym, or the original under policy ``none``.
    tokens : frozenset of str
        UIDs, identifiers of volumes, keyed digests and shapes that belong to this patient alone.
    contents : frozenset of str
        Of these, SOP instance UIDs and digests of stored bytes: whatever was made from such an object goes,
        whoever owns it otherwise.
    shared : int
        Identifiers that other patients have too, for example one StudyInstanceUID for two; they stay.
    stand_in : str
        What is written in their place where a row has to stay.
    """

    patient: str
    tokens: frozenset[str]
    contents: frozenset[str]
    shared: int
    stand_in: str

    @property
    def certain(self) -> bool:
        """Whether the pseudonym can be nothing else, wherever it stands."""
        return _KEYED.fullmatch(self.patient) is not None

    def redacted(self, text: str) -> str:
        """The text with the stand-in in the place of every name of the patient."""

        def put(match: re.Match[str]) -> str:
            bare = match[0].rstrip("._-")
            return self.stand_in + match[0][len(bare) :] if bare in self.tokens else match[0]

        return self._patient_pattern.sub(self.stand_in, _TOKEN.sub(put, text))

    def mentions(self, text: str) -> bool:
        """Whether a text holds any name of the patient."""
        return self._patient_pattern.search(text) is not None or self._holds_token(text)

    def surely_in(self, text: str) -> bool:
        """Whether a text of any kind holds a name that can mean nothing else.

        Unlike `mentions` it passes over an original such as ``"1"``, which may be a class in quotes.
        """
        if self._spelled_apart:
            return self.mentions(text)
        return self._holds_token(text)

    @cached_property
    def token_values(self) -> pa.Array:
        """`tokens` for `equals_any`."""
        return pa.array(sorted(self.tokens), pa.string())

    @cached_property
    def content_values(self) -> pa.Array:
        """`contents` for `equals_any`."""
        return pa.array(sorted(self.contents), pa.string())

    @property
    def _spelled_apart(self) -> bool:
        return self.certain or len(self.patient) >= _LONG

    def _holds_token(self, text: str) -> bool:
        return any(match[0].rstrip("._-") in self.tokens for match in _TOKEN.finditer(text))

    @cached_property
    def _patient_pattern(self) -> re.Pattern[str]:
        # An original such as "1" is a number elsewhere: where it stands for a patient it is quoted, or
        # stands behind the word.
        spelled = "|".join(
            re.escape(one) for one in {self.patient, json.dumps(self.patient)[1:-1]} if one.strip()
        )
        apart = rf"(?<![0-9A-Za-z])(?:{spelled})(?![0-9A-Za-z])"
        if self._spelled_apart:
            return re.compile(apart)
        quotes = "['\"]"
        return re.compile(
            rf"(?<={quotes})(?:{spelled})(?={quotes})|(?<=patient )(?:{spelled})(?![0-9A-Za-z])"
        )


def gather_names(lake: Lake, patient: str, stand_in: str) -> Names:
    """Collect the names of a patient from every table that says whose a row is.

    Objects without a PatientID belong to the patient if all others of their study do.
    """
    studies = _own_studies(lake, patient)
    own: defaultdict[str, set[str]] = defaultdict(set)
    for rows, mine in _owned_rows(lake, patient, studies):
        kept = rows.filter(pa.array(mine))
        for column in kept.column_names:
            own[_kind(column)].update(_values(kept, column))
    found = set().union(*own.values())
    others: set[str] = set()
    looked_for = pa.array(sorted(found), pa.string())
    for rows, mine in _owned_rows(lake, patient, studies):
        left = rows.filter(pa.array(~mine))
        for column in left.column_names:
            others.update(_values(left.filter(pa.array(equals_any(left[column], looked_for))), column))
    names = Names(
        patient,
        tokens=frozenset(found - others),
        contents=frozenset(own["content"] - others),
        shared=len(found & others),
        stand_in=stand_in,
    )
    return replace(names, tokens=names.tokens | _made_from(lake, names))


def owned_by(rows: pa.Table, patient: str, studies: Iterable[str] = ()) -> NDArray[np.bool_]:
    """Which rows are the patient's by their column `patient_id`; those without one by their study."""
    if PATIENT not in rows.column_names:
        return np.zeros(len(rows), dtype=bool)
    mine = equals_any(rows[PATIENT], [patient])
    if _STUDY in rows.column_names:
        unnamed = np.asarray(pc.is_null(rows[PATIENT]))
        mine |= unnamed & equals_any(rows[_STUDY], studies)
    return mine


def equals_any(column: pa.ChunkedArray, values: Iterable[str] | pa.Array) -> NDArray[np.bool_]:
    """Which cells of a column of text, or of lists of text, hold one of the values."""
    wanted = values if isinstance(values, pa.Array) else pa.array(sorted(values), pa.string())
    whole = column.combine_chunks()
    if not (pa.types.is_list(whole.type) or pa.types.is_large_list(whole.type)):
        return np.asarray(pc.is_in(whole.cast(pa.string()), value_set=wanted))
    inside = np.asarray(pc.is_in(pc.list_flatten(whole).cast(pa.string()), value_set=wanted))
    found = np.zeros(len(whole), dtype=bool)
    found[np.asarray(pc.list_parent_indices(whole))[inside]] = True
    return found


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, or lists of text."""
    inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner))


def sole_key(name: str) -> str | None:
    """The column that names the rows of a table about patients; None where it takes several."""
    table = TABLES[name]
    columns = {column.name for column in table.columns}
    return table.key[0] if len(table.key) == 1 and PATIENT in columns else None


def _own_studies(lake: Lake, patient: str) -> set[str]:
    own: set[str] = set()
    others: set[str] = set()
    for name in _owned_tables(_STUDY):
        for rows in raw_rows(lake.tables, name, [PATIENT, _STUDY]):
            mine = owned_by(rows, patient)
            named = np.asarray(pc.is_valid(rows[PATIENT]))
            own.update(_values(rows.filter(pa.array(mine)), _STUDY))
            others.update(_values(rows.filter(pa.array(named & ~mine)), _STUDY))
    return own - others


def _owned_tables(*columns: str) -> list[str]:
    wanted = {PATIENT, *columns}
    return [name for name, table in TABLES.items() if wanted <= {column.name for column in table.columns}]


def _owned_rows(lake: Lake, patient: str, studies: set[str]) -> Iterator[tuple[pa.Table, NDArray[np.bool_]]]:
    """Names in the rows of every table with a patient, and which of the rows are the patient's."""
    for name in _owned_tables():
        if name == "withdrawals":
            continue
        columns = [column.name for column in TABLES[name].columns if _names_something(name, column.name)]
        for rows in raw_rows(lake.tables, name, [PATIENT, *columns]):
            mine = owned_by(rows, patient, studies)
            yield rows.drop_columns([PATIENT]), mine


def _names_something(table: str, column: str) -> bool:
    of_instances = table == "instances" and column in _OF_INSTANCES
    return column.endswith(_UID) or column == sole_key(table) or of_instances


def _kind(column: str) -> str:
    return "content" if column in _CONTENTS else "name"


def _values(rows: pa.Table, column: str) -> set[str]:
    return {value for value in rows[column].unique().to_pylist() if value is not None}


def _made_from(lake: Lake, names: Names) -> frozenset[str]:
    """Identifiers of what was made from the patient's objects together with another patient's."""
    found: set[str] = set()
    for name in _owned_tables():
        key = sole_key(name)
        if key is None:
            continue
        lists = [column.name for column in TABLES[name].columns if pa.types.is_list(column.type)]
        for rows in raw_rows(lake.tables, name, [key, *lists]):
            for column in set(lists) & set(rows.column_names):
                if is_text(rows.schema.field(column).type):
                    found.update(
                        _values(rows.filter(pa.array(equals_any(rows[column], names.content_values))), key)
                    )
    return frozenset(found)
