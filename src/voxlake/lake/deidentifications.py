"""What was done to each stored object: a row of `deidentifications` for each shape, named by the objects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from voxlake.core.digest import canonical_json
from voxlake.core.errors import IntegrityError, NotFoundError
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import Recorder
from voxlake.lake.taken import Taken
from voxlake.privacy.changes import Change
from voxlake.privacy.shapes import Shape

__all__ = ["ShapeRecord", "carry_shapes", "each_shape_once", "read_shapes"]

_TABLE = "deidentifications"
_SHAPE_COLUMNS = (
    "deidentification, format, policy, policy_digest, policy_version, profile_edition, code_version, waived, "
    "actions, remains"
)


class ShapeRecord:
    """The driver's side: adds the shapes of admitted objects that the lake does not have yet.

    Parameters
    ----------
    lake : Lake
        The lake.
    recorder : Recorder
        The run.
    """

    def __init__(self, lake: Lake, recorder: Recorder) -> None:
        self._recorder = recorder
        self._known = {row[0] for row in lake.sql(f"select deidentification from {_TABLE}").rows()}
        self._met: dict[str, Shape] = {}
        # Tables are committed in the order of their first use, and no instance may name a shape that is
        # not there, also if the process dies in between.
        recorder.add(_TABLE, ())

    def meet(self, taken: Iterable[Taken]) -> None:
        """Take note of the shapes that came with a window of items."""
        self._met = {one.shape.digest: one.shape for one in taken if one.shape is not None}

    def admit(self, digest: str | None) -> None:
        """Add the row of a shape, unless it is there."""
        if digest is None or digest in self._known:
            return
        self._recorder.add(_TABLE, [_row(self._met[digest])])
        self._known.add(digest)


def each_shape_once(taken: Sequence[Taken]) -> list[Taken]:
    """Leave each shape on the first item of a group that has it, so that results stay small."""
    sent: set[str] = set()
    kept = []
    for one in taken:
        digest = None if one.shape is None else one.shape.digest
        kept.append(replace(one, shape=None) if digest in sent else one)
        if digest is not None:
            sent.add(digest)
    return kept


def read_shapes(lake: Lake, digests: Iterable[str]) -> dict[str, Shape]:
    """Read shapes by their digests.

    Raises
    ------
    NotFoundError
        There is no such shape.
    IntegrityError
        A row does not have the digest that names it.
    """
    wanted = sorted(set(digests))
    rows = lake.sql(
        f"select {_SHAPE_COLUMNS} from {_TABLE} where deidentification in (select unnest($wanted))",
        {"wanted": wanted},
    ).dicts()
    shapes = {row["deidentification"]: _shape(row) for row in rows}
    for digest in wanted:
        if digest not in shapes:
            raise NotFoundError(f"no row {digest} in table '{_TABLE}': it was taken out of the lake")
        if shapes[digest].digest != digest:
            raise IntegrityError(f"row {digest} of table '{_TABLE}' was changed since it was written")
    return shapes


def carry_shapes(old: Lake, new: Lake, recorder: Recorder) -> int:
    """Carry all shapes into another lake; returns how many are new. No identity is in them."""
    known = {row[0] for row in new.sql(f"select deidentification from {_TABLE}").rows()}
    rows = old.sql(f"select {_SHAPE_COLUMNS} from {_TABLE} order by deidentification").dicts()
    missing = [row for row in rows if row["deidentification"] not in known]
    recorder.add(_TABLE, missing)
    return len(missing)


def _row(shape: Shape) -> dict[str, Any]:
    return {
        "deidentification": shape.digest,
        "format": shape.format,
        "policy": shape.policy,
        "policy_digest": shape.policy_digest,
        "policy_version": shape.policy_version,
        "profile_edition": shape.profile_edition,
        "code_version": shape.voxlake,
        "waived": list(shape.waived),
        "actions": canonical_json(shape.actions),
        "remains": canonical_json(shape.remains),
    }


def _shape(row: Mapping[str, Any]) -> Shape:
    return Shape(
        format=row["format"],
        policy=row["policy"],
        policy_digest=row["policy_digest"],
        policy_version=row["policy_version"],
        profile_edition=row["profile_edition"],
        voxlake=row["code_version"],
        waived=tuple(row["waived"]),
        actions=tuple(Change(*action) for action in json.loads(row["actions"])),
        remains=tuple((path, keyword) for path, keyword in json.loads(row["remains"])),
    )
