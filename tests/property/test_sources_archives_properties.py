"""Any members in any archive, in any pieces: the same names and bytes; no error but `ItemError`."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from voxlake.core.errors import ItemError
from voxlake.core.reasons import REASONS
from voxlake.sources.archive import ArchiveLimits
from voxlake.sources.archives import opened_archive
from voxlake.sources.item import Item
from voxlake.sources.streamed import streamed_items

LIMIT = 2**20
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/\\\r\n"), min_size=1, max_size=40).map(
    lambda text: f"m/{text}"
)
MEMBERS = st.dictionaries(NAMES, st.binary(min_size=1, max_size=2000), max_size=6)
LIMITS = ArchiveLimits(members=1000, total_bytes=2**24, member_bytes=2**20)


def tarred(members: dict[str, bytes], form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def contents(items: list[Item]) -> dict[str, bytes]:
    return {item.name.partition("/")[2]: item.read(LIMIT) for item in items if item.ignored is None}


def streamed(data: bytes, size: int) -> list[Item]:
    return list(streamed_items("s", (data[at : at + size] for at in range(0, len(data), size)), LIMITS))


@settings(max_examples=60, deadline=None)
@given(
    MEMBERS, st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]), st.integers(1, 3000), st.booleans()
)
def test_tar_streams_give_what_went_in(members, form, size, packed) -> None:
    data = tarred(members, form)
    found = streamed(gzip.compress(data) if packed else data, size)
    expected = {name: data for name, data in members.items() if not ignorable(name)}
    assert contents(found) == expected


@settings(max_examples=60, deadline=None)
@given(MEMBERS, st.integers(1, 3000))
def test_zip_streams_give_what_went_in(members, size) -> None:
    expected = {name: data for name, data in members.items() if not ignorable(name)}
    assert contents(streamed(zipped(members), size)) == expected


@settings(max_examples=80, deadline=None)
@given(
    MEMBERS,
    st.sampled_from(["tar", "tar.gz", "zip"]),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    st.integers(0, 10**6),
)
def test_damage_gives_items_that_fail(tmp_path_factory, members, kind, changes, cut) -> None:
    plain = zipped(members) if kind == "zip" else tarred(members, tarfile.PAX_FORMAT)
    data = bytearray(gzip.compress(plain) if kind == "tar.gz" else plain)
    for at, value in changes:
        data[at % len(data)] = value
    data = data[: len(data) - cut % (len(data) // 2)]
    path = Path(tmp_path_factory.getbasetemp()) / f"damaged.{kind}"
    path.write_bytes(bytes(data))
    every = [*opened_archive("a." + kind, str(path), len(data), LIMITS), *streamed(bytes(data), 700)]
    for item in every:
        try:
            assert len(item.read(LIMIT)) <= LIMIT
        except ItemError as error:
            assert error.reason in REASONS  # noqa: PT017 - either way is right


def ignorable(name: str) -> bool:
    file = name.rpartition("/")[2].lower()
    return file.startswith("._") or file.endswith(".lnk") or file in {".ds_store", "dicomdir"}
