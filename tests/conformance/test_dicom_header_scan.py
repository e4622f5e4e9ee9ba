"""The fast path to a row against pydicom's way to it, on every file at hand and on generated ones."""

from __future__ import annotations

import importlib.metadata
import json
import struct
import zlib
from datetime import date
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from voxlake.core.errors import ItemError
from voxlake.dicom.header import READ_AHEAD, plain_row, scan_bytes, scan_file
from voxlake.dicom.parse_bytes import OddFileError
from voxlake.dicom.read import read_dataset
from voxlake.dicom.scan import scan

FOLDER = Path(pydicom.__file__).parent / "data"
# What the fast path leaves to pydicom although pydicom makes a row of it.
ODD = {
    "ExplVR_BigEndNoMeta.dcm",
    "ExplVR_LitEndNoMeta.dcm",
    "JPEG2000-embedded-sequence-delimiter.dcm",
    "OT-PAL-8-face.dcm",
    "SC_rgb_jpeg.dcm",
    "UN_sequence.dcm",
    "badVR.dcm",
    "bad_sequence.dcm",
    "meta_missing_tsyntax.dcm",
    "nested_priv_SQ.dcm",
    "no_meta.dcm",
    "no_meta_group_length.dcm",
    "rtdose_rle.dcm",
    "rtdose_rle_1frame.dcm",
    "rtstruct.dcm",
}


def by_pydicom(data: bytes):
    try:
        return scan(read_dataset(data), data)
    except ItemError as error:
        return error.reason


def exact(row) -> str:
    # Text, so that 1 and 1.0, and the parts of a list, count as different.
    return json.dumps(row, sort_keys=True)


def check(data: bytes, path: Path | None = None) -> bool:
    """Compare; say whether the fast path spoke."""
    try:
        row = plain_row(data)
    except OddFileError:
        return False
    expected = by_pydicom(data)
    assert not isinstance(expected, str), expected
    assert exact(row) == exact(expected)
    assert plain_row(data, tags=False) == {**expected, "tags": None}
    if path is not None:
        assert exact(scan_file(path)) == exact(expected)
    return True


def packaged_files() -> list[Path]:
    extra = importlib.metadata.files("pydicom-data") or []
    found = [Path(str(file.locate())) for file in extra] + list(FOLDER.rglob("*"))
    return sorted(path for path in found if path.is_file() and path.suffix not in (".py", ".pyc"))


def test_packaged_files_give_the_same_row():
    odd, same = set(), 0
    for path in packaged_files():
        data = path.read_bytes()
        if check(data, path):
            same += 1
        elif not isinstance(by_pydicom(data), str) and "DICOMDIR" not in path.name:
            odd.add(path.name)
    assert odd <= ODD
    assert same > 150


def sampled(files: list[Path]) -> list[Path]:
    """First and last file of every folder, and of every 150 files of a flat one."""
    folders: dict[Path, list[Path]] = {}
    for path in files:
        folders.setdefault(path.parent, []).append(path)
    picked = []
    for inside in folders.values():
        for start in range(0, len(inside), 150):
            part = inside[start : start + 150]
            picked += sorted({part[0], part[-1]})
    return picked


@pytest.mark.realdata
def test_real_files_give_the_same_row(realdata):
    # Large ones take pydicom long; the slow test has them.
    files = sampled(sorted(path for path in realdata.rglob("*.dcm") if path.stat().st_size < 300_000))
    spoke = [check(path.read_bytes(), path) for path in files]
    assert len(spoke) > 40
    assert sum(spoke) >= 0.98 * len(spoke)


@pytest.mark.slow
@pytest.mark.realdata
def test_all_real_files_give_the_same_row(realdata):
    files = sorted(realdata.rglob("*.dcm"))
    spoke = [check(path.read_bytes(), path) for path in files]
    assert sum(spoke) >= 0.99 * len(files) > 900


LATIN = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20)
WIDE = st.text(st.sampled_from('aZ ^=\\"äЖ山\t\n\u2028\U0001f600'), max_size=12)
SINGLE = st.floats(width=32)
DECIMAL = st.one_of(
    st.sampled_from(
        ["", "1", "-0", " 12.50 ", "1e3", "NaN", "inf", "+5", "0.1\\", "1\\2\\3", "\\", "1_0", "x"]
    ),
    st.floats(-1e6, 1e6).map(lambda value: f"{value:.6g}"),
)
INTEGER = st.one_of(
    st.sampled_from(["", "0", "-1", " 7 ", "1.0", "1.5", "1\\\\2", "99999999999999999999", "1_0", "x"]),
    st.integers(-(2**31), 2**31).map(str),
)
DAY = st.dates(date(1900, 1, 1), date(2100, 1, 1)).map(lambda day: f"{day:%Y%m%d}")
BINARY = st.binary(max_size=9).map(lambda data: data * 2)


