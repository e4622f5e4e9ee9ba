"""What the header says about the pixels, checked."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from voxlake.core.errors import ItemError
from voxlake.dicom.elements import text, whole
from voxlake.dicom.frames import frame_count

__all__ = ["Layout", "read_layout", "transfer_syntax"]

_SAMPLES = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
}
_FLOATS = {0x7FE00008: 32, 0x7FE00009: 64}


@dataclass(frozen=True)
class Layout:
    """Image Pixel module (PS3.3 section C.7.6.3) of one object.

    `allocated` and `stored` are bits; `signed` is PixelRepresentation; `floating` tells float pixel data.
    """

    frames: int
    rows: int
    columns: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    signed: bool
    floating: bool = False

    @property
    def values_per_frame(self) -> int:
        """Rows times columns times samples."""
        return self.rows * self.columns * self.samples

    @property
    def decoded_bytes(self) -> int:
        """Bytes of all frames in memory; a bit takes a byte there."""
        return self.frames * self.values_per_frame * max(1, self.allocated // 8)

    @property
    def native_bytes(self) -> int:
        """Bytes of all frames without compression, as they stand in the file."""
        values = self.frames * self.values_per_frame
        if self.photometric == "YBR_FULL_422":
            # Two pixels share their colour: four samples for six (PS3.3 section C.7.6.3.1.2).
            values = values // 3 * 2
        return (values * self.allocated + 7) // 8


def read_layout(dataset: Dataset) -> Layout:
    """Read and check the Image Pixel module.

    Raises
    ------
    ItemError
        ``no_pixels``, ``decode_error`` for sizes and bits that cannot be, ``unsupported_photometric``.
    """
    frames = frame_count(dataset)
    if frames is None:
        raise ItemError("no_pixels", "the object holds no pixel data")
    floating = next((bits for tag, bits in _FLOATS.items() if tag in dataset), None)
    photometric = text(dataset, "PhotometricInterpretation") or "none"
    samples = whole(dataset, "SamplesPerPixel") or 1
    if _SAMPLES.get(photometric) != samples:
        raise ItemError(
            "unsupported_photometric",
            f"photometric interpretation '{photometric[:16]}' with {samples} samples per pixel",
        )
    allocated = floating or whole(dataset, "BitsAllocated") or 0
    stored = floating or whole(dataset, "BitsStored") or allocated
    layout = Layout(
        frames,
        whole(dataset, "Rows") or 0,
        whole(dataset, "Columns") or 0,
        samples,
        photometric,
        allocated,
        stored,
        whole(dataset, "PixelRepresentation") == 1,
        floating is not None,
    )
    _check(layout)
    return layout


def transfer_syntax(dataset: Dataset) -> UID:
    """Transfer syntax of the data set; without meta information the encoding that it was read in."""
    meta = getattr(dataset, "file_meta", None)
    stated = text(meta, "TransferSyntaxUID") if meta is not None else None
    if stated is not None:
        return UID(stated)
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRBigEndian if little is False else ExplicitVRLittleEndian


def _check(layout: Layout) -> None:
    if layout.rows < 1 or layout.columns < 1:
        raise ItemError("decode_error", f"an image of {layout.rows} rows and {layout.columns} columns")
    if layout.allocated not in (1, 8, 16, 32, 64) or not 1 <= layout.stored <= layout.allocated:
        raise ItemError("decode_error", f"{layout.stored} bits stored in {layout.allocated} bits allocated")
