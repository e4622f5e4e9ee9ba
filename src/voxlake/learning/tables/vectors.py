"""Columns of a table from the lake's vectors: as arrays from end to end, for there are many of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.hints import hint
from voxlake.lake.lake import Lake
from voxlake.learning.tables.inputs import EmbeddingInput
from voxlake.learning.tables.subjects import Subjects
from voxlake.learning.tables.table import Column

__all__ = ["vector_columns"]

Floats = NDArray[np.float64]

_SOURCE = "embeddings"
_COMBINE: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"mean": np.mean, "median": np.median, "min": np.min, "max": np.max}
)
_ABOUT = "select any_value(name), any_value(subject_level), count(*) from embeddings where embedding_id = $id"
_ROWS = (
    "select subject, vector from embeddings "
    "where embedding_id = $id and subject in (select unnest($subjects)) order by subject"
)


def vector_columns(lake: Lake, settings: EmbeddingInput, subjects: Subjects, *, combine: str) -> list[Column]:
    """Coordinates of vectors of the rows: columns ``name.0``, ``name.1``, ...

    Several vectors that belong to one row are combined coordinate by coordinate; a row without one has none
    of the numbers.

    Raises
    ------
    NotFoundError
        There is no embedding of that name, or it is about none of the rows.
    UsageError
        Several are; name the identifier.
    """
    made = _identifier(lake, settings.name)
    ((name, level, count),) = lake.sql(_ABOUT, {"id": made}).rows()
    keys = [row.get(level, ()) for row in subjects.within]
    inside = sorted({one for row in keys for one in row})
    rows = lake.sql(_ROWS, {"id": made, "subjects": inside}).arrow()
    if not len(rows):
        raise NotFoundError(
            f"embedding '{settings.name}' has a vector of no row of the table; it is about "
            f"{count} subjects at level '{level}'"
        )
    values = _matrix(rows["vector"].combine_chunks(), name)
    place = {subject: number for number, subject in enumerate(rows["subject"].to_pylist())}
    matrix = _of_rows(values, [[place[one] for one in row if one in place] for row in keys], combine)
    return [Column(f"{name}.{number}", "number", column, _SOURCE) for number, column in enumerate(matrix.T)]


def _identifier(lake: Lake, name: str) -> str:
    made = lake.sql(
        "select distinct embedding_id from embeddings "
        "where name = $name or starts_with(embedding_id, $name) order by 1",
        {"name": name},
    ).rows()
    if not made:
        others = [row[0] for row in lake.sql("select distinct name from embeddings").rows()]
        raise NotFoundError(f"no embedding '{name}'{hint(name, others)}")
    if len(made) > 1:
        shown = [row[0][:12] for row in made[:5]]
        raise UsageError(f"{len(made)} embeddings are called '{name}'; name one of {shown}")
    return str(made[0][0])


def _matrix(vectors: pa.Array, name: str) -> NDArray[np.float32]:
    """float32 (vectors, coordinates)."""
    lengths = pc.unique(pc.list_value_length(vectors)).to_pylist()
    if len(lengths) != 1:
        raise UsageError(f"vectors of embedding '{name}' have {len(lengths)} different lengths")
    flat: NDArray[np.float32] = vectors.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(vectors), -1)


def _of_rows(values: NDArray[np.float32], places: Sequence[Sequence[int]], combine: str) -> Floats:
    """float64 (rows, coordinates), each coordinate in one piece; NaN where a row has no finite one."""
    found = np.full((len(places), values.shape[1]), np.nan, order="F")
    for number, its in enumerate(places):
        if len(its) == 1:
            found[number] = values[its[0]]
        elif its:
            found[number] = _COMBINE[combine](values[list(its)].astype(np.float64), axis=0)
    found[~np.isfinite(found)] = np.nan
    return found
