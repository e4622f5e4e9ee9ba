"""Files made to do harm: each ends with a reason code, or is stored as what it is, and nothing else happens.

All of them go through `ingest` with the caps of its workers. What the bytes are is written out by hand,
because no writer of DICOM makes them.
"""

from __future__ import annotations

import io
import os
import socket
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.quarantine import item_id
from voxlake.store.keys import LakeKey
from voxlake.store.packs import read_member
from voxlake.testing.hostile import (
    CT,
    EXPLICIT,
    IMPLICIT,
    ITEM_END,
    JPEG,
    JPEG_2000,
    JPEG_LS,
    MIB,
    RLE,
    SEQUENCE_END,
    UNDEFINED,
    CtFiles,
    codestream,
    element,
    fragments,
    inflating,
    item,
    nested,
    nifti,
    patched,
    picture_of,
    wrapped,
    zipped,
)

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("hostile")

PAYLOAD = b"MZ\x90\0EVIL-PAYLOAD"
SLIPS = ("../../evil.dcm", "/tmp/evil.dcm", "C:\\evil.dcm", "..\\..\\worse.dcm", "a/../../../evil.dcm")

Expected = dict[str, tuple[bytes, str]]
STORED = "stored"


def uids(make: CtFiles) -> Expected:
    bad = {
        "up": b"../../x", "nul": b"1.2\0.3", "newline": b"1.2\n.3", "slash": b"1/2", "back": b"..\\x",
        "long": b"1." * 32 + b"1", "sign": b"-1.2", "bytes": b"1.\xed\xb2\x80", "blank": b"1.2 3",
    }  # fmt: skip
    names = {"instance": 0x00080018, "study": 0x0020000D, "series": 0x0020000E}
    found = {
        f"uid-{kind}-{name}": (make.file({tag: element(tag, "UI", value)}), "invalid_uid")
        for kind, value in bad.items()
        for name, tag in names.items()
        if kind == "up" or name == "instance"
    }
    references = element(0x00081150, "UI", b"../../x") + element(0x00081155, "UI", b"../../../etc/x")
    found["uid-reference"] = (
        make.file({0x00081140: element(0x00081140, "SQ", item(references))}),
        STORED,
    )
    first = make.file()
    found["same-uid-1"], found["same-uid-2"] = (first, STORED), (first[:-1] + b"\x99", "uid_conflict")
    return found