TERMS = {
    "ISO_IR 100": "latin-1",
    "ISO_IR 192": "utf-8",
    "GB18030": "gb18030",
    "ISO_IR 144": "iso8859_5",
    "": "latin-1",
}
# VR by the dictionary -> tags.
BY_VR = {
    "CS": (
        0x00080008,
        0x00080060,
    ),
    "DA": (0x00080020,),
    "TM": (0x00080030,),
    "AE": (0x00080054,),
    "LO": (
        0x00081030,
        0x00120010,
        0x00181030,
    ),
    "PN": (0x00100010,),
    "DS": (
        0x00101020,
        0x00180050,
        0x00200032,
        0x00200037,
        0x00280030,
        0x00281050,
        0x00281052,
        0x00281053,
    ),
    "LT": (0x00104000,),
    "FD": (
        0x00189073,
        0x00189087,
    ),
    "US": (
        0x00189810,
        0x00280010,
        0x00280103,
        0x00281101,
    ),
    "IS": (
        0x00200011,
        0x00200013,
        0x00280008,
    ),
    "AT": (0x00280009,),
    "SS": (0x00280106,),
    "DT": (0x0040A120,),
    "UT": (0x0040A160,),
    "SQ": (
        0x00409096,
        0x00082112,
        0x00081140,
        0x00540016,
        0x52009229,
        0x52009230,
        0x00289110,
        0x00209113,
    ),
    "OF": (0x00660016,),
    "OW": (0x60003000,),
    "OB": (0x00282000,),
}
TAGS = {tag: vr for vr, tags in BY_VR.items() for tag in tags}
PRIVATE = [
    (b"SIEMENS MR HEADER", 0x0019, {0x0A: "US", 0x0C: "IS", 0x0E: "FD", 0x99: "LO"}),
    (b"SIEMENS CSA HEADER", 0x0029, {0x10: "OB", 0x20: "OB"}),
    (b"Philips Imaging DD 001 ", 0x2001, {0x03: "FL", 0x5F: "SQ"}),
    (b"GEMS_PARM_01", 0x0043, {0x39: "IS", 0x01: "DS"}),
    (b"SOMEBODY", 0x0029, {0x01: "LO", 0x02: "SQ", 0x03: "UN"}),
]
CODES = {"US": "H", "SS": "h", "FD": "d", "FL": "f", "OF": "f"}
NUMBERS = {
    "US": st.integers(0, 300), "SS": st.integers(-5, 300), "FD": st.floats(), "FL": SINGLE, "OF": SINGLE,
}  # fmt: skip
PLAIN = {
    "CS": st.sampled_from(["CT", "ORIGINAL\\PRIMARY\\MOSAIC ", "", " a\\\\b\0"]),
    "DA": DAY,
    "TM": st.sampled_from(["101010.5", "1010", ""]),
    "DT": st.sampled_from(["20200101101010.5+0100", ""]),
    "AE": st.sampled_from([" SCP ", "A\\ B", "\0"]),
    "DS": DECIMAL,
    "IS": INTEGER,
}


@st.composite
def values(draw: st.DrawFn, vr: str, codec: str, little: bool) -> bytes:
    if vr in NUMBERS:
        found = draw(st.lists(NUMBERS[vr], max_size=3))
        return struct.pack(f"{'<' if little else '>'}{len(found)}{CODES[vr]}", *found)
    if vr == "AT":
        return draw(st.binary(min_size=4, max_size=4)) * draw(st.integers(0, 2))
    if vr in ("OB", "OW", "UN"):
        return draw(BINARY) * draw(st.sampled_from([1, 1, 100]))
    if vr in PLAIN:
        text = draw(PLAIN[vr]).encode("ascii")
    else:
        text = draw(st.one_of(LATIN, WIDE)).encode(codec, "replace") + draw(
            st.sampled_from([b"", b"", b"\0", b"\x1b-L\xb6"])
        )
    return text + b" " * (len(text) % 2)


