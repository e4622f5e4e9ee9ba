"""What an erasure is going to do, worked out before anything is changed.

The plan lies sealed in the lake until the erasure is complete: one that was stopped goes on by it, although
the rows that it was made from may be gone by then.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from voxlake.core.errors import NotFoundError
from voxlake.engine.contract import Engine
from voxlake.lake.erase_models import ModelUse, find_models, find_reports
from voxlake.lake.erase_names import Names, gather_names, is_text
from voxlake.lake.erase_quarantine import find_quarantined
from voxlake.lake.erase_rows import Removal
from voxlake.lake.lake import Lake
from voxlake.store.rewrite import raw_rows
from voxlake.store.schema import TABLES

__all__ = ["Plan", "drop_plan", "load_plan", "make_plan", "reference_columns", "referenced", "save_plan"]

_FOLDER = "erasures"
_IN_PLACE = "file:"


@dataclass(frozen=True)
class Plan:
    """An erasure.

    Parameters
    ----------
    mac : str
        Keyed digest of the pseudonym.
    receipt : str
        Identifier of the receipt to be.
    reason : str
        As given.
    began_at : str
        UTC, ISO 8601.
    names : Names
        By what the patient is known.
    rows : mapping of table to int
        How many rows go.
    packs, arrays : tuple of str
        Objects that hold anything of the patient.
    bytes : int
        Size of what is going to be deleted.
    in_place : tuple of str
        Files outside the lake that were registered in place.
    quarantine, reports : tuple of str
        Paths of sealed items and of files of reports.
    unknown : int
        Quarantined items of which nobody can tell whose they are.
    models : tuple of ModelUse
        Models that had to do with the patient.
    model_files : tuple of str
        Paths of the files of those that go whole.
    """

    mac: str
    receipt: str
    reason: str
    began_at: str
    names: Names
    rows: dict[str, int]
    packs: tuple[str, ...]
    arrays: tuple[str, ...]
    in_place: tuple[str, ...]
    quarantine: tuple[str, ...]
    unknown: int
    reports: tuple[str, ...]
    models: tuple[ModelUse, ...]
    bytes: int
    model_files: tuple[str, ...] = ()

    @property
    def deleted_models(self) -> frozenset[str]:
        """Identifiers of the models that go whole."""
        return frozenset(one.model_id for one in self.models if one.deleted)

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables whose rows or history hold the patient; `withdrawals` comes last."""
        return tuple(sorted(self.rows, key=lambda name: (name == "withdrawals", list(TABLES).index(name))))


def make_plan(lake: Lake, patient: str, mac: str, reason: str, engine: Engine, memory: int) -> Plan:
    """Work out what belongs to a patient; nothing is changed. A worker may take `memory` bytes."""
    names = gather_names(lake, patient, stand_in=f"erased-{mac[:12]}")
    quarantine, unknown = find_quarantined(lake, names, engine, memory)
    # The identifiers of sealed items are names too: their rows go as well.
    sealed = {path.rpartition("/")[2] for path in quarantine}
    names = Names(
        patient, names.tokens | sealed, contents=names.contents, shared=names.shared, stand_in=names.stand_in
    )
    models = find_models(lake, names)
    whole = frozenset(one.model_id for one in models if one.deleted)
    rows: Counter[str] = Counter()
    objects: set[str] = set()
    for table in TABLES:
        removal = Removal(table, names, models=whole)
        for part in raw_rows(lake.tables, table):
            if removal(part) is not part:
                gone = part.filter(pa.array(removal.mask(part)))
                rows[table] += len(gone)
                objects |= referenced(table, gone)
    files = sorted(path for model in whole for path in lake.objects.list(f"models/{model}"))
    reports = find_reports(lake, names, models)
    packs, arrays = _sorted(objects, "packs/"), _sorted(objects, "arrays/")
    return Plan(
        mac=mac,
        receipt=uuid4().hex,
        reason=reason,
        began_at=datetime.now(UTC).isoformat(timespec="seconds"),
        names=names,
        rows=dict(rows),
        packs=packs,
        arrays=arrays,
        in_place=_sorted(objects, _IN_PLACE),
        quarantine=tuple(sorted(quarantine)),
        unknown=unknown,
        reports=tuple(reports),
        models=tuple(models),
        bytes=_size(lake, [*packs, *arrays, *quarantine, *reports, *files]),
        model_files=tuple(files),
    )


def reference_columns(table: str) -> list[str]:
    """Columns of a table that name packs or arrays."""
    columns = TABLES[table].columns
    return [c.name for c in columns if is_text(c.type) and ("pack" in c.name or "array" in c.name)]


def referenced(table: str, rows: pa.Table) -> set[str]:
    """Packs, arrays and files in place that rows name."""
    found: set[str] = set()
    for column in set(reference_columns(table)) & set(rows.column_names):
        values = rows[column]
        flat = pc.list_flatten(values) if pa.types.is_list(values.type) else values
        found.update(value for value in flat.unique().to_pylist() if value is not None)
    return found


def save_plan(lake: Lake, plan: Plan) -> None:
    """Seal a plan in the lake."""
    values = asdict(plan)
    values["names"] = {
        **values["names"],
        "tokens": sorted(plan.names.tokens),
        "contents": sorted(plan.names.contents),
    }
    lake.objects.put(_path(plan.mac), lake.key.seal(json.dumps(values).encode(), context=plan.mac))


def load_plan(lake: Lake, mac: str) -> Plan | None:
    """The plan of an erasure that was not completed; None where there is none."""
    try:
        sealed = lake.objects.get(_path(mac))
    except NotFoundError:
        return None
    values: dict[str, Any] = json.loads(lake.key.unseal(sealed, context=mac))
    names: dict[str, Any] = values.pop("names")
    tokens, contents = (frozenset(names.pop(name)) for name in ("tokens", "contents"))
    models = tuple(
        ModelUse(one["model_id"], one["task"], tuple(one["parts"]), deleted=one.get("deleted", False))
        for one in values.pop("models")
    )
    plain: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return Plan(**plain, models=models, names=Names(**names, tokens=tokens, contents=contents))


def drop_plan(lake: Lake, mac: str) -> None:
    """Delete a plan that was carried out."""
    lake.objects.delete(_path(mac))


def _path(mac: str) -> str:
    return f"{_FOLDER}/{mac}"


def _size(lake: Lake, paths: Iterable[str]) -> int:
    files = [file for path in paths for file in (lake.objects.list(path) if "arrays/" in path else [path])]
    return sum(lake.objects.size(file) for file in files if lake.objects.exists(file))


def _sorted(objects: Iterable[str], start: str) -> tuple[str, ...]:
    return tuple(sorted(path for path in objects if path.startswith(start)))
