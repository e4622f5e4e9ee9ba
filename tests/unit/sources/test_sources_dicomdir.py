"""The index of a medium as a source."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.fileset import FileSet

from voxlake.core.errors import ItemError
from voxlake.sources.dicomdir import DicomDirectory, IndexReader
from voxlake.sources.folder import FileItem
from voxlake.sources.open import open_source
from voxlake.testing.hostile import CtFiles

LIMIT = 2**24


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """pydicom's test medium: 31 images in folders of three patients."""
    index = Path(str(get_testdata_file("DICOMDIR")))
    target = tmp_path / "cd"
    shutil.copytree(index.parent, target)
    return target


def ids(path: Path) -> list[tuple[str, ...]]:
    return IndexReader()(FileItem(path.name, str(path)))


def reason(path: Path) -> str:
    with pytest.raises(ItemError) as caught:
        ids(path)
    return caught.value.reason


def test_files_come_in_the_order_of_the_records(medium: Path) -> None:
    source = open_source(medium / "DICOMDIR")
    assert isinstance(source, DicomDirectory)
    index, *found = source
    assert (index.name, index.ignored) == ("DICOMDIR", "ignored_system_file")
    files = FileSet(medium / "DICOMDIR")
    expected = [Path(one.path).relative_to(medium).as_posix() for one in files]
    files._stage["t"].cleanup()
    assert sorted(item.name for item in found) == sorted(expected)
    records = pydicom.dcmread(medium / "DICOMDIR").DirectoryRecordSequence
    named = ["/".join(one.ReferencedFileID) for one in records if "ReferencedFileID" in one]
    assert [item.name for item in found] == named
    assert found[0].read(LIMIT) == (medium / named[0]).read_bytes()


def test_files_that_are_not_named_are_no_part_of_it(medium: Path) -> None:
    (medium / "extra.dcm").write_bytes(CtFiles().file())
    assert "extra.dcm" not in {item.name for item in open_source(medium / "DICOMDIR")}
    assert "extra.dcm" in {item.name for item in open_source(medium)}


def test_a_missing_file_is_an_item_that_fails(medium: Path) -> None:
    first = list(open_source(medium / "DICOMDIR"))[1]
    (medium / first.name).unlink()
    again = {item.name: item for item in open_source(medium / "DICOMDIR")}
    with pytest.raises(ItemError) as caught:
        again[first.name].read(LIMIT)
    assert caught.value.reason == "unreadable_source"
    assert first.name not in caught.value.message


def test_upper_case_names_on_a_lower_case_medium(medium: Path) -> None:
    for path in sorted(medium.rglob("*"), key=lambda one: -len(one.parts)):
        if path.name != "DICOMDIR":
            path.rename(path.with_name(path.name.lower() + (";1" if path.is_file() else "")))
    found = [item for item in open_source(medium / "DICOMDIR") if item.ignored is None]
    assert found
    assert all(item.read(LIMIT) for item in found)


@pytest.mark.parametrize("parts", [["..", "secret"], ["/etc/passwd"], [".", "a"], ["link"]])
def test_names_that_lead_out_are_refused(tmp_path: Path, medium: Path, parts: list[str]) -> None:
    (tmp_path / "secret").write_bytes(CtFiles().file())
    (medium / "link").symlink_to(tmp_path / "secret")
    index = pydicom.dcmread(medium / "DICOMDIR")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for record in index.DirectoryRecordSequence:
            if "ReferencedFileID" in record:
                record["ReferencedFileID"].value = parts
        index.save_as(medium / "DICOMDIR")
    _, item = open_source(medium / "DICOMDIR")
    with pytest.raises(ItemError) as caught:
        item.read(LIMIT)
    assert caught.value.reason == "unreadable_source"


def test_records_out_of_use_and_repeated_ones(medium: Path) -> None:
    before = ids(medium / "DICOMDIR")
    index = pydicom.dcmread(medium / "DICOMDIR")
    images = [one for one in index.DirectoryRecordSequence if "ReferencedFileID" in one]
    images[0].RecordInUseFlag = 0
    images[2].ReferencedFileID = images[1].ReferencedFileID
    index.save_as(medium / "DICOMDIR")
    assert ids(medium / "DICOMDIR") == [before[1], *before[3:]]


def test_what_is_no_index(tmp_path: Path) -> None:
    path = tmp_path / "DICOMDIR"
    path.write_bytes(b"an index of the disc")
    assert reason(path) == "not_dicom"
    path.write_bytes(CtFiles().file())
    assert reason(path) == "parse_error"
    (item,) = open_source(path)
    with pytest.raises(ItemError) as caught:
        item.read(LIMIT)
    assert caught.value.reason == "parse_error"


@pytest.mark.parametrize(
    "name", ["DICOMDIR-implicit", "DICOMDIR-bigEnd", "DICOMDIR-nooffset", "DICOMDIR-reordered"]
)
def test_odd_indices_of_pydicom(name: str) -> None:
    path = Path(str(get_testdata_file(name)))
    assert ids(path)
    assert set(ids(path)) <= set(ids(path.parent / "DICOMDIR"))


def test_an_empty_index(tmp_path: Path) -> None:
    target = tmp_path / "DICOMDIR"
    shutil.copy(str(get_testdata_file("DICOMDIR-empty.dcm")), target)
    assert [item.ignored for item in open_source(target)] == ["ignored_system_file"]
