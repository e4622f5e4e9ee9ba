"""From a task to files in the folder: what a worker does for `voxlake export`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voxlake.core.errors import GeometryError, IntegrityError, ItemError
from voxlake.exchange.dicom_forms import ALL_FORMS
from voxlake.exchange.forms import Options
from voxlake.exchange.place import ExportedFile, write_file
from voxlake.exchange.record import record_of
from voxlake.exchange.selection import Task
from voxlake.lake.lake import Lake, LakeReference

__all__ = ["Exported", "Exporting"]


@dataclass(frozen=True)
class Exported:
    """What became of a task: the files that were written, or a reason."""

    files: tuple[ExportedFile, ...] = ()
    record: dict[str, Any] | None = None
    reason: str | None = None
    detail: str | None = None


@dataclass
class Exporting:
    """Function of a group of tasks, for `Engine.map`.

    Parameters
    ----------
    lake : LakeReference
        Where the lake lies.
    folder : Path
        Where the files go.
    options : Options
        How they are written.
    run_id : str
        The run.
    """

    lake: LakeReference
    folder: Path
    options: Options
    run_id: str
    _cache: dict[str, Lake] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_cache": {}}

    def __call__(self, group: Sequence[Task]) -> list[Exported]:
        """Write the files of a group of tasks."""
        if "it" not in self._cache:
            self._cache["it"] = self.lake.open()
        return [self._one(self._cache["it"], task) for task in group]

    def _one(self, lake: Lake, task: Task) -> Exported:
        record = record_of(task, self.run_id)
        try:
            made = ALL_FORMS[self.options.form](lake, task, self.options, record)
            files = tuple(write_file(self.folder, path, data) for path, data in made.items())
        except ItemError as error:
            return Exported(reason=error.reason, detail=error.message)
        except GeometryError as error:
            return Exported(reason="geometry_none", detail=str(error))
        except IntegrityError as error:
            return Exported(reason="object_damaged", detail=str(error))
        return Exported(files, record)
