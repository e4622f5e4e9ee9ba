"""One frame that was read by its range, decoded as `voxlake.dicom.decode.decode_pixels` decodes it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from voxlake.core.errors import ItemError
from voxlake.dicom.decode import decode_pixels
from voxlake.dicom.frame_index import IMPLICIT_LITTLE, NATIVE_SYNTAXES, strip_items

__all__ = ["decode_one_frame"]

_KEYWORDS = MappingProxyType(
    {
        "Rows": "rows",
        "Columns": "columns",
        "SamplesPerPixel": "samples_per_pixel",
        "PhotometricInterpretation": "photometric_interpretation",
        "BitsAllocated": "bits_allocated",
        "BitsStored": "bits_stored",
        "PixelRepresentation": "pixel_representation",
        "PlanarConfiguration": "planar_configuration",
    }
)


def decode_one_frame(data: bytes, row: Mapping[str, Any]) -> NDArray[Any]:
    """Decode a frame from its bytes and what the catalogue says about them.

    Parameters
    ----------
    data : bytes
        What lies in the range of the frame; see `voxlake.dicom.frame_index.frame_ranges`.
    row : mapping
        Columns of the Image Pixel module as in `instances`, ``transfer_syntax_uid``, and for colour
        ``planar_configuration``. Palettes stand in the header and cannot be decoded from here.

    Returns
    -------
    array
        Shape (rows, columns) or (rows, columns, 3); see `voxlake.dicom.decode.decode_pixels`.

    Raises
    ------
    ItemError
        As `decode_pixels`.
    """
    syntax = row["transfer_syntax_uid"]
    native = syntax in NATIVE_SYNTAXES
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    for keyword, column in _KEYWORDS.items():
        if row.get(column) is not None:
            setattr(dataset, keyword, row[column])
    if row["bits_stored"] is not None:
        dataset.HighBit = row["bits_stored"] - 1
    dataset.NumberOfFrames = 1
    dataset.set_original_encoding(is_implicit_vr=syntax == IMPLICIT_LITTLE, is_little_endian=True)
    try:
        value = data if native else encapsulate([strip_items(data)], has_bot=False)
    except ValueError:
        raise ItemError(
            "decode_error", "the frame does not fill the range that the catalogue states"
        ) from None
    dataset.add_new(0x7FE00010, "OW" if native and row["bits_allocated"] > 8 else "OB", value)
    values: NDArray[Any] = decode_pixels(dataset)[0]
    return values
