"""Bytes to a data set to a row of the `instances` table."""

from __future__ import annotations

import json

import atheris
from common import expect, fuzz

with atheris.instrument_imports(include=["voxlake"]):
    from voxlake.core.errors import ItemError
    from voxlake.core.reasons import REASONS
    from voxlake.dicom.geometry import judge
    from voxlake.dicom.read import read_dataset
    from voxlake.dicom.scan import scan


def target(data: bytes) -> None:
    """A row that can be stored, or a known reason."""
    try:
        row = scan(read_dataset(data), data)
    except ItemError as error:
        expect(error.reason in REASONS, error.reason)
        return
    json.loads(row["tags"])
    judge([row])
    if row["pixel_length"] is not None:
        expect(row["pixel_offset"] + row["pixel_length"] <= len(data), "pixel range")
    for name, value in row.items():
        if isinstance(value, int):
            expect(abs(value) < 2**63, name)
        elif isinstance(value, str):
            value.encode()


if __name__ == "__main__":
    fuzz(target)
