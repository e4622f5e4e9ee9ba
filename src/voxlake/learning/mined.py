"""A mined model: what `mine` found, as it lies in the lake."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import IntegrityError, NotFoundError
from voxlake.core.hints import hint
from voxlake.lake.lake import Lake
from voxlake.learning.mining import MiningTask, load_mining_task
from voxlake.learning.model_files import find_model, model_path

__all__ = ["MinedModel", "get_mined"]


@dataclass(frozen=True)
class MinedModel:
    """A mined model.

    Parameters
    ----------
    lake : Lake
        Where.
    row : mapping
        Its row in `models`.
    task : MiningTask
        What was asked; tables from outside are named by their SHA-256.
    card : mapping
        Variables, results, files with their digests.
    """

    lake: Lake = field(repr=False)
    row: Mapping[str, Any] = field(repr=False)
    task: MiningTask
    card: Mapping[str, Any] = field(repr=False)

    @property
    def model_id(self) -> str:
        """Identifier."""
        return str(self.row["model_id"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes in the order of the probabilities."""
        return tuple(self.row["classes"] or ())

    def get(self, name: str) -> bytes:
        """A file of the model.

        Raises
        ------
        NotFoundError
            The model has no such file.
        IntegrityError
            It is not what was stored.
        """
        artefacts = self.card["artefacts"]
        if name not in artefacts:
            raise NotFoundError(f"the model has no file '{name}'{hint(name, artefacts)}")
        data = self.lake.objects.get(model_path(self.model_id, name))
        if digest_bytes(data) != artefacts[name]:
            raise IntegrityError(f"file '{name}' of model {self.model_id[:12]} is not what was stored")
        return data


def get_mined(lake: Lake, name: str) -> MinedModel:
    """Find a mined model by its identifier, the first characters of it, or the name of its task.

    Raises
    ------
    NotFoundError
        There is no such model; a near miss is named.
    UsageError
        Several identifiers begin so.
    """
    rows = lake.sql("select * from models where kind = 'table' order by committed_at desc").dicts()
    row = find_model(rows, name, make="mine")
    task = load_mining_task(lake.objects.get(model_path(row["model_id"], "task.toml")).decode())
    card = json.loads(lake.objects.get(model_path(row["model_id"], "card.json")))
    return MinedModel(lake, row, task, card)
