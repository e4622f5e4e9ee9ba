"""What we store is read by others, and what SQL shows is what a plain program would."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import zarr
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from deltalake import DeltaTable

from voxlake.core.grid import Grid
from voxlake.store.arrays import open_array, write_volume
from voxlake.store.keys import LakeKey
from voxlake.store.objects import Objects
from voxlake.store.query import run_sql
from voxlake.store.tables import Tables


def test_the_plain_zarr_codecs_read_our_arrays(tmp_path: Path) -> None:
    """Another implementation of every codec, which also verifies the checksums."""
    objects = Objects.open(tmp_path)
    values = np.random.default_rng(0).normal(size=(70, 260, 65)).astype(np.float32)
    info = write_volume(objects, "v", values, grid=Grid.from_spacing(values.shape, (1, 1, 1)))
    with zarr.config.set({"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}):
        group = zarr.open_group(str(tmp_path / info.array), mode="r")
        np.testing.assert_array_equal(group["0"][...], values)
    path = group.attrs["ome"]["multiscales"][0]["datasets"][0]["path"]
    assert path == "0"


def test_random_patches_are_those_of_the_array(tmp_path: Path) -> None:
    objects = Objects.open(tmp_path)
    rng = np.random.default_rng(1)
    values = rng.integers(-1000, 1000, (130, 270, 80)).astype(np.int16)
    info = write_volume(objects, "v", values, grid=Grid.from_spacing(values.shape, (1, 1, 1)))
    lazy = open_array(objects, info.array, shards=info.shards)
    for _ in range(40):
        low = [rng.integers(0, size) for size in values.shape]
        box = tuple(slice(a, rng.integers(a, size) + 1) for a, size in zip(low, values.shape, strict=True))
        np.testing.assert_array_equal(lazy[box], values[box])


def test_other_delta_readers_see_the_same_rows(tmp_path: Path) -> None:
    tables = Tables(Objects.open(tmp_path))
    for number in range(3):
        tables.append("runs", [{"run_id": str(number), "seconds": number / 2}])
    table = DeltaTable(str(tmp_path / "tables" / "runs"))
    read = pa.table(table.to_pyarrow_table()).to_pandas().sort_values("run_id")
    assert read["seconds"].tolist() == [0.0, 0.5, 1.0]
    assert [entry["version"] for entry in table.history()] == [2, 1, 0]
    past = DeltaTable(str(tmp_path / "tables" / "runs"), version=0)
    assert past.to_pyarrow_table().num_rows == 1


def test_sql_agrees_with_pandas(tmp_path: Path) -> None:
    """First row of a key by its time, then by place, over commits in any order of time."""
    tables = Tables(Objects.open(tmp_path))
    chance = random.Random(5)
    rows = [
        {
            "source_mac": chance.choice("abcdefgh"),
            "policy_digest": chance.choice(["p", "q", None]),
            "instance_number": number,
            "modality": chance.choice(["CT", "MR"]),
            "committed_at": pd.Timestamp("2024-01-01", tz="UTC")
            + pd.Timedelta(seconds=chance.randrange(10**6)),
        }
        for number in range(200)
    ]
    for start in range(0, 200, 20):
        tables.append("instances", rows[start : start + 20])
    frame = pd.DataFrame(rows).sort_values("committed_at", kind="stable")
    expected = frame.drop_duplicates(["source_mac", "policy_digest"])
    shown = run_sql(tables, "select instance_number from instances order by 1").df()
    assert shown["instance_number"].tolist() == sorted(expected["instance_number"])
    by_modality = run_sql(tables, "select modality, count(*) n from instances group by 1").df()
    assert dict(by_modality.itertuples(index=False)) == expected["modality"].value_counts().to_dict()


def test_sealed_bytes_are_plain_aes_gcm() -> None:
    key = LakeKey(bytes(range(32)))
    sealed = key.seal(b"data", context="quarantine/x")
    cipher = AESGCM(key.generations[0]._derive(b"seal"))
    assert cipher.decrypt(sealed[1:13], sealed[13:], sealed[:1] + b"quarantine/x") == b"data"


@pytest.mark.realdata
def test_a_real_volume_keeps_every_voxel(realdata: Path, tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.load(realdata / "test_only" / "ibsi_ct_phantom" / "nifti" / "image" / "phantom.nii.gz")
    values = np.ascontiguousarray(np.asarray(image.dataobj).transpose(2, 1, 0))
    objects = Objects.open(tmp_path)
    info = write_volume(objects, "ct", values, grid=Grid.from_spacing(values.shape, (3, 0.98, 0.98)))
    lazy = open_array(objects, info.array, shards=info.shards)
    np.testing.assert_array_equal(lazy[...], values)
    stored = sum(path.stat().st_size for path in (tmp_path / info.array).rglob("*") if path.is_file())
    assert stored < 0.7 * values.nbytes
    described = json.loads((tmp_path / info.array / "zarr.json").read_text())
    assert described["attributes"]["voxlake"]["grid"]["shape"] == list(values.shape)
