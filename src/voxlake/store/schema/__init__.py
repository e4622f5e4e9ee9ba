"""The columns of every table: the contract between the rooms and with those who query the lake.

Each column has an Arrow type, a one-line description and, where it has one, its DICOM tag or unit.
A name that is a DICOM attribute is the snake_case form of its keyword (PS3.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa

from voxlake.store.schema.arrays import MASKS, VOLUMES
from voxlake.store.schema.care import DEIDENTIFICATIONS, FINDINGS, FINGERPRINTS, QUARANTINE
from voxlake.store.schema.cohorts import COHORT_MEMBERS, COHORTS, LABELS, WITHDRAWALS
from voxlake.store.schema.column import Column, Table
from voxlake.store.schema.features import EMBEDDINGS, FEATURES
from voxlake.store.schema.instances import DERIVED_COLUMNS, HEADER_COLUMNS, INSTANCES
from voxlake.store.schema.models import ASSOCIATIONS, MODELS, PREDICTIONS, SCORES
from voxlake.store.schema.runs import ITEMS, RUNS
from voxlake.store.schema.series import SERIES, STACKS

__all__ = ["DERIVED_COLUMNS", "HEADER_COLUMNS", "TABLES", "Column", "Table", "arrow_schema"]

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            INSTANCES, SERIES, STACKS, DEIDENTIFICATIONS, QUARANTINE, FINDINGS, FINGERPRINTS, LABELS,
            COHORTS, COHORT_MEMBERS, WITHDRAWALS, VOLUMES, MASKS, FEATURES, EMBEDDINGS, MODELS,
            PREDICTIONS, SCORES, ASSOCIATIONS, RUNS, ITEMS,
        )
    }
)  # fmt: skip


def arrow_schema(name: str) -> pa.Schema:
    """Arrow schema of a table, with the descriptions as field metadata."""
    return pa.schema(
        [
            pa.field(
                column.name,
                column.type,
                metadata={"description": column.description, "tag": column.tag, "unit": column.unit},
            )
            for column in TABLES[name].columns
        ]
    )