def depths_and_numbers(make: CtFiles) -> Expected:
    found: Expected = {}
    for depth in (200, 50_000):
        for implicit in (False, True):
            for undefined in (False, True):
                ways = ("implicit" if implicit else "explicit", "undefined" if undefined else "defined")
                name = f"nested-{depth}-{'-'.join(ways)}"
                content = nested(depth, implicit=implicit, undefined=undefined)
                syntax = IMPLICIT if implicit else EXPLICIT
                found[name] = (make.file({0x00081140: content}, syntax=syntax), "parse_error")
    step = item(b"", UNDEFINED) + element(0x00081140, "SQ", length=UNDEFINED, implicit=True)
    opened = element(0x00091001, "UN", length=UNDEFINED) + step * 300 + (SEQUENCE_END + ITEM_END) * 300
    found["nested-in-unknown"] = (make.file({0x00091001: opened + SEQUENCE_END}), "parse_error")
    shallow = nested(20, implicit=False, undefined=True)
    found["nested-20"] = (make.file({0x00081140: shallow}), STORED)
    # Every odd group has 240 blocks; these tags lie in none that was reserved.
    many = {(0x0019 + 2 * (n // 60_000) << 16) + 0x1000 + n % 60_000: b"" for n in range(200_000)}
    found["elements-200,000"] = (make.file({tag: element(tag, "LO") for tag in many}), STORED)
    found["elements-600,000"] = (make.file({0x00091001: element(0x00091001, "LO") * 600_000}), "parse_error")
    items = element(0x00081140, "SQ", item(b"") * 600_000)
    found["items-600,000"] = (make.file({0x00081140: items}), "parse_error")
    return found


def lengths(make: CtFiles) -> Expected:
    def inside(content: bytes) -> dict[int, bytes]:
        return {0x00081140: element(0x00081140, "SQ", content)}

    text = element(0x00081030, "LO", b"abcd")
    four = 0xFFFFFFFE
    endless = element(0x00081030, "UT", b"abcd", length=four)
    negative = element(0x00081030, "UT", b"a", length=2**31)
    cut = item(element(0x00081150, "UI", CT.encode()), UNDEFINED)
    return {
        "length-4GB": (make.file(tail=element(0x7FE10010, "OB", b"ab", length=four)), "truncated"),
        "length-4GB-first": (make.file({0x00081030: endless}), "truncated"),
        "length-4GB-nested": (make.file(inside(item(endless))), "parse_error"),
        "length-4GB-item": (make.file(inside(item(text, four))), "parse_error"),
        "length-negative": (make.file({0x00081030: negative}), "truncated"),
        "length-odd": (make.file({0x00081030: element(0x00081030, "LO", length=3) + b"abc"}), STORED),
        "length-of-group": (make.file({0x00080000: element(0x00080000, "UL", b"\xf0\xff\xff\xff")}), STORED),
        "length-over-item": (
            make.file(inside(item(text)[:-4] + element(0x00081032, "LO", length=60))),
            "parse_error",
        ),
        "cut-in-nested": (make.file()[:-40] + element(0x7FDF1001, "SQ", length=UNDEFINED) + cut, "truncated"),
        "cut-in-defined": (
            make.file(tail=element(0x7FE10010, "SQ", item(text)[:-2], length=len(item(text)))),
            "truncated",
        ),
        "cut-in-head": (make.file()[:-24], "truncated"),
        "empty": (b"", "empty_file"),
    }  # fmt: skip


def structure(make: CtFiles) -> Expected:
    late = element(0x00081030, "LO", b"late")
    found = {
        "tags-twice": (make.file(tail=element(0x00100020, "LO", b"P2") * 3), STORED),
        "tags-out-of-order": (make.file(tail=late), STORED),
        "tag-ffff": (make.file(tail=element(0xFFFFFFFF, "LO", b"abcd")), STORED),
        "tag-item": (make.file(tail=item(b"abcd")), "parse_error"),
        "tag-item-end": (make.file(tail=ITEM_END + late), "parse_error"),
        "vr-wrong": (make.file({0x00280010: element(0x00280010, "PN", b"abc")}), STORED),
        "vr-blank": (make.file({0x00081030: element(0x00081030, "  ", b"abcd")}), "truncated"),
        "charset-unknown": (make.file(charset(b"ISO_IR 999")), STORED),
        "charset-escapes": (make.file(charset(b"ISO 2022 IR 6\\ISO 2022 IR 87")), STORED),
        "charset-none": (make.file(charset(b"")), STORED),
        "charset-rubbish": (make.file(charset(b"\xff\xfe\0\x1b")), "parse_error"),
    }
    for name, start in {
        "mz": b"MZ\x90\0",
        "elf": b"\x7fELF\2",
        "script": b"#!/bin/sh\n",
        "pdf": b"%PDF-1.4 ",
    }.items():
        found[f"preamble-{name}"] = (make.file(preamble=(start + PAYLOAD).ljust(128, b"\xcc")), STORED)
    private = element(0x00090010, "LO", b"EVIL")
    archive = zipped({"../../evil.exe": PAYLOAD}, zipfile.ZIP_STORED)
    for name, content in {"executable": PAYLOAD * 50, "zip": archive}.items():
        payload = {0x00090010: private, 0x00091001: element(0x00091001, "OB", content)}
        found[f"private-{name}"] = (make.file(payload), STORED)
    found["zip-behind"] = (make.file(preamble=b"PK\3\4") + archive, "truncated")
    return found


def charset(terms: bytes) -> dict[int, bytes]:
    name = b"\x1b$B\x1b(J\x1b$)C\xff\xff^\x1b\x1b"
    text = b"\x1b$B!!\x1b%G\xf0\x28\x8c\x28"
    return {
        0x00080005: element(0x00080005, "CS", terms),
        0x00081030: element(0x00081030, "LO", text),
        0x00100010: element(0x00100010, "PN", name),
    }


def pixels(make: CtFiles) -> Expected:
    whole = codestream("jpeg", 4, 4)
    open_ended = element(0x7FE00010, "OB", length=UNDEFINED) + item(b"")
    segments = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * 10
    large = {"rows": 65535, "columns": 65535}
    found = {
        "pixels-short": (make.file(pixels=element(0x7FE00010, "OB", bytes(10))), "truncated"),
        "pixels-cut": (make.file()[:-3], "truncated"),
        "pixels-none": (make.file(pixels=element(0x7FE00010, "OB")), "truncated"),
        "pixels-terabytes": (make.file(frames=2**31 - 1, **large), "truncated"),
        "frames-beyond-integers": (
            make.file({0x00280008: element(0x00280008, "IS", b"1e300")}),
            "decode_error",
        ),
        "frames-private-syntax": (
            make.file({0x00280008: element(0x00280008, "IS", b"9" * 20)}, syntax="1.2.840.113619.5.2"),
            "decode_error",
        ),
        "coded-no-delimiter": (make.file(syntax=JPEG, pixels=fragments(whole, end=b"")), "truncated"),
        "coded-few-frames": (make.file(syntax=JPEG, frames=3, pixels=fragments(whole)), "truncated"),
        "coded-cut": (make.file(syntax=JPEG, pixels=fragments(whole[:-2])), "truncated"),
        "coded-cut-fragment": (make.file(syntax=JPEG, pixels=open_ended + item(b"abcd", 1000)), "truncated"),
        "rle-bomb": (make.file(syntax=RLE, pixels=fragments(segments), **large), "decode_error"),
        "rle-short": (make.file(syntax=RLE, rows=999, columns=999, pixels=fragments(segments)), "truncated"),
        "jpeg-short": (make.file(syntax=JPEG, rows=9999, columns=9999, pixels=fragments(whole)), "truncated"),
        "j2k-bomb-31-bits": (
            make.file(syntax=JPEG_2000, pixels=fragments(codestream("j2k", 2**31, 2**31))),
            "decode_error",
        ),
    }
    for name, syntax in (("jpeg", JPEG), ("jls", JPEG_LS), ("j2k", JPEG_2000)):
        coded = fragments(codestream(name, 65535, 65535))
        found[f"{name}-bomb"] = (make.file(syntax=syntax, pixels=coded, **large), "decode_error")
        found[f"{name}-bomb-hidden"] = (make.file(syntax=syntax, pixels=coded), "decode_error")
    return found


def bombs(make: CtFiles) -> Expected:
    zeros = zlib.compress(bytes(MIB))
    return {
        "deflated-to-320MB": (inflating(make, 0x00091001, "OB", 320), STORED),
        "deflated-text-320MB": (inflating(make, 0x0040A160, "UT", 320), "too_large"),
        "deflated-to-3GB": (inflating(make, 0x00091001, "OB", 3072), "parse_error"),
        "deflated-cut": (inflating(make, 0x00091001, "OB", 16)[:-30], "truncated"),
        "large.png": (picture_of(60_000, 60_000, zeros), "decode_error"),
        "little.png": (picture_of(8_000, 8_000, zeros), "truncated"),
        "large.jpg": (codestream("jpeg", 65535, 65535), "decode_error"),
        "little.jpg": (codestream("jpeg", 8000, 8000), "truncated"),
        "cut.jpg": (codestream("jpeg", 16, 16)[:-2], "truncated"),
        "announces-4GB.nii.gz": (nifti((1500, 1500, 1500), bytes(99)), "truncated"),
        "announces-27TB.nii.gz": (nifti((30_000, 30_000, 30_000), bytes(99)), "too_large"),
        "goes-on.nii.gz": (nifti((4, 4, 4), bytes(64 * MIB)), "too_large"),
        "cut.nii.gz": (nifti((40, 40, 40), os.urandom(64_000))[:-2000], "truncated"),
    }


def archives(make: CtFiles, folder: Path) -> dict[str, str]:
    """Write archives; what becomes of their members."""
    (folder / "slips.zip").write_bytes(zipped({name: make.file() for name in SLIPS}))
    found = {f"slips.zip/{name}".replace("\\", "/"): STORED for name in SLIPS}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("inner.zip", zipped({"deep.dcm": make.file()}))
        archive.writestr("good.dcm", make.file())
    (folder / "odd.zip").write_bytes(buffer.getvalue())
    found |= {
        "odd.zip/link": "unknown_format",
        "odd.zip/inner.zip": "unknown_format",
        "odd.zip/good.dcm": STORED,
    }
    (folder / "bomb.zip").write_bytes(zipped({"zeros": bytes(80 * MIB)}))
    found["bomb.zip"] = "archive_limit"
    forged = {
        # Field of the directory or of the local header, what it says now, what becomes of the member.
        "size-4GB": (b"PK\1\2", 24, 0xFFFFFFFE, "", "archive_limit"),
        "size-small": (b"PK\1\2", 24, 7, "/a.dcm", "archive_member"),
        "packed-4GB": (b"PK\1\2", 20, 0xFFFFFFFE, "/a.dcm", STORED),
        "offset": (b"PK\1\2", 42, 0xFFFFFFF0, "/a.dcm", "archive_member"),
        "checksum": (b"PK\1\2", 16, 1, "/a.dcm", "archive_member"),
        "local-size": (b"PK\3\4", 22, 0xFFFFFFFE, "/a.dcm", STORED),
    }
    for name, (signature, at, value, member, reason) in forged.items():
        (folder / f"forged-{name}.zip").write_bytes(
            patched(zipped({"a.dcm": make.file()}), signature, at, "<I", value)
        )
        found[f"forged-{name}.zip{member}"] = reason
    twice = zipped({"a": make.file(), "b": make.file()})
    second = twice.index(b"PK\1\2", twice.index(b"PK\1\2") + 4)
    overlapping = bytearray(twice)
    struct.pack_into("<I", overlapping, second + 42, 0)
    (folder / "overlap.zip").write_bytes(overlapping)
    return found | {"overlap.zip/a": STORED, "overlap.zip/b": "archive_member"}


def names_and_links(make: CtFiles, folder: Path, outside: Path) -> dict[str, str]:
    """Write files with odd names, links and things that are no files; what becomes of each."""
    odd = {
        b"new\nline.dcm": "new\nline.dcm",
        b"not-utf8-\xff\xfe.dcm": "not-utf8-\\xff\\xfe.dcm",
        b"..dcm": "..dcm",
        b"...": "...",
        b"..\\..\\up.dcm": "..\\..\\up.dcm",
        b"$(touch evil);`evil`.dcm": "$(touch evil);`evil`.dcm",
        b"l" * 250 + b".dcm": "l" * 250 + ".dcm",
    }
    for raw in odd:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + raw)).write_bytes(make.file())
    outside.write_bytes(make.file())
    (folder / "link-out.dcm").symlink_to(outside)
    (folder / "link-passwd").symlink_to("/etc/passwd")
    (folder / "link-up").symlink_to("..", target_is_directory=True)
    (folder / "link-loop").symlink_to("link-loop")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
    index = element(0x00041500, "CS", b"..\\..\\etc\\passwd")
    (folder / "DICOMDIR").write_bytes(wrapped(element(0x00041220, "SQ", item(index))))
    found = dict.fromkeys(odd.values(), STORED)
    found |= dict.fromkeys(("link-out.dcm", "link-passwd", "link-up", "link-loop"), "unreadable_source")
    return found | dict.fromkeys(("pipe", "s", "DICOMDIR"), "ignored_system_file")


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_symlink()}


