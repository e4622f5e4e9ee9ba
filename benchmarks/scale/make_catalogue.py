"""Make a lake with the catalogue of N instances and no bytes: what look-ups and SQL are measured on.

    python make_catalogue.py /tmp/catalogue --instances 1000000

Patients have studies, studies have series of one modality and body part, series have as many instances as
that modality has; UIDs and digests are random, as pseudonyms are. Rows lie in files of as many rows as
ingest commits at once. `tags` is one text for each series: nothing here reads it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, WriterProperties, write_deltalake

from voxlake.lake.lake import Lake, open_lake
from voxlake.store.schema import arrow_schema

# Share of series, median number of instances, body parts: roughly those of a hospital's archive.
KINDS = {
    "CT": (0.24, 160, ("CHEST", "ABDOMEN", "HEAD", "PELVIS", "SPINE")),
    "MR": (0.36, 40, ("BRAIN", "SPINE", "KNEE", "PROSTATE", "LIVER")),
    "PT": (0.02, 250, ("WHOLEBODY",)),
    "US": (0.10, 12, ("ABDOMEN", "BREAST", "NECK")),
    "DX": (0.22, 1, ("CHEST", "HAND", "KNEE", "PELVIS")),
    "MG": (0.06, 2, ("BREAST",)),
}
THICKNESS = np.array([0.6, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0])
MAKERS = np.array(["SIEMENS", "GE MEDICAL SYSTEMS", "Philips", "Canon", "FUJIFILM"])
POLICY = "sha256:" + "5" * 64
SERIES_AT_ONCE = 10_000
SYNTAX = "1.2.840.10008.1.2.1"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("lake", type=Path)
    parser.add_argument("--instances", type=int, default=1_000_000)
    parser.add_argument("--rows-per-file", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started = time.perf_counter()
    lake = open_lake(given.lake, key=given.lake.with_name(given.lake.name + ".key"), policy="none")
    random = np.random.default_rng(given.seed)
    series = instances = 0
    waiting: list[pa.Table] = []
    for block in _series_blocks(random, given.instances):
        rows = _rows_of_instances(random, block)
        waiting.append(rows)
        instances += rows.num_rows
        series += block.num_rows
        _append(lake, "series", _rows_of_series(random, block))
        whole = pa.concat_tables(waiting)
        for start in range(0, whole.num_rows - given.rows_per_file + 1, given.rows_per_file):
            _append(lake, "instances", whole.slice(start, given.rows_per_file))
        waiting = [whole.slice(whole.num_rows - whole.num_rows % given.rows_per_file)]
    if waiting[0].num_rows:
        _append(lake, "instances", waiting[0])
    taken = time.perf_counter() - started
    print(json.dumps({"instances": instances, "series": series, "seconds": round(taken, 1)}))


def _series_blocks(random: np.random.Generator, instances: int) -> Iterator[pa.Table]:
    """Series until there are enough instances, study after study, some thousands at a time."""
    names = list(KINDS)
    shares = np.array([KINDS[name][0] for name in names])
    left = instances
    while left > 0:
        count = min(SERIES_AT_ONCE, max(left // 20, 50))
        # Of 3 series to a study, 2 studies to a patient.
        study = np.cumsum(random.random(count) < 1 / 3)
        patient = np.cumsum(np.diff(study, prepend=study[0]) * (random.random(count) < 0.5))
        kind = random.choice(len(names), size=study.max() + 1, p=shares / shares.sum())[study]
        medians = np.array([KINDS[name][1] for name in names])[kind]
        members = np.maximum(1, random.lognormal(np.log(medians), 0.6)).astype(int)
        members = np.where(np.cumsum(members) - members < left, members, 0)
        members[-1] = max(members[-1], 0)
        short = max(0, members.sum() - left)
        last = np.flatnonzero(members)[-1]
        members[last] -= short
        there = np.flatnonzero(members)
        left -= int(members.sum())
        pick = random.integers(0, 60, count)
        parts = [KINDS[names[k]][2][p % len(KINDS[names[k]][2])] for k, p in zip(kind, pick, strict=True)]
        studies, patients = uids(random, study.max() + 1), tokens(random, patient.max() + 1)
        tomography = np.isin(kind, [names.index(name) for name in ("CT", "MR", "PT")])
        yield pa.table(
            {
                "series_instance_uid": uids(random, count),
                "study_instance_uid": studies.take(pa.array(study)),
                "patient_id": patients.take(pa.array(patient)),
                "modality": pa.array([names[k] for k in kind]),
                "body_part_examined": pa.array(parts),
                "slice_thickness": pa.array(random.choice(THICKNESS, count), mask=~tomography),
                "manufacturer": pa.array(random.choice(MAKERS, count)),
                "study_date": pa.array([f"20{y:02d}0{m}1{d}" for y, m, d in _dates(random, study)]),
                "series_number": pa.array(random.integers(1, 20, count)),
                "members": pa.array(members),
            }
        ).take(pa.array(there))


def _dates(random: np.random.Generator, study: np.ndarray) -> list[tuple[int, int, int]]:
    dates = np.stack(
        [random.integers(low, high, study.max() + 1) for low, high in ((8, 26), (1, 10), (0, 10))]
    )
    return [(int(y), int(m), int(d)) for y, m, d in dates.T[study]]


def _rows_of_series(random: np.random.Generator, block: pa.Table) -> dict[str, pa.Array]:
    count = block.num_rows
    members = block["members"].to_numpy()
    return {name: block[name] for name in block.column_names if name != "members"} | {
        "members_digest": hexadecimal(random, count),
        "instances": pa.array(members),
        "images": pa.array(members),
        "slices": pa.array(members, mask=members < 3),
        "stacks": pa.array(np.ones(count, int)),
        "geometry": pa.array(np.where(members < 3, "flat", "regular")),
        "bytes": pa.array(members * 526_000),
        "rows": _same(512, count),
        "columns": _same(512, count),
        "patient_sex": pa.array(random.choice(["M", "F"], count)),
        "patient_age": pa.array([f"{age:03d}Y" for age in random.integers(1, 95, count)]),
        "photometric_interpretation": _same("MONOCHROME2", count),
        "format": _same("dicom", count),
        "policy_digest": _same(POLICY, count),
        "run_id": _same("20261122-000000-aaaaaa", count),
    }


def _rows_of_instances(random: np.random.Generator, block: pa.Table) -> pa.Table:
    members = block["members"].to_numpy()
    count = int(members.sum())
    of = np.repeat(np.arange(len(members)), members)
    number = np.arange(count) - np.repeat(np.cumsum(members) - members, members)
    position = np.stack([np.full(count, -250.0), np.full(count, -250.0), number * 1.5], axis=1)
    packs = hexadecimal(random, count // 250 + 1)
    pack = pa.array([f"packs/{name[:2]}/{name}.pack" for name in packs.to_pylist()])
    tags = pa.array([json.dumps(_tags(row)) for row in range(len(members))])
    lists = {
        "image_position_patient": _lists(position),
        "image_orientation_patient": _lists(np.tile([1.0, 0, 0, 0, 1, 0], (count, 1))),
        "pixel_spacing": _lists(np.full((count, 2), 0.7)),
    }
    series = {name: block[name].take(pa.array(of)) for name in block.column_names if name != "members"}
    return pa.table(
        series
        | lists
        | {
            "sop_instance_uid": uids(random, count),
            "sha256": hexadecimal(random, count),
            "source_mac": hexadecimal(random, count),
            "policy_digest": _same(POLICY, count),
            "deidentification": _same("a" * 32, count),
            "pack": pack.take(pa.array(np.arange(count) // 250)),
            "offset": pa.array((np.arange(count) % 250) * 526_000),
            "length": _same(526_000, count),
            "pixel_offset": _same(1_700, count),
            "pixel_length": _same(524_288, count),
            "tags": tags.take(pa.array(of)),
            "instance_number": pa.array(number + 1),
            "rows": _same(512, count),
            "columns": _same(512, count),
            "number_of_frames": _same(1, count),
            "samples_per_pixel": _same(1, count),
            "bits_allocated": _same(16, count),
            "bits_stored": _same(12, count),
            "pixel_representation": _same(0, count),
            "photometric_interpretation": _same("MONOCHROME2", count),
            "transfer_syntax_uid": _same(SYNTAX, count),
            "format": _same("dicom", count),
            "run_id": _same("20261122-000000-aaaaaa", count),
        }
    )


def _tags(row: int) -> dict[str, dict[str, object]]:
    return {f"0008{n:04X}": {"vr": "LO", "Value": [f"{n}-{row}"]} for n in range(0, 128, 4)}


def uids(random: np.random.Generator, count: int) -> pa.Array:
    """UIDs below 2.25, all of 44 characters."""
    digits = random.integers(48, 58, (count, 44), dtype=np.uint8)
    digits[:, :6] = np.frombuffer(b"2.25.1", np.uint8)
    return _fixed(digits)


def hexadecimal(random: np.random.Generator, count: int) -> pa.Array:
    """Digests of 64 hexadecimal digits."""
    return _fixed(
        np.frombuffer(b"0123456789abcdef", np.uint8)[random.integers(0, 16, (count, 64), dtype=np.uint8)]
    )


def tokens(random: np.random.Generator, count: int) -> pa.Array:
    """Pseudonyms of patients."""
    letters = np.frombuffer(b"ABCDEFGHJKMNPQRSTVWXYZ0123456789", np.uint8)
    text = letters[random.integers(0, 32, (count, 15))]
    text[:, :2] = np.frombuffer(b"P-", np.uint8)
    return _fixed(text)


def _fixed(characters: np.ndarray) -> pa.Array:
    count, length = characters.shape
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(length)
    return pa.StringArray.from_buffers(
        count, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(characters))
    )


def _lists(values: np.ndarray) -> pa.Array:
    offsets = np.arange(len(values) + 1, dtype=np.int32) * np.int32(values.shape[1])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel()))


def _same(value: str | float, count: int) -> pa.Array:
    return pa.repeat(value, count)


def _append(lake: Lake, name: str, rows: pa.Table | dict[str, pa.Array]) -> None:
    schema = arrow_schema(name)
    columns = dict(zip(rows.column_names, rows.columns, strict=True)) if isinstance(rows, pa.Table) else rows
    count = len(next(iter(columns.values())))
    columns["committed_at"] = pa.repeat(
        pa.scalar(time.time_ns() // 1000, pa.timestamp("us", tz="UTC")), count
    )
    arrays = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(count, field.type)
        for field in schema
    ]
    if lake.tables.version(name) is None:
        lake.tables.append(name, [])
    path = Path(lake.url) / "tables" / name
    write_deltalake(
        DeltaTable(path), pa.table(arrays, schema=schema), mode="append",
        writer_properties=WriterProperties(compression="ZSTD"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
