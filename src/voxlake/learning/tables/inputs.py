"""Settings of where the columns of a table come from: ``[[inputs]]`` of a task."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from voxlake.core.settings import Settings

__all__ = [
    "EmbeddingInput",
    "FeatureInput",
    "FileInput",
    "HeaderInput",
    "Input",
    "LabelInput",
    "SqlInput",
    "SubjectLevel",
]

Patterns = tuple[str, ...]
Name = Annotated[str, Field(min_length=1)]
SubjectLevel = Literal["volume", "instance", "series", "study", "patient", "row"]


class _Columns(Settings):
    """Which columns of a source are taken.

    Parameters
    ----------
    include, exclude : tuple of str
        Names, ``*`` and ``?`` allowed; what is excluded is left out whatever includes it.
    prefix : str
        Put before every name, to keep columns of two sources apart.
    """

    include: Patterns = ("*",)
    exclude: Patterns = ()
    prefix: str = ""


class FeatureInput(_Columns):
    """Numbers that `measure` made; a column is ``family.feature``, behind the name of the label if any.

    Parameters
    ----------
    families : tuple of str
        Families of features; all if empty.
    regions : tuple of str
        Names of labels of masks, ``"whole"`` for the whole volume; all if empty.
    plan_digest : str, optional
        Plan of the volumes, by its first characters; needed where a volume was prepared under several.
    """

    source: Literal["features"]
    families: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    plan_digest: str | None = None


class HeaderInput(_Columns):
    """Columns of ``series`` or ``instances``; these must be named.

    Parameters
    ----------
    table : {"series", "instances"}
        Which table.
    """

    source: Literal["headers"]
    table: Literal["series", "instances"] = "series"
    include: Annotated[Patterns, Field(min_length=1)]


class LabelInput(_Columns):
    """Labels, each of them a column; numbers where every value is one."""

    source: Literal["labels"]
    include: Annotated[Patterns, Field(min_length=1)]


class EmbeddingInput(_Columns):
    """Coordinates of vectors: columns ``name.0``, ``name.1``, ...

    Parameters
    ----------
    name : str
        Name of the task or model that made them, or the first characters of the identifier.
    plan_digest : str, optional
        Plan of the volumes, by its first characters; needed where a row is a volume and these were prepared
        under several.
    """

    source: Literal["embeddings"]
    name: Name
    plan_digest: str | None = None


class FileInput(_Columns):
    """A table from outside: CSV with a header line, UTF-8.

    The first one of a task without a cohort says what the rows are; further ones are joined to it by their
    subjects.

    Parameters
    ----------
    path : str
        The file, relative to the task.
    subject : str, optional
        Column that holds what a row is about; without it the rows are numbered (level ``"row"`` only).
    level : str
        What a row of the file is about; ``"row"`` where the table is about nothing in the lake.
    identifiers : {"original", "lake"}
        Whether identifiers are those of the hospital, which go through the lake's pseudonymiser, or
        pseudonyms of this lake.
    """

    source: Literal["file"]
    path: Name
    subject: Name | None = None
    level: SubjectLevel = "row"
    identifiers: Literal["original", "lake"] = "original"


class SqlInput(_Columns):
    """Columns of a statement over the lake's tables.

    Parameters
    ----------
    statement : str
        One SELECT; identifiers are those of the lake.
    subject : str
        Column that holds what a row is about.
    level : str
        What that is.
    """

    source: Literal["sql"]
    statement: Name
    subject: Name
    level: SubjectLevel = "series"


Input = Annotated[
    FeatureInput | HeaderInput | LabelInput | EmbeddingInput | FileInput | SqlInput,
    Field(discriminator="source"),
]
