"""Bytes as a policy in TOML."""

from __future__ import annotations

import tempfile
from pathlib import Path

import atheris
from common import expect, fuzz

with atheris.instrument_imports(include=["voxlake"]):
    from voxlake.core.errors import VoxlakeError
    from voxlake.privacy.policy import load_policy

_FILE = Path(tempfile.mkdtemp(prefix="fuzz-policies-")) / "policy.toml"


def target(data: bytes) -> None:
    """A policy with a digest, or an error that says what to do."""
    _FILE.write_bytes(data)
    try:
        policy = load_policy(_FILE)
    except VoxlakeError:
        return
    expect(len(policy.digest()) == 64, "digest")


if __name__ == "__main__":
    fuzz(target)