@st.composite
def datasets(draw: st.DrawFn, encoding: tuple[bool, bool], codec: str, depth: int = 0) -> bytes:
    """Bytes of a data set or an item."""
    elements: dict[int, tuple[str, bytes | None]] = {}
    if draw(st.integers(0, 2 if depth == 0 else 6)) == 0:
        term = draw(st.sampled_from(sorted(TERMS)))
        codec = TERMS[term]
        elements[0x00080005] = ("CS", term.encode() + b" " * (len(term) % 2))
    for tag in draw(st.lists(st.sampled_from(sorted(TAGS)), unique=True, max_size=9 if depth == 0 else 4)):
        elements[tag] = (TAGS[tag], None)
    if draw(st.booleans()):
        name, group, known = draw(st.sampled_from(PRIVATE))
        block = draw(st.sampled_from([0x10, 0x11, 0xE1]))
        elements[group << 16 | block] = ("LO", name + b" " * (len(name) % 2))
        for place in draw(st.lists(st.sampled_from(sorted(known)), unique=True)):
            elements[group << 16 | block << 8 | place] = (known[place], None)
    if depth == 0:
        elements |= dict.fromkeys((524310, 524312, 2097165, 2097166), ("UI", b"1.2.3\x00"))
    parts = []
    for tag, (vr, value) in sorted(elements.items()):
        if vr == "SQ":
            if depth < 3:
                parts.append(draw(sequences(tag, encoding, codec, depth)))
            continue
        found = draw(values(vr, codec, encoding[1])) if value is None else value
        stated = "UN" if tag & 0x10000 and tag & 0xFF00 and draw(st.integers(0, 3)) == 0 else vr
        parts.append(element(tag, stated, found, encoding))
    return b"".join(parts)