class Ingested:
    """What one run over all the files did."""

    def __init__(self, root: Path) -> None:
        key = root / "keys" / "key"
        LakeKey(bytes(range(32))).save(key)
        self.lake = open_lake(root / "lake", key=key)
        source = root / "in"
        source.mkdir()
        make = CtFiles()
        self.expected: dict[str, str] = {}
        for group in (uids, depths_and_numbers, lengths, structure, pixels, bombs):
            for name, (data, outcome) in group(make).items():
                file = name if "." in name else f"{name}.dcm"
                (source / file).write_bytes(data)
                self.expected[file] = outcome
        self.expected |= archives(make, source) | names_and_links(make, source, root / "outside.dcm")
        before, here = files_below(root), set(Path.cwd().iterdir())
        start = peak_bytes(reset=True)
        self.run = ingest(self.lake, source, engine="processes:1", timeout=30, memory=2 * 2**30)
        self.driver_growth = peak_bytes() - start
        new = files_below(root) - before
        self.strayed = {path for path in new if path.relative_to(root).parts[0] not in ("lake", "keys")}
        self.strayed |= set(Path.cwd().iterdir()) - here
        rows = self.lake.sql("select item, outcome, reason from items").rows()
        found = {identifier: reason or outcome for identifier, outcome, reason in rows}
        self.found = {name: found.get(item_id(self.lake, name), "lost") for name in self.expected}
        self.seen = len(rows)

    def stored_bytes(self) -> list[bytes]:
        rows = self.lake.sql('select pack, "offset", length, sha256 from instances').rows()
        return [read_member(self.lake.objects, *row[:3], sha256=row[3]) for row in rows]


