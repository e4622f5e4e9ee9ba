"""Keys, credentials and lists of pseudonyms are never sent to workers: what is pickled is searched."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from voxlake.core.errors import UsageError
from voxlake.core.plan import Plan
from voxlake.engine.serial import SerialEngine
from voxlake.exchange.deidentify import deidentify
from voxlake.lake.check import check
from voxlake.lake.cohorts import select
from voxlake.lake.erase import erase
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, make_lake, open_lake
from voxlake.lake.rekey import keys_rekey
from voxlake.lake.rotate import keys_rotate
from voxlake.sources.phantoms import Phantoms
from voxlake.store.key_file import read_secrets
from voxlake.store.keys import LakeKey
from voxlake.testing.s3 import S3Server
from voxlake.volumes.prepare import prepare

IDENTITY = bytes(range(101, 133))
CREDENTIALS = {
    "AWS_SECRET_ACCESS_KEY": "aws-secret-that-stays-here",
    "AWS_SESSION_TOKEN": "aws-token-that-stays-here",
    "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(b"azure secret that stays").decode(),
}


class LeakError(AssertionError):
    """Something secret was about to travel."""


def forms(secret: bytes) -> Iterator[bytes]:
    """How a secret could be written."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        # Wherever in a longer text it begins: the first and the last characters depend on what is beside.
        for shift in range(3):
            yield encode(bytes(shift) + secret)[4:-4]


class Customs:
    """An engine that looks through all that would be sent to workers, and works with what arrives."""

    url, workers = "customs", 2

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self.forms = [(name, form) for name, secret in secrets.items() for form in forms(secret)]
        self.sent: list[str] = []
        self.items = 0

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], **limits: Any) -> Iterator[Any]:
        self.sent.append(type(function).__name__)
        with SerialEngine() as engine:
            yield from engine.map(self.through(function), map(self.through, items), **limits)

    def through(self, thing: Any) -> Any:
        sent = pickle.dumps(thing, protocol=5)
        for name, form in self.forms:
            if form in sent:
                raise LeakError(f"{name} is in what is sent to workers: {type(thing).__name__}")
        self.items += 1
        return pickle.loads(sent)


@dataclass
class Setting:
    lake: Lake
    customs: Customs
    listed: Path


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.slow)])
def setting(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    """A lake that seals with its own secret, credentials in the environment, and a list of pseudonyms."""
    where = str(tmp_path / "lake")
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        where = server.url("voxlake", tmp_path.name)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    key = tmp_path / "keys" / "key"
    LakeKey(IDENTITY).save(key)
    make_lake(where, key=key)
    lake = open_lake(where, key=key, create=False)
    keys_rotate(lake)
    lake = open_lake(where, key=key, create=False)
    generations, rotated = read_secrets(key)
    assert generations == [IDENTITY]
    seals = [seal.secret for seal in rotated]
    assert seals
    listed = tmp_path / "list.csv"
    listed.write_text("original,pseudonym\nHOSPITAL-NUMBER-4711,TRUST-CENTRE-0815\n", "utf-8")
    secrets = {"the identity secret": IDENTITY}
    secrets |= {f"seal secret {number}": secret for number, secret in enumerate(seals)}
    secrets |= {name: value.encode() for name, value in CREDENTIALS.items()}
    secrets |= {"a listed original": b"HOSPITAL-NUMBER-4711", "a listed pseudonym": b"TRUST-CENTRE-0815"}
    return Setting(lake, Customs(secrets), listed)


def test_nothing_secret_travels(setting: Setting, phantoms: Phantoms, tmp_path: Path) -> None:
    lake, customs = setting.lake, setting.customs
    folder = tmp_path / "in"
    folder.mkdir()
    for item in list(phantoms)[:4]:
        path = folder / item.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(item.read(2**30))
    (folder / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    (folder / "notes.txt").write_text("no image")
    run = ingest(lake, folder, pseudonyms=setting.listed, engine=customs)
    assert (run.counts["stored"], run.failures) == (4, 2)
    assert check(lake, engine=customs).counts["stored"] == 4
    assert prepare(select(lake, "all"), plan=Plan(), engine=customs).failures == 0
    assert deidentify(
        folder, output=tmp_path / "out", key=lake.key_file, pseudonyms=setting.listed, engine=customs
    ).counts["stored"]
    assert keys_rekey(lake, tmp_path / "new", new_key=tmp_path / "keys" / "new", engine=customs).failures == 0
    ((patient,), *_) = lake.sql("select distinct patient_id from instances").rows()
    erase(lake, patient, yes=True, engine=customs)
    assert set(customs.sent) == {
        "Intake", "Fingerprinting", "Preparation", "Cleaning", "RekeyObjects", "Owner",
    }  # fmt: skip
    assert customs.items > 12


@pytest.mark.parametrize("setting", ["local"], indirect=True)
@pytest.mark.parametrize(
    "text",
    [
        IDENTITY,
        IDENTITY.hex().encode(),
        base64.b64encode(b"key=" + IDENTITY),
        b"id=AKIA&aws-secret-that-stays-here",
    ],
)
def test_the_customs_find_what_is_hidden(setting: Setting, text: bytes) -> None:
    with pytest.raises(LeakError, match="is in what is sent"):
        list(setting.customs.map(len, [text]))


@pytest.mark.parametrize("setting", ["local"], indirect=True)
def test_a_key_cannot_be_pickled(setting: Setting) -> None:
    with pytest.raises(UsageError, match="never sent to another process"):
        pickle.dumps(setting.lake.key)
