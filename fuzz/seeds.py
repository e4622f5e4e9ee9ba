"""Fill a corpus: small files of the real data, pydicom's test files, files made to do harm.

A corpus lies outside of the repository and is never committed: the real images are not ours to give away.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

import pydicom

from voxlake.testing.hostile import (
    IMPLICIT,
    JPEG,
    JPEG_2000,
    JPEG_LS,
    CtFiles,
    codestream,
    fragments,
    inflating,
    nested,
    nifti,
    zipped,
)

TARGETS = ("scan", "decode", "archives", "mapping", "policies", "deidentify")
_LARGEST = 8_000
_MOST = 60

_MAPPINGS = (
    (
        b"tunmatched = 'ignore'\nlabels = {NORMAL = 'normal'}\n[[rules]]\n"
        b"pattern = '(?:^|/)(?P<label>NORMAL|PNEUMONIA)/(?P<patient>person[0-9]+)_'\n"
        b"modality = 'DX'\nstudy = '{patient}-1'\n"
    ),
    b"cpath,patient,study,label:view,body_part\na/1.dcm,p1,s1,ap,CHEST\nb/*.dcm,p2,,,\n",
)
_POLICIES = (
    b'name = "a"\nprofile = "basic"\noptions = ["retain_uids", "clean_descriptors"]\nmax_shift_days = 10\n',
    (
        b'name = "b"\nprofile = "basic"\nmax_age = 89\n[[rules]]\n'
        b'keyword = "StudyDescription"\naction = "keep"\n'
        b'[[waivers]]\nmodality = "DX"\nreason = "looked at"\n'
    ),
    b'name = "none"\nprofile = "none"\n',
)


def _files(folders: Iterable[Path], suffixes: set[str]) -> Iterator[bytes]:
    for folder in folders:
        found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in suffixes]
        small = [path for path in found if path.stat().st_size <= _LARGEST]
        # Of a folder with thousands of pictures a few, from all over it.
        for path in small[:: max(1, len(small) // _MOST)]:
            yield path.read_bytes()


def _tarred(members: dict[str, bytes], form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _hostile() -> Iterator[bytes]:
    files = CtFiles()
    yield files.file()
    yield files.file(syntax=IMPLICIT)
    yield inflating(files, 0x00091001, "OB", 16)
    for implicit in (False, True):
        for undefined in (False, True):
            content = nested(5, implicit=implicit, undefined=undefined)
            yield files.file({0x00081140: content}, syntax=IMPLICIT if implicit else JPEG)
    for name, syntax in (("jpeg", JPEG), ("jls", JPEG_LS), ("j2k", JPEG_2000)):
        yield files.file(syntax=syntax, pixels=fragments(codestream(name, 4, 4)))


def seeds(target: str, data: Path) -> Iterator[bytes]:
    """Give the seeds of one target.

    Parameters
    ----------
    target : str
        One of `TARGETS`.
    data : Path
        Folder of the real data; may be absent.
    """
    tests = Path(pydicom.__file__).parent / "data" / "test_files"
    if target == "mapping":
        yield from _MAPPINGS
    elif target == "policies":
        yield from _POLICIES
    elif target == "archives":
        yield zipped({"a": b"1" * 50, "b/c.dcm": CtFiles().file(), "d": b""})
        yield zipped({"../x": b"1" * 500}, 0)
        for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            plain = _tarred({"a": b"1" * 50, "b/" * 80 + "c.dcm": CtFiles().file()}, form)
            yield plain
            yield from (pack(plain) for pack in (gzip.compress, bz2.compress, lzma.compress))
    else:
        yield from _hostile()
        yield from _files([tests, data], {".dcm", ""})
        if target == "decode":
            yield nifti((4, 4, 4), bytes(64))
            yield from _files([data], {".png", ".jpeg", ".jpg", ".nii", ".gz", ".nrrd", ".tif"})


def fill(target: str, corpus: Path, data: Path) -> int:
    """Write the seeds of one target into a folder, named by digest; returns how many."""
    corpus.mkdir(parents=True, exist_ok=True)
    count = 0
    for count, seed in enumerate(seeds(target, data), 1):  # noqa: B007 - the last count is the number
        (corpus / sha256(seed).hexdigest()[:16]).write_bytes(seed)
    return count


def main() -> None:
    """Fill the corpora of all targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    arguments = parser.parse_args()
    for target in TARGETS:
        fill(target, arguments.corpus / target, arguments.data)


if __name__ == "__main__":
    main()
