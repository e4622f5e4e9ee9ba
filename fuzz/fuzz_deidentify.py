"""Bytes through de-identification: twice the same, and no less readable than before."""

from __future__ import annotations

import atheris
from common import expect, fuzz

with atheris.instrument_imports(include=["voxlake"]):
    from voxlake.core.errors import ItemError
    from voxlake.core.reasons import REASONS
    from voxlake.dicom.parse_bytes import OddFileError, parse_file
    from voxlake.dicom.read import is_dicomdir, read_dataset
    from voxlake.privacy.deidentify import deidentify
    from voxlake.privacy.policy import load_policy
    from voxlake.privacy.pseudonyms import Pseudonymiser
    from voxlake.store.keys import LakeKey

_POLICIES = (load_policy("research"), load_policy("basic"))
_NAMES = Pseudonymiser(LakeKey(bytes(range(32))))


def _refused(data: bytes) -> str | None:
    try:
        dataset = read_dataset(data)
    except ItemError as error:
        return error.reason
    # An index of a medium is read without a look at its UIDs, and is never stored.
    return "ignored_system_file" if is_dicomdir(dataset) else None


def _is_plain(data: bytes) -> bool:
    try:
        parse_file(data)
    except OddFileError:
        return False
    return True


def target(data: bytes) -> None:
    """The same bytes twice, that read back, with an empty preamble; or a known reason."""
    policy = _POLICIES[len(data) % 2]
    try:
        clean = deidentify(data, policy, _NAMES).data
    except ItemError as error:
        expect(error.reason in REASONS, error.reason)
        return
    expect(clean[:132] == bytes(128) + b"DICM", "preamble")
    expect(deidentify(data, policy, _NAMES).data == clean, "not the same twice")
    expect(_is_plain(clean), "the strict reader does not read what its writer wrote")
    reason = _refused(clean)
    # What the reader refuses afterwards it refused before: de-identification breaks nothing. But pixels that
    # do not fit their header may be found only when the header has become readable.
    broken = reason not in (None, "decode_error", "truncated") and _refused(data) is None
    expect(not broken, f"{reason} after de-identification only")


if __name__ == "__main__":
    fuzz(target)
