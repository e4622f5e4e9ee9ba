"""Structures that cannot be: found before memory is spent, and at every depth."""

from __future__ import annotations

import base64
import struct
import time
import tracemalloc
from io import BytesIO

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from voxlake.core.errors import ItemError
from voxlake.dicom import guard, read
from voxlake.dicom.nodes import MAX_DEPTH
from voxlake.dicom.read import read_dataset
from voxlake.dicom.scan import scan
from voxlake.testing.hostile import (
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    ITEM_END,
    MIB,
    SEQUENCE_END,
    UNDEFINED,
    CtFiles,
    element,
    inflating,
    item,
    nested,
    wrapped,
)

WAYS = [(implicit, undefined) for implicit in (False, True) for undefined in (False, True)]


def reason_of(data: bytes) -> str:
    with pytest.raises(ItemError) as caught:
        read_dataset(data)
    return caught.value.reason


def with_sequence(content: bytes, *, implicit: bool = False) -> bytes:
    syntax = IMPLICIT if implicit else EXPLICIT
    return CtFiles().file({0x00081140: element(0x00081140, "SQ", content, implicit=implicit)}, syntax=syntax)


@pytest.mark.parametrize(("implicit", "undefined"), WAYS)
def test_the_deepest_nesting_that_is_read(implicit, undefined):
    def file(depth: int) -> bytes:
        content = nested(depth, implicit=implicit, undefined=undefined)
        return CtFiles().file({0x00081140: content}, syntax=IMPLICIT if implicit else EXPLICIT)

    level, depth = read_dataset(file(MAX_DEPTH)), 0
    while 0x00081140 in level:
        depth += 1
        level = level[0x00081140].value[0]
    assert depth == MAX_DEPTH
    assert reason_of(file(MAX_DEPTH + 1)) == "parse_error"


@pytest.mark.parametrize(("implicit", "undefined"), WAYS)
def test_deep_nesting_costs_neither_time_nor_memory(implicit, undefined):
    data = CtFiles().file({0x00081140: nested(50_000, implicit=implicit, undefined=undefined)})
    tracemalloc.start()
    start = time.perf_counter()
    assert reason_of(data) == "parse_error"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * MIB
    assert time.perf_counter() - start < 2


def test_the_number_of_elements_at_all_depths_is_capped(monkeypatch):
    monkeypatch.setattr(guard, "MAX_ELEMENTS", 100)
    many = element(0x00081030, "LO", b"abcd")
    assert len(read_dataset(with_sequence(item(many * 60))).ReferencedImageSequence) == 1
    for content in (item(many * 100), item(many) * 50, item(b"") * 100):
        assert reason_of(with_sequence(content)) == "parse_error"
    coded = element(0x7FE00010, "OB", length=UNDEFINED) + item(b"") * 100 + SEQUENCE_END
    assert reason_of(CtFiles().file(pixels=coded)) == "parse_error"


def test_text_without_end_is_too_large_and_bulk_data_are_not(monkeypatch):
    monkeypatch.setattr(guard, "MAX_HEADER_BYTES", 1000)
    assert reason_of(CtFiles().file({0x00081030: element(0x00081030, "UT", b"a" * 2000)})) == "too_large"
    text = element(0x00081030, "ST", b"a" * 400)
    assert reason_of(with_sequence(item(text) * 3)) == "too_large"
    assert reason_of(
        with_sequence(item(element(0x00081030, "ST", b"a" * 400, implicit=True)) * 3, implicit=True)
    )
    bulk = CtFiles().file({0x00420011: element(0x00420011, "OB", bytes(2000))})
    assert len(read_dataset(bulk).EncapsulatedDocument) == 2000


@pytest.mark.parametrize(("implicit", "undefined"), WAYS)
def test_a_cut_anywhere_inside_a_sequence_is_truncated(implicit, undefined):
    files = CtFiles()
    before = files.elements(implicit=implicit)
    head = b"".join(before[tag] for tag in sorted(before) if tag < 0x00300000)
    leaf = element(0x00081150, "UI", b"1.2.840", implicit=implicit)
    content = item(leaf, UNDEFINED if undefined else None) + (ITEM_END if undefined else b"")
    for _ in range(3):
        length = UNDEFINED if undefined else None
        inner = element(0x00081140, "SQ", content, length=length, implicit=implicit)
        inner += SEQUENCE_END if undefined else b""
        content = item(inner, length) + (ITEM_END if undefined else b"")
    sequence = element(0x300A00B0, "SQ", content, length=UNDEFINED if undefined else None, implicit=implicit)
    sequence += SEQUENCE_END if undefined else b""
    data = wrapped(head + sequence, IMPLICIT if implicit else EXPLICIT)
    start = len(data) - len(sequence)
    assert len(read_dataset(data).BeamSequence) == 1
    assert {reason_of(data[:cut]) for cut in range(start + 1, len(data))} == {"truncated"}


def test_an_element_over_the_end_of_its_item_is_a_parse_error():
    good = element(0x00081030, "LO", b"abcd")
    lying = element(0x00081030, "LO", b"abcd", length=40)
    assert reason_of(with_sequence(item(lying) + item(good) * 5)) == "parse_error"
    assert reason_of(with_sequence(item(good, 400))) == "parse_error"
    assert reason_of(with_sequence(item(good + b"\x08\0\x10"))) == "parse_error"


