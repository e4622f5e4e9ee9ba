from __future__ import annotations

import bz2
import gzip
from io import BytesIO

import numpy as np
import pytest
import SimpleITK

from voxlake.core.errors import ItemError
from voxlake.privacy.images import strip_metadata

SECRET = b"ZQXTOKEN"
VALUES = np.random.default_rng(7).integers(-999, 999, (3, 4, 5)).astype("<i2")
RAW = VALUES.tobytes()
HEADER = b"""NRRD0005
# ZQXTOKEN in a comment
type: short
dimension: 3
space: left-posterior-superior
sizes: 5 4 3
space directions: (0.5,0,0) (0,0.5,0) (0,0,1.25)
space origin: (-10.12345678901234,20,-30)
kinds: domain domain ZQXTOKEN
centers: cell ZQXTOKEN node
units: "mm" "ZQXTOKEN" "mm"
space units: "mm" "mm" "ZQXTOKEN"
labels: "ZQXTOKEN" "" ""
content: ZQXTOKEN
old min: -1000
oldmax: 3000
min: 1
sample units: ZQXTOKEN
measurement frame: (1,0,0) (0,1,0) (0,0,1)
thicknesses: nan nan 1.5
ZQXTOKEN: 1
number: ZQXTOKEN
endian: little
ZQXTOKEN:=pair
DWMRI_gradient_0000:=ZQXTOKEN
encoding: """


def named_gzip(values: bytes) -> bytes:
    stream = BytesIO()
    with gzip.GzipFile(SECRET.decode(), "wb", fileobj=stream, mtime=12345) as packed:
        packed.write(values)
    return stream.getvalue()


ENCODED = {
    "raw": RAW,
    "gzip": named_gzip(RAW),
    "gz": gzip.compress(RAW[:50]) + gzip.compress(RAW[50:]),
    "bzip2": bz2.compress(RAW),
    "bz2": bz2.compress(RAW + SECRET),
    "hex": RAW.hex().upper().encode(),
    "ascii": " ".join(map(str, VALUES.ravel())).encode() + b"\n",
    "text": ", ".join(map(str, VALUES.ravel())).encode() + b"\n",
}


def parts(data: bytes) -> tuple[list[str], bytes]:
    head, _, body = data.partition(b"\n\n")
    return head.decode("ascii").split("\n"), body


def decoded(encoding: str, body: bytes) -> np.ndarray:
    match encoding:
        case "gzip" | "gz":
            body = gzip.decompress(body)
        case "bzip2" | "bz2":
            body = bz2.decompress(body)
        case "hex":
            body = bytes.fromhex(body.decode())
        case "ascii" | "text":
            return np.array(body.split(), dtype="<i2").reshape(VALUES.shape)
    return np.frombuffer(body, "<i2").reshape(VALUES.shape)


@pytest.mark.parametrize("encoding", ENCODED)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_only_what_the_array_needs_is_left(encoding, newline):
    data = HEADER.replace(b"\n", newline) + encoding.encode() + newline * 2 + ENCODED[encoding] + SECRET
    stripped = strip_metadata(data, "nrrd")
    assert SECRET not in stripped
    lines, body = parts(stripped)
    np.testing.assert_array_equal(decoded(encoding, body), VALUES)
    assert lines == [
        "NRRD0005",
        "type: short",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: 5 4 3",
        "endian: little",
        f"encoding: {encoding}",
        'space units: "mm" "mm" ""',
        "space origin: (-10.12345678901234,20.0,-30.0)",
        "space directions: (0.5,0.0,0.0) (0.0,0.5,0.0) (0.0,0.0,1.25)",
        "measurement frame: (1.0,0.0,0.0) (0.0,1.0,0.0) (0.0,0.0,1.0)",
        "thicknesses: nan nan 1.5",
        "centers: cell ??? node",
        "kinds: domain domain ???",
        'units: "mm" "" "mm"',
        "old min: -1000.0",
        "old max: 3000.0",
    ]
    assert strip_metadata(stripped, "nrrd") == stripped


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
def test_packed_values_are_copied(encoding):
    data = HEADER + encoding.encode() + b"\n\n" + ENCODED[encoding]
    _, body = parts(strip_metadata(data, "nrrd"))
    assert body[10:] == ENCODED[encoding][19:] if encoding == "gzip" else body == ENCODED[encoding]


