"""What must hold for any bytes, rows and arrays."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from voxlake.core.grid import Grid
from voxlake.store.arrays import read_array, value_digest, write_stack, write_volume
from voxlake.store.keys import LakeKey
from voxlake.store.objects import Objects
from voxlake.store.packs import read_member, write_pack
from voxlake.store.query import run_sql
from voxlake.store.tables import Tables


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=8))
def test_members_come_back_from_a_pack(members: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        objects = Objects.open(folder)
        entries = write_pack(objects, members)
        assert write_pack(objects, members) == entries
        for entry, member in zip(entries, members, strict=True):
            assert read_member(objects, entry.pack, entry.offset, entry.length, sha256=entry.sha256) == member
        assert sum(entry.length for entry in entries) == objects.size(entries[0].pack)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=500), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_what_is_sealed_opens(data: bytes, context: str) -> None:
    key = LakeKey(bytes(32))
    assert key.unseal(key.seal(data, context=context), context=context) == data


_TYPES = st.sampled_from(["bool", "uint8", "int16", "uint16", "int32", "float32", "float64", ">i2", ">f8"])
_VOLUMES = _TYPES.flatmap(
    lambda dtype: hnp.arrays(dtype, st.tuples(*[st.integers(1, 70), st.integers(1, 12), st.integers(1, 9)]))
)


@settings(max_examples=25, deadline=None)
@given(_VOLUMES)
def test_volumes_and_stacks_come_back_bit_for_bit(values: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        objects = Objects.open(folder)
        volume = write_volume(objects, "v", values, grid=Grid.from_spacing(values.shape, (1, 2, 3)))
        stack = write_stack(objects, "s", values)
        native = values.astype(values.dtype.newbyteorder("="))
        for info in (volume, stack):
            read = read_array(objects, info.array, shards=info.shards, sha256=value_digest(values))
            assert read.tobytes() == native.tobytes()


_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "source_mac": st.sampled_from(["a", "b", None]),
            "policy_digest": st.sampled_from(["p", None]),
            "instance_number": st.integers(-(2**63), 2**63 - 1),
            "series_description": st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]))),
            "pixel_spacing": st.one_of(st.none(), st.lists(st.floats(allow_nan=False), max_size=3)),
        }
    ),
    max_size=5,
)


@settings(max_examples=15, deadline=None)
@given(st.lists(_ROWS, min_size=1, max_size=4))
def test_sql_shows_the_first_row_of_every_key(commits: list[list[dict[str, Any]]]) -> None:
    first: dict[tuple[Any, Any], dict[str, Any]] = {}
    for commit in commits:
        for row in commit:
            first.setdefault((row["source_mac"], row["policy_digest"]), row)
    with tempfile.TemporaryDirectory() as folder:
        tables = Tables(Objects.open(Path(folder)))
        for commit in commits:
            tables.append("instances", commit)
        names = ", ".join(next(iter(first.values()), {"source_mac": None}))
        shown = run_sql(tables, f"select {names} from instances").dicts()
    assert len(shown) == len(first)
    for row in shown:
        assert row == first[row["source_mac"], row["policy_digest"]]
