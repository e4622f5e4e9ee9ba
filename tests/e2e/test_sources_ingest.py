"""The same images by every way in: the same rows, and balances that hold."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from voxlake.lake.cohorts import select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.sources.phantoms import Phantoms

WAIVER = '\n[[waivers]]\nwhat = "tiff"\nreason = "noise, made by the test"\n'


@pytest.fixture
def files(phantoms: Phantoms) -> dict[str, bytes]:
    """A few slices of phantoms, and what is no image."""
    images = {item.name: item.read(2**24) for item in list(phantoms)[:12]}
    return {**images, "readme.txt": b"no image", ".DS_Store": b"x", "empty": b""}


def tarred(files: dict[str, bytes], mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "readme.txt"
        archive.addfile(link)
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def digests(lake: Lake) -> list[tuple[str]]:
    return lake.sql("select source_mac from instances order by 1").rows()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_tar(new_lake: Callable[..., Lake], tmp_path: Path, files: dict[str, bytes], mode: str) -> None:
    path = tmp_path / f"a.tar{mode[1:].replace(':', '.')}"
    path.write_bytes(tarred(files, mode))
    lake, other = new_lake("one"), new_lake("two")
    run = ingest(lake, path, engine="processes:1", progress=False)
    assert run.balance() == "16 seen = 12 stored + 3 quarantined + 1 ignored"
    assert run.reasons == {
        "unknown_format": 1, "empty_file": 1, "archive_member": 1, "ignored_system_file": 1,
    }  # fmt: skip
    assert ingest(lake, path, engine="serial", progress=False).counts["already"] == 12
    (tmp_path / "a.zip").write_bytes(zipped(files))
    ingest(other, tmp_path / "a.zip", engine="serial", progress=False)
    assert digests(lake) == digests(other)


def shell(lake: Lake, source: str, data: bytes = b"") -> dict[str, int]:
    """Counts of an ingest from the shell."""
    command = [sys.executable, "-c", "from voxlake.cli import main; main()", "ingest", source, "--json"]
    command += ["--lake", lake.url, "--key", str(lake.key_file), "--engine", "processes:1"]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])["counts"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_standard_input(lake: Lake, files: dict[str, bytes], kind: str) -> None:
    data = zipped(files) if kind == "zip" else tarred(files, "w:gz")
    counts = shell(lake, "-", data)
    links = int(kind == "tar")
    assert counts == {"seen": 15 + links, "stored": 12, "quarantined": 2 + links, "ignored": 1}
    assert lake.sql("select count(*) from instances").rows() == [(12,)]


def test_a_stream_that_breaks_off_keeps_what_came(
    lake: Lake, tmp_path: Path, files: dict[str, bytes]
) -> None:
    data = tarred(files, "w:gz")
    (tmp_path / "cut.tgz").write_bytes(data[: len(data) // 2])
    run = ingest(lake, tmp_path / "cut.tgz", engine="serial", progress=False)
    assert run.reasons["truncated"] >= 1
    assert 0 < run.counts["stored"] < 12


@pytest.fixture
def bucket() -> Iterator[Callable[[dict[str, bytes]], str]]:
    """An S3 server; gives the URL of what is put there."""
    boto3 = pytest.importorskip("boto3")
    moto = pytest.importorskip("moto.server")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "id-of-the-test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")
        running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        running.start()
        host, port = running.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        client.create_bucket(Bucket="voxlake-e2e")

        def put(objects: dict[str, bytes]) -> str:
            for key, data in objects.items():
                client.put_object(Bucket="voxlake-e2e", Key=f"export/{key}", Body=data)
            return f"s3://voxlake-e2e/export?endpoint={endpoint}&region=us-east-1"

        yield put
        client.close()
        running.stop()


def test_bucket(lake: Lake, files: dict[str, bytes], bucket: Callable[[dict[str, bytes]], str]) -> None:
    first = dict(list(files.items())[:6])
    url = bucket({**files, "again.tar": tarred(first, "w"), "more.zip": zipped(files)})
    # 15 objects, 7 members of the tar file with its link, 15 of the zip file.
    expected = {"seen": 37, "stored": 12, "already": 18, "quarantined": 5, "ignored": 2}
    assert shell(lake, url) == expected
    text = json.dumps(lake.sql("select * from runs").dicts(), default=str)
    assert "secret-of-the-test" not in text
    assert "voxlake-e2e" not in text


def test_dicomdir(new_lake: Callable[..., Lake], tmp_path: Path) -> None:
    medium = tmp_path / "cd"
    shutil.copytree(Path(str(get_testdata_file("DICOMDIR"))).parent, medium)
    lake = new_lake("index")
    run = ingest(lake, medium / "DICOMDIR", engine="processes:1", progress=False)
    assert run.balance() == "32 seen = 31 stored + 1 ignored"
    shutil.rmtree(medium / "98892001")
    again = ingest(lake, medium / "DICOMDIR", engine="serial", progress=False)
    assert again.counts["seen"] == 32
    assert again.reasons["unreadable_source"] == again.counts["quarantined"] > 0


def test_nrrd_and_tiff(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    values = np.arange(60, dtype="<i2")
    header = (
        "NRRD0004\ncontent: Jane Doe\ntype: short\ndimension: 3\nspace: RAS\nsizes: 5 4 3\nendian: little\n"
        "encoding: raw\nspace directions: (1,0,0) (0,1,0) (0,0,2)\nspace origin: (0,0,0)\n\n"
    )
    (folder / "a.nrrd").write_bytes(header.encode() + values.tobytes())
    pages = [Image.fromarray(np.full((6, 7), n, dtype=np.uint8)) for n in (1, 2)]
    pages[0].save(folder / "b.tif", save_all=True, append_images=pages[1:], description="Jane Doe")
    held = ingest(lake, folder, engine="serial", progress=False)
    assert held.balance() == "2 seen = 1 stored + 1 quarantined"
    assert held.reasons == {"pixels_unchecked": 1}
    policy = tmp_path / "policy.toml"
    policy.write_text('name = "waived"\noptions = []\n' + WAIVER)
    run = ingest(lake, folder, policy=policy, engine="serial", progress=False)
    assert run.counts["stored"] >= 1
    rows = lake.sql(
        "select distinct format, number_of_frames, rows, columns from instances order by 1"
    ).rows()
    assert rows == [("nrrd", 3, 4, 5), ("tiff", 2, 6, 7)]
    row = lake.sql("select pack, \"offset\", length from instances where format = 'tiff'").dicts()[0]
    assert b"Jane Doe" not in lake.objects.get_range(row["pack"], row["offset"], row["length"])
    series = lake.sql("select format, geometry from series where format = 'nrrd'").rows()
    assert set(series) == {("nrrd", "regular")}
    cohort = select(lake, "volumes", "format = 'nrrd'")
    assert cohort.name == "volumes"
