"""The snapshot of places: what is written is found, and nothing that is old or damaged is believed."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import pytest

from voxlake.store.place_file import find_place, place_of_values, snapshot_state, write_snapshot

LAYOUT: dict[str, Any] = {
    "format": "dicom",
    "transfer_syntax_uid": "1.2.840.10008.1.2.1",
    "number_of_frames": 1,
    "rows": 512,
    "columns": 256,
    "samples_per_pixel": 1,
    "photometric_interpretation": "MONOCHROME2",
    "bits_allocated": 16,
    "bits_stored": 12,
    "pixel_representation": 0,
}
COLOUR = LAYOUT | {
    "number_of_frames": 2,
    "samples_per_pixel": 3,
    "planar_configuration": 1,
    "bits_stored": None,
}
VERSION = 7


def rows() -> list[tuple[str, Any]]:
    ranges = array("q", [8, 1000, 900, 800]).tobytes()
    found = [
        (f"1.2.{n}", (f"packs/{n % 3}.pack", n, 100 + n, bytes([n % 256]) * 32, 90, 10, LAYOUT, None))
        for n in range(500)
    ]
    found.append(("1.2.3.4", ("file:///elsewhere/a%20b", 0, 5, b"a" * 32, None, None, COLOUR, ranges)))
    found.append(("9" * 64, ("packs/long", 1, 2, b"b" * 32, 3, 4, LAYOUT, None)))
    return sorted(found)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / f"{VERSION:020}.json").touch()
    write_snapshot(tmp_path, rows(), count=len(rows()), version=VERSION, size=12)
    return folder


def test_what_is_written_is_found(tmp_path: Path, log: Path) -> None:
    assert snapshot_state(tmp_path) == (VERSION, 12)
    for uid, values in rows():
        place = find_place(str(tmp_path), uid, log=str(log))
        assert place is not None
        expected = place_of_values(values)
        assert place._replace(row={}) == expected._replace(row={})
        assert {name: value for name, value in place.row.items() if value is not None} == {
            name: value for name, value in expected.row.items() if value is not None
        }
    colour = find_place(str(tmp_path), "1.2.3.4", log=str(log))
    assert colour is not None
    assert (list(colour.offsets), list(colour.lengths)) == ([8, 1000], [900, 800])
    assert colour.row["planar_configuration"] == 1
    for uid in ("1.2", "1.2.500", "0", "9.9", "", "9" * 65):
        assert find_place(str(tmp_path), uid, log=str(log)) is None


def test_an_old_snapshot_is_not_believed(tmp_path: Path, log: Path) -> None:
    (log / f"{VERSION + 1:020}.json").touch()
    assert find_place(str(tmp_path), "1.2.1", log=str(log)) is None
    for path in log.iterdir():
        path.unlink()
    assert find_place(str(tmp_path), "1.2.1", log=str(log)) is None


def test_a_snapshot_cut_short_tells_nothing_wrong(tmp_path: Path, log: Path) -> None:
    (path,) = (path for path in tmp_path.iterdir() if path.is_file())
    whole = path.read_bytes()
    expected = find_place(str(tmp_path), "1.2.99", log=str(log))
    assert expected is not None
    for length in range(0, len(whole), 997):
        path.write_bytes(whole[:length])
        assert find_place(str(tmp_path), "1.2.99", log=str(log)) in (None, expected)
    path.unlink()
    assert find_place(str(tmp_path), "1.2.99", log=str(log)) is None
    assert snapshot_state(tmp_path) == (-1, 0)


def test_what_does_not_fit_is_left_to_the_look_up(tmp_path: Path, log: Path) -> None:
    odd = LAYOUT | {"photometric_interpretation": "MONO\nCHROME2"}
    values = ("packs/a", 0, 5, b"a" * 32, None, None)
    write_snapshot(
        tmp_path,
        [("1", (*values, odd, None)), ("2", (*values, LAYOUT, None)), ("3" * 65, (*values, LAYOUT, None))],
        count=3,
        version=VERSION,
        size=1,
    )
    assert find_place(str(tmp_path), "1", log=str(log)) is None
    assert find_place(str(tmp_path), "2", log=str(log)) == place_of_values((*values, LAYOUT, None))._replace(
        row=LAYOUT | {"pixel_offset": None, "pixel_length": None, "planar_configuration": None}
    )


def test_a_failed_write_leaves_the_snapshot(tmp_path: Path, log: Path) -> None:
    def broken() -> Any:
        yield rows()[0]
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        write_snapshot(tmp_path, broken(), count=2, version=VERSION + 1, size=1)
    assert snapshot_state(tmp_path) == (VERSION, 12)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["places-1.snapshot"]
