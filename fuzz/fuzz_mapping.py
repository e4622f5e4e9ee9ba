"""Bytes as a mapping file, TOML or CSV, and what it says about some names."""

from __future__ import annotations

import tempfile
from pathlib import Path

import atheris
from common import fuzz

with atheris.instrument_imports(include=["voxlake"]):
    from voxlake.core.errors import VoxlakeError
    from voxlake.sources.mapping import load_mapping

_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-mapping-"))
_NAMES = ("a/NORMAL/person12_bacteria_3.jpeg", "../../x", "é\n\0.dcm", "a" * 2000, "")


def target(data: bytes) -> None:
    """Hints or nothing for every name, or an error that says what to do."""
    # The first byte chooses the kind: a seed for one is none for the other.
    file = _FOLDER / ("mapping.csv" if data[:1] == b"c" else "mapping.toml")
    file.write_bytes(data[1:])
    try:
        mapping = load_mapping(file)
    except VoxlakeError:
        return
    # A pattern with nested repeats can run for ever; that is between its author and their machine. So the
    # patterns of this target are asked about short names only, unless they come from a table.
    for name in _NAMES:
        if file.suffix == ".csv" or len(name) < 10:
            mapping.hints(name)


if __name__ == "__main__":
    fuzz(target)
