"""Coded concepts (PS3.3 section 8)."""

from __future__ import annotations

from typing import NamedTuple

from pydicom.dataset import Dataset

from voxlake.dicom.elements import items, text

__all__ = ["Code", "read_code", "read_codes"]


class Code(NamedTuple):
    """A coded concept: ``Code("10200004", "SCT", "Liver")``."""

    value: str
    scheme: str
    meaning: str


def read_code(item: Dataset) -> Code | None:
    """The concept of one item of a code sequence; None without a value.

    A code longer than 16 characters stands in Long Code Value, a name of the web in URN Code Value, which
    needs no scheme.
    """
    for keyword in ("CodeValue", "LongCodeValue", "URNCodeValue"):
        value = text(item, keyword)
        if value is not None:
            return Code(value, text(item, "CodingSchemeDesignator") or "", text(item, "CodeMeaning") or "")
    return None


def read_codes(dataset: Dataset, keyword: str) -> tuple[Code, ...]:
    """All concepts of a code sequence; empty where it is absent."""
    codes = (read_code(item) for item in items(dataset, keyword))
    return tuple(code for code in codes if code is not None)
