"""Bytes to pixels: DICOM in every transfer syntax, PNG, JPEG and NIfTI."""

from __future__ import annotations

import atheris
from common import expect, fuzz

with atheris.instrument_imports(include=["voxlake"]):
    from voxlake.core.errors import ItemError
    from voxlake.core.reasons import REASONS
    from voxlake.dicom.decode import decode_pixels
    from voxlake.dicom.read import read_dataset
    from voxlake.sources.images import read_image, scan_image, sniff

# Decoded bytes; more would only make the search slow.
_LIMIT = 64 * 2**20


def target(data: bytes) -> None:
    """Values of three or four axes, or a known reason."""
    kind = sniff(data)
    try:
        if kind == "dicom":
            expect(decode_pixels(read_dataset(data), limit=_LIMIT).ndim in (3, 4), "number of axes")
        elif kind is not None:
            row = scan_image(data, kind)
            if row["rows"] * row["columns"] * row["number_of_frames"] * row["bits_allocated"] < 8 * _LIMIT:
                expect(read_image(data, kind).data.ndim in (3, 4), "number of axes")
    except ItemError as error:
        expect(error.reason in REASONS, error.reason)


if __name__ == "__main__":
    fuzz(target)