def peak_bytes(*, reset: bool = False) -> int:
    """Largest resident size of this process, since the last reset where the system can do that."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of memory is read from /proc")
    return Ingested(tmp_path_factory.mktemp("hostile"))


def test_every_file_ends_as_it_should(ingested: Ingested) -> None:
    assert ingested.found == ingested.expected


def test_the_run_balances(ingested: Ingested) -> None:
    counts = ingested.run.counts
    assert counts["seen"] == ingested.seen == len(ingested.expected)
    assert sum(counts.values()) == 2 * counts["seen"]
    assert counts["stored"] == sum(outcome == STORED for outcome in ingested.expected.values())


def test_nothing_is_written_outside_the_lake(ingested: Ingested) -> None:
    assert ingested.strayed == set()


def test_the_driver_stays_small(ingested: Ingested) -> None:
    assert ingested.driver_growth < 200 * MIB


def test_no_payload_and_no_preamble_comes_out(ingested: Ingested) -> None:
    stored = ingested.stored_bytes()
    objects = [data for data in stored if data[128:132] == b"DICM"]
    assert len(objects) == sum(
        name.count(".nii") == 0 for name, one in ingested.expected.items() if one == STORED
    )
    assert all(data[:128] == bytes(128) for data in objects)
    assert not any(b"EVIL" in data or b"etc" in data or b"Jane" in data for data in stored)


def test_the_tables_hold_no_path_and_no_name(ingested: Ingested) -> None:
    root = Path(str(ingested.lake.objects.local_path("lake.toml"))).parent
    for path in root.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"passwd" not in data
            assert b"evil" not in data


def test_a_file_over_the_memory_of_a_worker_costs_itself_only(lake: Lake, tmp_path: Path) -> None:
    make, source = CtFiles(), tmp_path / "in"
    source.mkdir()
    (source / "a.dcm").write_bytes(make.file())
    (source / "b.dcm").write_bytes(inflating(make, 0x00091001, "OB", 480))
    (source / "c.dcm").write_bytes(make.file())
    run = ingest(lake, source, engine="processes:1", timeout=30, memory=300 * MIB)
    assert run.counts == {"seen": 3, "stored": 2, "quarantined": 1}
    assert run.reasons == {"memory": 1}