@pytest.mark.parametrize("between", [b"\x08\0\x30\x10LO\0\0", ITEM_END, element(0x00081030, "LO", b"ab")])
def test_only_items_stand_in_a_sequence(between):
    assert reason_of(with_sequence(item(b"") + between + item(b""))) == "parse_error"


def test_items_and_delimiters_outside_of_sequences():
    for tail in (item(b""), item(b"abcdefgh"), ITEM_END, SEQUENCE_END):
        assert reason_of(CtFiles().file(tail=tail)) == "parse_error"


def test_delimiters_that_are_not_needed_are_no_fault():
    leaf = element(0x00081030, "LO", b"abcd")
    for content in (item(leaf + ITEM_END), item(leaf) + SEQUENCE_END):
        (found,) = read_dataset(with_sequence(content)).ReferencedImageSequence
        assert found.StudyDescription == "abcd"


def test_unknown_content_is_implicit_inside_explicit():
    inner = element(0x00081140, "SQ", item(element(0x00081150, "UI", b"1.2", implicit=True)), implicit=True)
    unknown = element(0x00091001, "UN", length=UNDEFINED) + item(inner) + SEQUENCE_END
    result = read_dataset(CtFiles().file({0x00091001: unknown}))
    assert result[0x00091001].value[0].ReferencedImageSequence[0].ReferencedSOPClassUID == "1.2"
    cut = element(0x00091001, "UN", length=UNDEFINED) + item(inner[:-3], len(inner)) + SEQUENCE_END
    assert reason_of(CtFiles().file({0x00091001: cut})) == "parse_error"


def test_big_endian_sequences_are_walked_too(make):
    code = Dataset()
    code.CodeValue = "12345678"
    dataset = make(np.zeros((2, 2), ">u2"), ProcedureCodeSequence=[code])
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    data = stream.getvalue()
    assert read_dataset(data).ProcedureCodeSequence[0].CodeValue == "12345678"
    place = data.index(b"\xff\xfe\xe0\x00") + 4
    assert reason_of(data[:place] + b"\xff\xff\xff\xfe" + data[place + 4 :]) == "parse_error"


@pytest.mark.parametrize("head", [b"UT\0\0\xff\xff\xff\xff", b"\xff\xff\xff\xff"])
def test_an_undefined_length_is_for_sequences_and_bulk_data(head):
    # The second has a VR that is none, so it is taken for implicit, and US by the dictionary.
    value = head + b"\xff" * 8 + SEQUENCE_END
    head = struct.pack("<HH", 0x0028, 0x0102)
    data = CtFiles().file({0x00280102: head + value})
    assert reason_of(data) == "parse_error"


def test_a_file_of_zeros_behind_the_data_set_is_no_fault():
    assert read_dataset(CtFiles().file(tail=bytes(4001))).Rows == 4


def test_three_gigabytes_in_three_megabytes(monkeypatch):
    data = inflating(CtFiles(), 0x00091001, "OB", 64)
    assert len(data) < 100_000
    assert len(read_dataset(data)[0x00091001].value) == 64 * MIB
    monkeypatch.setattr(read, "INFLATED_LIMIT", 8 * MIB)
    tracemalloc.start()
    assert reason_of(data) == "parse_error"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * MIB


def test_every_deflated_syntax_is_inflated():
    data = inflating(CtFiles(), 0x00091001, "OB", 16)
    assert DeflatedExplicitVRLittleEndian == DEFLATED
    old = element(0x00020010, "UI", DEFLATED.encode())
    new = element(0x00020010, "UI", b"1.2.840.10008.1.2.4.95")
    assert len(old) == len(new)
    assert len(read_dataset(data.replace(old, new))[0x00091001].value) == 16 * MIB


def test_meta_information_is_walked_as_well():
    deep = element(0x00020102, "SQ", length=UNDEFINED) + nested(500, implicit=False, undefined=True)
    data = bytes(128) + b"DICM" + deep
    assert reason_of(data) == "parse_error"
    private = element(0x00020102, "OB", length=2**32 - 2)
    assert reason_of(bytes(128) + b"DICM" + private) == "truncated"


# Found by fuzzing: a sequence that ends early is met when its value is touched; pydicom calls that OSError.
SHORT_SEQUENCE = bytes(128) + base64.b64decode(
    "RElDTQIAAABVTAQAugAAAAIAAQBPQgAAAgAAAAABAgACAFVJFAAxLjIuODQwLjEwMDA4LjEuMy4xMAIAAwBVSTAAMS4yLjI3"
    "Ni4wLjcyMzAwMTAuMy4xLjQuMC4zMTkwNi4xMzU5OTQwODQ2Ljc4MTg3AgAQAFVJFAAxLjIuODQwLjEwMDA4LjEuMi4xAAIA"
    "EgBVSRwAMS4yLjI3Ni4wLjcyMzAwMTAuMy4wLjMuNi4yAAIAEwBTSBAAT0ZGSVNfRENNVEtfMzYyIAQAMBFDUwwAUFlESUNP"
    "TV9URVNUBAAAElVMBAAAAAAABAACElVMBAAAAAAABAASElVTAgAAAAQAIBI/U1EAAAAAAAA="
)


def test_a_sequence_that_ends_early_costs_no_more_than_its_element():
    row = scan(read_dataset(SHORT_SEQUENCE))
    assert '"00041220":{"error":"unreadable","vr":"UN"}' in row["tags"]
    assert '"00041130":{"Value":["PYDICOM_TEST"]' in row["tags"]