def test_skipped_bytes_go():
    cases = {
        b"raw\nbyte skip: 8": SECRET + RAW,
        b"raw\nbyteskip: -1": SECRET + RAW,
        b"raw\nline skip: 2\nbyte skip: 1": SECRET + b"\n" + SECRET + b"\nZ" + RAW,
        b"gzip\nbyte skip: 8": gzip.compress(SECRET + RAW),
        b"gzip\nlineskip: 1": SECRET + b"\n" + gzip.compress(RAW),
    }
    for encoding, body in cases.items():
        lines, kept = parts(strip_metadata(HEADER + encoding + b"\n\n" + body, "nrrd"))
        assert (gzip.decompress(kept) if encoding.startswith(b"gzip") else kept) == RAW
        assert not [line for line in lines if "skip" in line]


def test_another_reader_sees_the_same_image(tmp_path):
    image = SimpleITK.GetImageFromArray(VALUES)
    image.SetSpacing((0.48828125, 0.1, 1 / 3))
    image.SetOrigin((-123.4567891234, 0.1, 7))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    image.SetMetaData("PatientName", SECRET.decode())
    for packed in (False, True):
        SimpleITK.WriteImage(image, tmp_path / "a.nrrd", packed)
        data = (tmp_path / "a.nrrd").read_bytes()
        assert SECRET in data
        stripped = strip_metadata(data, "nrrd")
        assert SECRET not in stripped
        (tmp_path / "b.nrrd").write_bytes(stripped)
        before, after = SimpleITK.ReadImage(tmp_path / "a.nrrd"), SimpleITK.ReadImage(tmp_path / "b.nrrd")
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(after), VALUES)
        for name in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(after, name)() == getattr(before, name)()


def test_detached_headers_are_refused():
    for line in (b"data file: ZQXTOKEN.raw", b"datafile: LIST", b"DATA FILE: a%d.raw 1 2 1"):
        with pytest.raises(ItemError, match="another file") as caught:
            strip_metadata(HEADER + b"raw\n" + line + b"\n\n", "nrrd")
        assert caught.value.reason == "deidentify_failed"
        assert "ZQX" not in str(caught.value)


def test_broken_nrrd():
    good = HEADER + b"raw\n\n" + RAW

    def other(old: bytes, new: bytes) -> bytes:
        assert old in good
        return good.replace(old, new)

    text = HEADER + b"text\n\n"
    failed = [
        b"", b"NRRD0009\n", other(b"type: short", b"type: block"), other(b"sizes: 5 4 3", b"sizes: 5 4"),
        other(b"sizes: 5 4 3", b"sizes: 5 4 0"), other(b"endian: little\n", b""), other(b": raw", b": zrl"),
        other(b"dimension: 3", b"dimension: 99"), other(b"dimension: 3", b"dimension: x"),
        other(b"superior", SECRET), other(b"(0.5,0,0)", b"(0.5,ZQXTOKEN,0)"), other(b"(0.5,0,0)", b"(0.5,0)"),
        other(b"# ", b"no field "), other(b"min: 1", b"type: short"), other(b"(-10.", b"ZQX(-10."),
        text + b"ZQXTOKEN", text + b"1_0 " * 60, HEADER + b"hex\n\n" + b"zz" * 200,
        HEADER + b"gzip\nbyte skip: -1\n\n" + gzip.compress(RAW), HEADER + b"gzip\n\n" + RAW,
    ]  # fmt: skip
    truncated = [
        good[:-1], good[:100], text + b"1 2 3", HEADER + b"hex\n\n00",
        HEADER + b"gzip\n\n" + gzip.compress(RAW)[:-9],
        HEADER + b"gzip\n\n" + gzip.compress(RAW[1:]), HEADER + b"raw\nline skip: 99\n\n" + RAW,
        HEADER + b"bzip2\n\n" + bz2.compress(RAW)[:-1],
    ]  # fmt: skip
    huge = [
        other(b"sizes: 5 4 3", b"sizes: 999999 999999 999999"),
        HEADER + b"bzip2\n\n" + bz2.compress(bytes(50_000_000)),
    ]
    for reason, files in (("deidentify_failed", failed), ("truncated", truncated), ("too_large", huge)):
        for data in files:
            with pytest.raises(ItemError) as caught:
                strip_metadata(data, "nrrd")
            assert caught.value.reason == reason, data[-200:]
            assert "ZQX" not in str(caught.value)
