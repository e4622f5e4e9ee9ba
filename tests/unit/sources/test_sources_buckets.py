"""Buckets, against a real HTTP endpoint that speaks S3."""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from voxlake.core.errors import ItemError, LakeError, NotFoundError, SettingsError, UsageError
from voxlake.sources.buckets import BucketItem, BucketSource
from voxlake.sources.open import open_source
from voxlake.store import buckets as buckets_module

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("buckets")

BUCKET = "voxlake-test"
LIMIT = 2**26


class Server:
    """An S3 server with one bucket."""

    def __init__(self, client: Any, endpoint: str) -> None:
        self.client = client
        self.endpoint = endpoint

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def url(self, prefix: str, bucket: str = BUCKET) -> str:
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}&region=us-east-1"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
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
        client.create_bucket(Bucket=BUCKET)
        yield Server(client, endpoint)
        client.close()
        running.stop()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_objects_come_sorted_and_are_read_by_url(server: Server) -> None:
    for key in ("one/b.dcm", "one/a b ü#?%.dcm", "one/sub/c.dcm", "one/.DS_Store", "oneself/x.dcm"):
        server.put(key, key.encode())
    found = list(open_source(server.url("one")))
    names = [(item.name, item.ignored) for item in found]
    assert names == [
        (".DS_Store", "ignored_system_file"),
        ("a b ü#?%.dcm", None),
        ("b.dcm", None),
        ("sub/c.dcm", None),
    ]
    copies = pickle.loads(pickle.dumps(found))
    assert [item.read(LIMIT) for item in copies[1:]] == [f"one/{name}".encode() for name, _ in names[1:]]
    assert b"secret-of-the-test" not in pickle.dumps(found)
    assert "dcm" not in repr(found)


def test_one_object_is_a_source(server: Server) -> None:
    server.put("single/only.dcm", b"1")
    (item,) = open_source(server.url("single/only.dcm"))
    assert (item.name, item.read(LIMIT)) == ("only.dcm", b"1")


def test_folder_markers_and_empty_objects(server: Server) -> None:
    for key, data in {"two/": b"", "two/sub/": b"", "two/sub/a": b"1", "two/void": b""}.items():
        server.put(key, data)
    found = {item.name: item for item in open_source(server.url("two"))}
    assert found["sub"].ignored == "ignored_system_file"
    assert found["sub/a"].read(LIMIT) == b"1"
    with pytest.raises(ItemError) as caught:
        found["void"].read(LIMIT)
    assert caught.value.reason == "empty_file"


def test_archives_are_unpacked_as_they_come(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    # More than one request for each archive.
    monkeypatch.setattr(buckets_module, "_PART", 64)
    members = {"a": b"1" * 500, "b/c": bytes(range(256))}
    server.put("three/x.zip", zipped(members))
    server.put("three/y.tar.gz", tarred(members))
    found = {item.name: item.read(LIMIT) for item in open_source(server.url("three"))}
    assert found == {
        f"{name}/{member}": data for name in ("x.zip", "y.tar.gz") for member, data in members.items()
    }


def test_large_objects_are_read_in_parts_of_one_version(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets_module, "_PART", 1000)
    data = bytes(range(256)) * 20
    server.put("four/large", data)
    (item,) = open_source(server.url("four"))
    assert item.read(LIMIT) == data
    with pytest.raises(ItemError) as caught:
        item.read(3000)
    assert caught.value.reason == "too_large"
    parts = buckets_module.Bucket.open(server.url("four")).parts("four/large")
    assert next(parts) == data[:1000]
    server.put("four/large", data[::-1])
    with pytest.raises(LakeError, match="Precondition"):
        next(parts)
    server.put("four/large", b"short")
    with pytest.raises(ItemError) as caught:
        item.read(LIMIT)
    assert caught.value.reason == "unreadable_source"


def test_an_object_that_went_away_fails_alone(server: Server) -> None:
    server.put("five/gone", b"1")
    (item,) = open_source(server.url("five"))
    server.client.delete_object(Bucket=BUCKET, Key="five/gone")
    with pytest.raises(ItemError) as caught:
        item.read(LIMIT)
    assert caught.value.reason == "unreadable_source"
    assert "gone" not in caught.value.message


def test_nothing_there(server: Server) -> None:
    with pytest.raises(NotFoundError, match="prefix"):
        list(open_source(server.url("no-such-prefix")))
    with pytest.raises(LakeError, match="404"):
        list(open_source(server.url("x", bucket="no-such-bucket")))


def test_anonymous_access_sends_no_credentials(server: Server) -> None:
    server.put("six/a", b"1")
    with pytest.raises(ItemError) as caught:
        BucketItem("a", f"{server.url('six')}&anonymous=true", "six/a", 1).read(LIMIT)
    assert "403" in caught.value.message
    server.client.put_object_acl(Bucket=BUCKET, Key="six/a", ACL="public-read")
    assert BucketItem("a", f"{server.url('six')}&anonymous=true", "six/a", 1).read(LIMIT) == b"1"


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("s3://bucket/x?regoin=a", SettingsError, "region"),
        ("s3://bucket/x?region=a&region=b", SettingsError, "twice"),
        ("s3://bucket/x?anonymous=perhaps", SettingsError, "true or false"),
        ("s3://me:secret@bucket/x", UsageError, "password"),
        ("s3:///x", UsageError, "name of a bucket"),
        ("s4://bucket/x", UsageError, "s3"),
    ],
)
def test_urls_that_are_refused(url: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        open_source(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["gs://bucket/x?anonymous=true", "az://container/x?account=a&anonymous=true"])
def test_other_stores_open(url: str) -> None:
    assert isinstance(open_source(url), BucketSource)