def element(tag: int, vr: str, value: bytes, encoding: tuple[bool, bool], length: int | None = None) -> bytes:
    implicit, little = encoding
    order = "<" if little else ">"
    length = len(value) if length is None else length
    if implicit:
        return struct.pack(f"{order}HHI", tag >> 16, tag & 0xFFFF, length) + value
    if vr in ("OB", "OW", "OF", "SQ", "UN", "UT"):
        return struct.pack(f"{order}HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, length) + value
    return struct.pack(f"{order}HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length) + value


@st.composite
def sequences(draw: st.DrawFn, tag: int, encoding: tuple[bool, bool], codec: str, depth: int) -> bytes:
    order = "<" if encoding[1] else ">"
    content = b""
    for item in draw(st.lists(datasets(encoding, codec, depth + 1), max_size=2)):
        if draw(st.booleans()):
            end = struct.pack(f"{order}HHI", 0xFFFE, 0xE00D, 0)
            content += struct.pack(f"{order}HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + item + end
        else:
            content += struct.pack(f"{order}HHI", 0xFFFE, 0xE000, len(item)) + item
    if draw(st.booleans()):
        return element(
            tag, "SQ", content + struct.pack(f"{order}HHI", 0xFFFE, 0xE0DD, 0), encoding, 0xFFFFFFFF
        )
    return element(tag, "SQ", content, encoding)


SYNTAXES = {
    ImplicitVRLittleEndian: (True, True),
    ExplicitVRLittleEndian: (False, True),
    ExplicitVRBigEndian: (False, False),
    DeflatedExplicitVRLittleEndian: (False, True),
}


def wrapped(syntax: str, body: bytes) -> bytes:
    """A file of a data set that is already bytes."""
    stream = BytesIO()
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(stream, dataset, enforce_file_format=True)
    length = 144 + int.from_bytes(stream.getvalue()[140:144], "little")
    meta = stream.getvalue()[144:length]
    old = element(0x00020010, "UI", ExplicitVRLittleEndian.encode() + b"\0", (False, True))
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    assert old in meta
    meta = meta.replace(old, element(0x00020010, "UI", uid, (False, True)))
    if syntax == DeflatedExplicitVRLittleEndian:
        squeezed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = squeezed.compress(body) + squeezed.flush()
    start = element(0x00020000, "UL", struct.pack("<I", len(meta)), (False, True))
    return bytes(128) + b"DICM" + start + meta + body


@st.composite
def files(draw: st.DrawFn) -> bytes:
    syntax = draw(st.sampled_from(sorted(SYNTAXES)))
    body = draw(datasets(SYNTAXES[syntax], "latin-1"))
    if draw(st.booleans()):
        body += element(0x7FE00010, "OW", bytes(draw(st.sampled_from([0, 2, 4000]))), SYNTAXES[syntax])
    if draw(st.integers(0, 5)) == 0:
        body += element(0xFFFCFFFC, "OB", bytes(20), SYNTAXES[syntax])
    return wrapped(syntax, body)


@settings(max_examples=80, deadline=None)
@given(files())
def test_generated_files_give_the_same_row(data):
    if not check(data):
        expected = by_pydicom(data)
        found = exact(scan_bytes(data)) if not isinstance(expected, str) else expected
        assert found == (expected if isinstance(expected, str) else exact(expected))


@settings(max_examples=80, deadline=None)
@given(files(), st.data())
def test_damaged_files_give_the_same_row_or_refusal(data, draws):
    damaged = bytearray(data)
    for _ in range(draws.draw(st.integers(1, 4))):
        damaged[draws.draw(st.integers(128, len(damaged) - 1))] = draws.draw(st.integers(0, 255))
    if draws.draw(st.integers(0, 4)) == 0:
        del damaged[draws.draw(st.integers(132, len(damaged))) :]
    check(bytes(damaged))


def sound(syntax: str = ExplicitVRLittleEndian, *, preamble: bool = True, **values) -> bytes:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3"
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.4", "1.2.5"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue() if preamble else stream.getvalue()[132:]


IMAGE = {
    "Rows": 64, "Columns": 64, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0,
}  # fmt: skip


@pytest.mark.parametrize("syntax", sorted(SYNTAXES))
def test_every_native_encoding_takes_the_fast_path(syntax):
    data = sound(
        syntax, **IMAGE, PixelData=bytes(8192), ImageComments="ä" * 3, SpecificCharacterSet="ISO_IR 192"
    )
    assert check(data)
    row = plain_row(data)
    assert (row["rows"], row["transfer_syntax_uid"]) == (64, syntax)
    assert json.loads(row["tags"])["00204000"] == {"vr": "LT", "Value": ["äää"]}


def test_a_file_without_preamble_goes_by_way_of_pydicom(tmp_path):
    data = sound(preamble=False, Modality="CT")
    with pytest.raises(OddFileError):
        plain_row(data)
    assert scan_bytes(data)["modality"] == "CT"
    (tmp_path / "it").write_bytes(data)
    assert scan_file(tmp_path / "it") == scan_bytes(data)


@pytest.mark.parametrize(
    ("cut", "reason"), [(-1, "truncated"), (-8300, "truncated"), (100, "not_dicom"), (0, "not_dicom")]
)
def test_what_is_cut_off_is_refused_alike(tmp_path, cut, reason):
    data = sound(**IMAGE, PixelData=bytes(8192))[:cut]
    (tmp_path / "it").write_bytes(data)
    for read in (lambda: scan_bytes(data), lambda: scan_file(tmp_path / "it")):
        with pytest.raises(ItemError) as caught:
            read()
        assert caught.value.reason == reason == by_pydicom(data)


def test_more_pixels_announced_than_there_are_is_refused():
    data = sound(**{**IMAGE, "Rows": 65}, PixelData=bytes(8192))
    with pytest.raises(ItemError, match="pixels"):
        scan_bytes(data)


class Counted:
    """Ranges of some bytes; counts what is read, and where."""

    def __init__(self, data: bytes) -> None:
        self.data, self.ranges = data, []

    def __call__(self, offset: int, length: int) -> bytes:
        self.ranges.append((offset, length))
        return self.data[offset : offset + length]

    @property
    def count(self) -> int:
        return sum(length for _, length in self.ranges)

    def within(self, start: int, stop: int) -> int:
        return sum(max(0, min(stop, at + length) - max(start, at)) for at, length in self.ranges)


def test_native_pixels_are_never_read():
    data = sound(**{**IMAGE, "Rows": 4096, "Columns": 512}, PixelData=bytes(2**22))
    reader = Counted(data)
    row = scan_file(reader, size=len(data))
    assert exact(row) == exact(by_pydicom(data))
    assert reader.ranges == [(0, READ_AHEAD)]


def test_what_lies_behind_the_pixels_is_read():
    behind = sound(
        **{**IMAGE, "Rows": 4096, "Columns": 512}, PixelData=bytes(2**22), DataSetTrailingPadding=bytes(40)
    )
    reader = Counted(behind)
    row = scan_file(reader, size=len(behind))
    assert exact(row) == exact(by_pydicom(behind))
    assert "FFFCFFFC" in json.loads(row["tags"])
    assert reader.count == READ_AHEAD + 52


@pytest.mark.parametrize("kilobytes", [15, 17, 40, 300])
def test_a_long_header_is_read_and_no_more(kilobytes):
    text = "x" * kilobytes * 1000
    data = sound(**{**IMAGE, "Rows": 4096, "Columns": 512}, PixelData=bytes(2**22), TextValue=text)
    reader = Counted(data)
    row = scan_file(reader, size=len(data))
    assert exact(row) == exact(by_pydicom(data))
    assert reader.count <= 1.5 * row["pixel_offset"] + 2 * READ_AHEAD
    assert reader.within(row["pixel_offset"], len(data)) <= max(READ_AHEAD, row["pixel_offset"] // 2)


def test_a_long_sequence_of_undefined_length_is_read_by_and_by():
    items = [Dataset() for _ in range(400)]
    for number, item in enumerate(items):
        item.ReferencedSOPInstanceUID = f"1.2.3.{number}"
        item.is_undefined_length_sequence_item = True
    dataset = sound(
        **{**IMAGE, "Rows": 4096, "Columns": 512}, PixelData=bytes(2**22), SourceImageSequence=items
    )
    reader = Counted(dataset)
    row = scan_file(reader, size=len(dataset))
    assert exact(row) == exact(by_pydicom(dataset))
    assert reader.within(row["pixel_offset"], len(dataset)) <= READ_AHEAD


def test_of_encapsulated_pixels_only_the_lengths_are_read():
    frames = [bytes([0xFF, 0x4F]) + bytes(100_000) + b"\xff\xd9" for _ in range(5)]
    data = sound(JPEG2000Lossless, **{**IMAGE, "NumberOfFrames": 5}, PixelData=encapsulate(frames))
    reader = Counted(data)
    row = scan_file(reader, size=len(data))
    assert exact(row) == exact(by_pydicom(data))
    assert row["pixel_length"] is None
    assert reader.within(row["pixel_offset"], len(data)) <= READ_AHEAD + 8 * 6
    assert [length for _, length in reader.ranges[1:]] == [8] * 5


def test_a_reader_needs_a_size():
    with pytest.raises(TypeError, match="size"):
        scan_file(lambda offset, length: b"")


def test_an_odd_file_over_the_limit_is_not_read_whole():
    data = sound(preamble=False, **{**IMAGE, "Rows": 4096, "Columns": 512}, PixelData=bytes(2**22))
    reader = Counted(data)
    with pytest.raises(ItemError) as caught:
        scan_file(reader, size=len(data), limit=2**20)
    assert caught.value.reason == "too_large"
    assert reader.count == READ_AHEAD


def nested(depth: int) -> bytes:
    item = b""
    for _ in range(depth):
        head = struct.pack("<HHI", 0xFFFE, 0xE000, len(item))
        item = element(0x00081140, "SQ", head + item, (False, True))
    return item


@pytest.mark.parametrize("depth", [3, 62, 64, 66, 500])
def test_depth_is_bounded_as_everywhere(depth):
    data = wrapped(
        ExplicitVRLittleEndian,
        b"".join(element(tag, "UI", b"1.2.3\0", (False, True)) for tag in (0x00080016, 0x00080018))
        + nested(depth)
        + b"".join(element(tag, "UI", b"1.2.3\0", (False, True)) for tag in (0x0020000D, 0x0020000E)),
    )
    assert check(data) == (depth <= 64)


def test_elements_are_bounded_as_everywhere():
    many = b"".join(
        struct.pack("<HH2sH", 0x0009 + 2 * (n >> 15), 0x1000 + (n & 0x7FFF), b"CS", 0) for n in range(500_001)
    )
    data = wrapped(
        ExplicitVRLittleEndian,
        b"".join(element(tag, "UI", b"1.2.3\0", (False, True)) for tag in (0x00080016, 0x00080018)) + many,
    )
    with pytest.raises(OddFileError):
        plain_row(data)


@pytest.mark.parametrize("tag", [0x00000000, 0x00000100, 0x00020010])
def test_commands_and_meta_information_in_an_item_are_left_out_as_everywhere(tag):
    encoding = (False, True)
    inner = element(tag, "UL", b"\1\0\0\0", encoding) + element(0x00080104, "LO", b"meaning ", encoding)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    body = element(0x00080016, "UI", b"1.2.3\0", encoding) + element(0x00080018, "UI", b"1.2.4\0", encoding)
    body += element(0x0020000D, "UI", b"1.2.5\0", encoding) + element(0x0020000E, "UI", b"1.2.6\0", encoding)
    data = wrapped(ExplicitVRLittleEndian, body + element(0x00540016, "SQ", item, encoding))
    assert not check(data)
    assert json.loads(scan_bytes(data)["tags"])["00540016"]["Value"] == [
        {"00080104": {"Value": ["meaning"], "vr": "LO"}}
    ]
