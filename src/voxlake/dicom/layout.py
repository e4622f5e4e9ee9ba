"""What the header says about the pixels, checked."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from voxlake.core.errors import ItemError
from voxlake.dicom.codestream import END_OF_CODESTREAM, jpeg2000_header, jpeg_header
from voxlake.dicom.elements import raw_values, text, whole
from voxlake.dicom.frames import frame_count

__all__ = [
    "DEFLATED_FRAMES",
    "JPEG_FULL_PROGRESSION",
    "JPEG_SPECTRAL_SELECTION",
    "JPEG_XL",
    "JPEG_XL_LOSSLESS",
    "JPEG_XL_RECOMPRESSION",
    "UNCOMPRESSED_FRAMES",
    "Layout",
    "check_compressed",
    "check_pixels",
    "read_layout",
    "transfer_syntax",
]

# Transfer syntaxes that pydicom 3.0 has no constants for (PS3.6 table A-1).
JPEG_XL_LOSSLESS = UID("1.2.840.10008.1.2.4.110")
JPEG_XL_RECOMPRESSION = UID("1.2.840.10008.1.2.4.111")
JPEG_XL = UID("1.2.840.10008.1.2.4.112")
DEFLATED_FRAMES = UID("1.2.840.10008.1.2.8.1")
# Retired: processes 6 and 8, 10 and 12.
JPEG_SPECTRAL_SELECTION = UID("1.2.840.10008.1.2.4.53")
JPEG_FULL_PROGRESSION = UID("1.2.840.10008.1.2.4.55")
UNCOMPRESSED_FRAMES = UID("1.2.840.10008.1.2.1.98")

# Samples of one compressed frame: OpenJPEG takes four bytes for each beside the result, and both must fit the
# memory of a worker. A digital breast tomosynthesis slice has 2**23.
MOST_SAMPLES = 2**29

# PackBits makes at most 128 bytes out of two (PS3.5 annex G.3.1).
_RLE_RATIO = 64
# Huffman codes have a bit at least, one of them stands for 64 samples at most, and two of three colours may
# come at half the resolution in both directions (ITU-T T.81). JPEG-LS and JPEG 2000 know no such bound.
_JPEG_RATIO = 1024
# Deflate codes 258 bytes by two bits at most (RFC 1951 section 3.2.5).
_DEFLATE_RATIO = 1032
# Largest value of VR IS (PS3.5 table 6.2-1).
_MOST_FRAMES = 2**31 - 1
# Bytes of a codestream in which its header is looked for.
_LONGEST_HEADER = 2**18
_ITEM = b"\xfe\xff\x00\xe0"
_HUFFMAN = frozenset(
    {
        JPEGBaseline8Bit,
        JPEGExtended12Bit,
        JPEGLossless,
        JPEGLosslessSV1,
        JPEG_SPECTRAL_SELECTION,
        JPEG_FULL_PROGRESSION,
    }
)
_JPEG = _HUFFMAN | {JPEGLSLossless, JPEGLSNearLossless}
_JPEG_2000 = frozenset({JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K})
_NATIVE = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)

_SAMPLES = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_ICT": 3,
    "YBR_PARTIAL_420": 3,
    "YBR_PARTIAL_422": 3,
    "YBR_RCT": 3,
    "XYB": 3,
}
# Defined for 8 bits alone (PS3.3 section C.7.6.3.1.2).
_BYTES_ONLY = frozenset({"YBR_PARTIAL_420", "YBR_PARTIAL_422"})
_HALVED = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})
# Their codestreams have no marker at their end.
_ENDLESS = frozenset(
    {RLELossless, JPEG_XL_LOSSLESS, JPEG_XL_RECOMPRESSION, JPEG_XL, DEFLATED_FRAMES, UNCOMPRESSED_FRAMES}
)
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
    def word(self) -> int:
        """Bytes of the smallest array type that holds the allocated bits."""
        return next(size for size in (1, 2, 4, 8) if self.allocated <= 8 * size)

    @property
    def shares_colour(self) -> bool:
        """Whether two pixels of a row have one colour between them, without compression."""
        return self.photometric in _HALVED

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns, samples."""
        return self.rows, self.columns, self.samples

    @property
    def values_per_frame(self) -> int:
        """Rows times columns times samples."""
        return self.rows * self.columns * self.samples

    @property
    def decoded_bytes(self) -> int:
        """Bytes of all frames in memory; a bit takes a byte there."""
        return self.frames * self.values_per_frame * self.word

    @property
    def native_bytes(self) -> int:
        """Bytes of all frames without compression, as they stand in the file."""
        return self.native_bytes_of(self.frames)

    def native_bytes_of(self, frames: int) -> int:
        """Bytes of some frames without compression; the bits of the last byte are filled up."""
        values = frames * self.values_per_frame
        if self.shares_colour:
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


