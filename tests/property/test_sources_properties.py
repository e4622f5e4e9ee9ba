from __future__ import annotations

import gzip
import io
import os
import struct
import tempfile
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from voxlake.core.errors import ItemError
from voxlake.sources.images import read_image, scan_image, sniff
from voxlake.sources.item import BrokenItem
from voxlake.sources.mapping import load_mapping
from voxlake.sources.open import open_source

PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/\0\\"), min_size=1, max_size=8).filter(
    lambda part: part not in {".", ".."} and len(part.encode()) < 200
)
TREES = st.dictionaries(
    st.lists(PARTS, min_size=1, max_size=4).map("/".join), st.binary(min_size=1, max_size=40), max_size=12
)
LIMIT = 1 << 20


@settings(max_examples=50, deadline=None)
@given(TREES)
def test_every_file_of_a_folder_is_an_item_exactly_once(tree):
    with tempfile.TemporaryDirectory() as folder:
        written = {}
        for name, data in tree.items():
            path = Path(folder, name)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            except OSError:  # one name is the folder of another
                continue
            written[name] = data
        items = list(open_source(folder))
        assert [item.name for item in items] == [item.name for item in open_source(folder)]
        plain = {i.name: i.read(LIMIT) for i in items if not i.ignored and not isinstance(i, BrokenItem)}
        assert len(items) == len(written)
        assert plain == {name: written[name] for name in plain}


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.lists(PARTS, min_size=1, max_size=3).map("/".join),
        st.binary(min_size=1, max_size=3000),
        max_size=8,
    ),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.binary(max_size=20).filter(lambda data: b"PK" not in data),
)
def test_what_is_packed_comes_out(members, method, front):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members.items():
            file.writestr(zipfile.ZipInfo(name), data, method)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.zip")
        path.write_bytes(front + buffer.getvalue())
        items = list(open_source(path))
        assert [item.name for item in items] == sorted(f"a.zip/{name}" for name in members)
        assert {item.name[6:]: item.read(LIMIT) for item in items} == members


def outcome(function, *arguments):
    """What a function returns, or the reason why it does not."""
    try:
        return function(*arguments), None
    except ItemError as error:
        return None, error.reason


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.dcm", bytes(range(256)) * 4)
        file.writestr("b/c.dcm", b"stored", zipfile.ZIP_STORED)
    return buffer.getvalue()


ARCHIVE = archive()
EDITS = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=6)


def damaged(data: bytes, edits: list[tuple[int, int]], keep: float) -> bytes:
    changed = bytearray(data)
    for place, value in edits:
        changed[place % len(changed)] = value
    return bytes(changed[: max(1, int(len(changed) * keep))])


@settings(max_examples=300, deadline=None)
@given(EDITS, st.sampled_from([1.0, 1.0, 1.0, 0.97, 0.5]))
def test_a_damaged_archive_never_gives_wrong_bytes_nor_another_error(edits, keep):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.zip")
        path.write_bytes(damaged(ARCHIVE, edits, keep))
        for item in open_source(path):
            data, reason = outcome(item.read, LIMIT)
            assert reason in {None, "archive_member", "archive_limit", "too_large", "empty_file"}
            assert data in {None, bytes(range(256)) * 4, b"stored"}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF))
@example(0xFFFFFFFF, 0xFFFFFFFF)
def test_no_size_in_the_directory_makes_a_member_larger_than_the_limit(packed, size):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(3 << 20))
    data = bytearray(buffer.getvalue())
    struct.pack_into("<2I", data, data.index(b"PK\x01\x02") + 20, packed, size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.zip")
        path.write_bytes(data)
        for item in open_source(path):
            with pytest.raises(ItemError):
                item.read(LIMIT)


def pictures() -> list[tuple[str, bytes]]:
    grey = np.random.default_rng(0).integers(0, 256, (9, 11), dtype=np.uint8)
    image = Image.fromarray(grey)
    deep = Image.fromarray(grey.astype(np.uint16) * 99)
    images = [
        ("png", image),
        ("png", image.convert("P")),
        ("png", deep),
        ("jpeg", image),
        ("jpeg", image.convert("CMYK")),
    ]
    found = []
    for kind, image in images:
        buffer = io.BytesIO()
        image.save(buffer, kind.upper())
        found.append((kind, buffer.getvalue()))
    nifti = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4)).to_bytes()
    return [*found, ("nifti", nifti), ("nifti", gzip.compress(nifti))]


PICTURES = pictures()


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(PICTURES), EDITS, st.sampled_from([1.0, 1.0, 0.9, 0.3]))
def test_damaged_images_raise_item_errors_only(picture, edits, keep):
    kind, data = picture
    broken = damaged(data, edits, keep)
    sniff(broken)
    for function in (scan_image, read_image):
        _, reason = outcome(function, broken, kind)
        assert reason in {
            None,
            "decode_error",
            "truncated",
            "too_large",
            "geometry_none",
            "geometry_duplicates",
        }


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=400), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\x1f\x8b\x08"])
)
def test_any_bytes_can_be_sniffed_and_refused(data, front):
    everything = front + data
    kind = sniff(everything)
    for each in ("png", "jpeg", "nifti", "tiff", "nrrd"):
        with pytest.raises(ItemError):
            read_image(everything, each)
    assert kind in {None, "dicom", "png", "jpeg", "tiff"}


REAL = st.floats(-100, 100, width=32)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=3, max_size=3),
    st.lists(REAL, min_size=12, max_size=12),
    st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image]),
    st.booleans(),
)
def test_every_voxel_is_where_nibabel_puts_it(shape, numbers, maker, sheared):
    affine = np.vstack([np.reshape(numbers, (3, 4)), (0, 0, 0, 1)])
    if not sheared:
        affine[:3, :3] = np.linalg.qr(affine[:3, :3])[0] * (np.abs(affine[:3, 3]) + 0.1)
    norms = np.linalg.norm(affine[:3, :3], axis=0)
    assume(norms.min() > 1e-2 and abs(np.linalg.det(affine[:3, :3] / np.maximum(norms, 1e-9))) > 1e-3)
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    image = maker(values, affine)
    data = image.to_bytes()
    expected = maker.from_bytes(data)
    found = read_image(data, "nifti")
    index = np.array(list(np.ndindex(*shape)))
    world = nibabel.affines.apply_affine(expected.affine, index) * (-1, -1, 1)
    np.testing.assert_allclose(
        found.grid.index_to_world(index[:, ::-1]), world, rtol=0, atol=1e-9 * (1 + np.abs(world).max())
    )
    np.testing.assert_array_equal(found.numpy()[tuple(index[:, ::-1].T)], values[tuple(index.T)])
    columns = scan_image(data, "nifti")
    np.testing.assert_allclose(
        columns["frame_positions"], found.grid.index_to_world([(n, 0, 0) for n in range(shape[2])]).ravel()
    )


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30))
def test_a_mapping_answers_any_name(name):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "map.toml")
        path.write_text("[[rules]]\npattern = '^(?P<patient>[^/]*)/(?P<label>.*)$'")
        mapping = load_mapping(path)
    hints = mapping.hints(name)
    assert hints is None or hints.patient is None or "/" not in hints.patient


def test_reading_a_pipe_named_like_an_image_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "a.dcm")
    assert [item.ignored for item in open_source(tmp_path)] == ["ignored_system_file"]
