"""The fast reader against the tolerant one (pydicom) on every file at hand, and its writer against both."""

from __future__ import annotations

import importlib.metadata
import warnings
from datetime import date
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from voxlake.core.errors import ItemError
from voxlake.dicom.nodes import Branch, Encoding, Item, Leaf
from voxlake.dicom.parse_bytes import OddFileError, ParsedFile, parse_file
from voxlake.dicom.parse_dataset import parse_dataset
from voxlake.dicom.write_nodes import write_file
from voxlake.privacy.profile import load_safe_private

FOLDER = Path(pydicom.__file__).parent / "data"
# What the fast reader leaves to the tolerant one: damaged, without meta information, or an index of a medium.
ODD = {
    "SC_rgb_jpeg.dcm",
    "dx_image.dcm",
    "emri_small_jpeg_2k_lossless_too_short.dcm",
    "meta_missing_tsyntax.dcm",
    "MR_truncated.dcm",
    "nested_priv_SQ.dcm",
    "no_meta_group_length.dcm",
    "rtplan_truncated.dcm",
    "winter.dcm",
}


def private_vr(creator, tag, _stated):
    return None if creator is None else load_safe_private().vr(creator, tag)


def plain(item: Item, *, encodings: bool = True):
    # pydicom guesses how an item without elements is encoded.
    return (
        item.encoding if encodings and item.nodes else None,
        [
            (node.tag, [plain(child, encodings=encodings) for child in node.items], node.creator)
            if isinstance(node, Branch)
            else tuple(node)
            for node in item.nodes
        ],
    )


def tolerant(data: bytes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return parse_dataset(dcmread(BytesIO(data)), private_vr)


def rewritten(parsed: ParsedFile) -> bytes:
    return write_file(
        parsed.syntax, [node for node in parsed.meta.nodes if node.tag != 0x00020000], parsed.root
    )


def check(data: bytes) -> bool:
    try:
        parsed = parse_file(data, private_vr)
    except OddFileError:
        return False
    assert plain(parsed.root) == plain(tolerant(data))
    again = parse_file(rewritten(parsed), private_vr).root
    # The content of UN is implicit, and is written as a sequence in the encoding of its file.
    assert plain(again, encodings=False) == plain(parsed.root, encodings=False)
    return True


def packaged_files() -> list[Path]:
    extra = importlib.metadata.files("pydicom-data") or []
    found = [Path(str(file.locate())) for file in extra] + list(FOLDER.rglob("*"))
    return sorted(path for path in found if path.is_file() and path.suffix not in (".py", ".pyc"))


def test_packaged_files_give_the_same_nodes():
    odd, same = set(), 0
    for path in packaged_files():
        data = path.read_bytes()
        if data[128:132] != b"DICM" or "DICOMDIR" in path.name:
            continue
        if check(data):
            same += 1
        else:
            odd.add(path.name)
    assert odd <= ODD
    assert same > 120


@pytest.mark.realdata
def test_real_files_give_the_same_nodes(realdata):
    # One in seven of the 1,400: all of them agree, and take a minute.
    files = sorted(realdata.rglob("*.dcm"))[::7]
    results = [check(path.read_bytes()) for path in files]
    assert len(results) > 150
    assert all(results)


TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\\\x7f"), max_size=20)
VALUES = st.one_of(
    st.tuples(st.just("StudyDescription"), TEXTS),
    st.tuples(st.just("PatientComments"), TEXTS),
    st.tuples(st.just("Rows"), st.integers(0, 65535)),
    st.tuples(st.just("SliceThickness"), st.integers(0, 999)),
    st.tuples(st.just("DiffusionBValue"), st.floats(0, 1e6)),
    st.tuples(
        st.just("StudyDate"), st.dates(date(1900, 1, 1), date(2100, 1, 1)).map(lambda day: f"{day:%Y%m%d}")
    ),
    st.tuples(st.just("ICCProfile"), st.binary(max_size=9).map(lambda data: data * 2)),
    st.tuples(st.just("FrameIncrementPointer"), st.just(0x00181063)),
)
TREES = st.recursive(
    st.tuples(st.lists(VALUES, max_size=4), st.just([]), st.booleans()),
    lambda inner: st.tuples(
        st.lists(VALUES, max_size=4),
        st.lists(
            st.tuples(
                st.sampled_from(["ContentSequence", "ReferencedImageSequence", "SourceImageSequence"]),
                st.lists(inner, max_size=3),
                st.booleans(),
            ),
            max_size=2,
        ),
        st.booleans(),
    ),
    max_leaves=10,
)


def dataset_of(tree) -> Dataset:
    values, sequences, private = tree
    dataset = Dataset()
    for keyword, value in values:
        setattr(dataset, keyword, value)
    for keyword, items, undefined in sequences:
        children = [dataset_of(child) for child in items]
        for child in children:
            child.is_undefined_length_sequence_item = undefined
        setattr(dataset, keyword, Sequence(children))
        dataset[keyword].is_undefined_length = undefined
    if private:
        dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "1000")
        unsafe = dataset.private_block(0x0029, "SOMEBODY", create=True)
        unsafe.add_new(0x01, "LO", "unread")
        unsafe.add_new(0x02, "SQ", Sequence([Dataset()]))
    return dataset


SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]


@settings(max_examples=60, deadline=None)
@given(TREES, st.sampled_from(SYNTAXES))
def test_generated_files_give_the_same_nodes(tree, syntax):
    dataset = dataset_of(tree)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3"
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    data = stream.getvalue()
    assert check(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        back = dcmread(BytesIO(rewritten(parse_file(data, lambda _creator, _tag, _vr: ""))))
        assert back == dcmread(BytesIO(data))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_are_odd_or_the_same(data):
    dataset = dataset_of(data.draw(TREES))
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = data.draw(st.sampled_from(SYNTAXES[:2]))
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    damaged = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(132, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = parse_file(bytes(damaged), private_vr)
    except OddFileError:
        return
    try:
        other = plain(tolerant(bytes(damaged)))
    except (
        ItemError,
        ValueError,
        KeyError,
        TypeError,
        OSError,
        EOFError,
        AttributeError,
        NotImplementedError,
    ):
        # The strict reader may know more than pydicom, but what it made must survive its own writer.
        other = None
    if other is not None:
        assert [node[0] for node in plain(parsed.root)[1]] == [node[0] for node in other[1]]
    again = parse_file(rewritten(parsed), private_vr).root
    assert plain(again, encodings=False) == plain(parsed.root, encodings=False)


@pytest.mark.parametrize("value", [b"\1\0\0\0x", b"\4\0\0\0xx", b"\2\0\0\0xxJUNK", b"\0\0"])
def test_encapsulated_pixels_that_are_no_whole_fragments_are_refused(value):
    encoding = Encoding(False, True, ("latin_1",))
    pixels = Leaf(0x7FE00010, "OB", b"\xfe\xff\0\xe0" + value, undefined=True)
    with pytest.raises(ItemError, match="whole fragments"):
        write_file(JPEGBaseline8Bit, [], Item(encoding, [pixels]))


@pytest.mark.parametrize("vr", ["OB", "OW", "OF", "OD", "OL", "OV"])
def test_bytes_of_undefined_length_are_read_under_any_tag_and_vr(vr):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3.4"
    dataset.add_new(0x00420011, "OB", encapsulate([b"a document", b"in two parts"], has_bot=False))
    dataset[0x00420011].is_undefined_length = True
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    data = stream.getvalue().replace(b"\x42\0\x11\0OB", b"\x42\0\x11\0" + vr.encode())
    assert check(data)
    leaf = parse_file(data).root.leaf(0x00420011)
    assert leaf is not None
    assert leaf.undefined
    assert b"a document" in leaf.value