def check_pixels(dataset: Dataset) -> None:
    """Compare the pixel data with what the header says about them, without decoding any.

    Where header and pixel data are of a kind that no decoder reads, nothing is said: such objects are
    catalogued, and whoever wants their values is told why there are none.

    Raises
    ------
    ItemError
        ``truncated``: fewer bytes, frames or ends of frames than the header announces; ``decode_error``:
        the first frame is of another shape, or a number of frames that cannot be.
    """
    if (frame_count(dataset) or 0) > _MOST_FRAMES:
        raise ItemError("decode_error", f"more than {_MOST_FRAMES} frames")
    try:
        layout, syntax = read_layout(dataset), transfer_syntax(dataset)
    except ItemError:
        return
    tag = next(tag for tag in (0x7FE00010, *_FLOATS) if tag in dataset)
    found = raw_values(dataset, tag)
    value = found[0] if found and isinstance(found[0], bytes) else b""
    if syntax in _NATIVE:
        _check_size(layout.native_bytes, len(value))
    elif syntax in _JPEG or syntax in _JPEG_2000 or syntax in _ENDLESS:
        check_compressed(layout, len(value), syntax)
        _check_fragments(layout, value, syntax)


def check_compressed(layout: Layout, length: int, syntax: UID) -> None:
    """Refuse what a codec would fill the memory with, before it is called.

    Parameters
    ----------
    layout : Layout
        What the header says.
    length : int
        Bytes of the pixel data.
    syntax : UID
        Transfer syntax.

    Raises
    ------
    ItemError
        ``decode_error``: frames of more than `MOST_SAMPLES`; ``truncated``: more pixels than so few bytes can
        stand for in RLE, JPEG or deflate.
    """
    if layout.values_per_frame > MOST_SAMPLES:
        message = f"a frame of {layout.values_per_frame:,} samples; the limit is {MOST_SAMPLES:,}"
        raise ItemError("decode_error", message)
    if syntax == RLELossless:
        _check_size(layout.native_bytes, length * _RLE_RATIO)
    elif syntax == UNCOMPRESSED_FRAMES:
        _check_size(layout.native_bytes, length)
    elif syntax == DEFLATED_FRAMES:
        _check_size(layout.native_bytes, length * _DEFLATE_RATIO)
    elif syntax in _HUFFMAN:
        _check_size(layout.frames * layout.values_per_frame, length * _JPEG_RATIO)


def _check_size(needed: int, there: int) -> None:
    if there < needed:
        message = f"the header announces {needed} bytes of pixels, there can be {there} at most"
        raise ItemError("truncated", message)


def _check_fragments(layout: Layout, value: bytes, syntax: UID) -> None:
    first = _first_fragment(layout, value)
    if syntax in _ENDLESS:
        return
    ends = value.count(END_OF_CODESTREAM)
    if ends < layout.frames:
        message = f"the header announces {layout.frames} frames, {ends} of them have an end"
        raise ItemError("truncated", message)
    try:
        header = jpeg_header(first) if syntax in _JPEG else jpeg2000_header(first)
    except ValueError:
        # A first fragment may hold less than the header of its frame.
        return
    found, said = (header.rows, header.columns, header.components), layout.shape
    if found != said:
        raise ItemError(
            "decode_error", f"the codestream holds {found} (rows, columns, samples), the header says {said}"
        )


def _first_fragment(layout: Layout, value: bytes) -> bytes:
    """Check that there are as many fragments as frames, and give the beginning of the first."""
    places = []
    position = 0
    while value[position : position + 4] == _ITEM and position + 8 <= len(value):
        length = int.from_bytes(value[position + 4 : position + 8], "little")
        places.append((position + 8, length))
        position += 8 + length
    if position != len(value):
        raise ItemError("decode_error", "the fragments do not fill the pixel data, or reach over their end")
    # The first item is the offset table.
    if len(places) - 1 < layout.frames:
        message = f"the header announces {layout.frames} frames, there are {len(places)} items of pixel data"
        raise ItemError("truncated", message)
    start, length = places[1]
    return value[start : start + min(length, _LONGEST_HEADER)]


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
    widest = 64 if layout.allocated == 64 else 32
    if not 1 <= layout.allocated <= widest or not 1 <= layout.stored <= layout.allocated:
        raise ItemError("decode_error", f"{layout.stored} bits stored in {layout.allocated} bits allocated")
    if layout.photometric in _BYTES_ONLY and layout.allocated != 8:
        message = f"'{layout.photometric}' of {layout.allocated} bits allocated"
        raise ItemError("unsupported_photometric", message)
