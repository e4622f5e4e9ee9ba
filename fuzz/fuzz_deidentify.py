"""Bytes through de-identification: twice the same, and no less readable than before."""

from __future__ import annotations

import atheris
from common import expect, fuzz

with atheris.instrument_imports(include=["voxlake"]):
    from voxlake.core.errors import ItemError
    from voxlake.core.reasons import REASONS
    from voxlake.dicom.parse_bytes import OddFileError, parse_file
    from voxlake.dicom.read import is_dicomdir, read_dataset
    from voxlake.privacy.deidentify import Deidentified, Deidentifier, deidentify
    from voxlake.privacy.policy import load_policy
    from voxlake.privacy.pseudonyms import Pseudonymiser
    from voxlake.store.keys import LakeKey

_POLICIES = (load_policy("research"), load_policy("basic"))
_NAMES = Pseudonymiser(LakeKey(bytes(range(32))))
# They remember what they were given before; what they answer must not tell.
_REMEMBERING = tuple(Deidentifier(policy, _NAMES) for policy in _POLICIES)


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


def _told(clean: Deidentified) -> tuple[object, ...]:
    return (
        clean.data,
        clean.patient_id,
        clean.report,
        dict(clean.changes),
        dict(clean.remains()),
        clean.names(),
    )


def _check_memory(data: bytes, one: bytes, other: bytes) -> None:
    """A file, two like it that make a series of it, and the file again: as without memory."""
    for policy, remembering in zip(_POLICIES, _REMEMBERING, strict=True):
        for file in (one, other, data):
            try:
                fresh: object = _told(deidentify(file, policy, _NAMES))
            except ItemError as error:
                fresh = error.reason, error.message
            try:
                found: object = _told(remembering(file))
            except ItemError as error:
                found = error.reason, error.message
            expect(found == fresh, "memory changes the answer")


def _like(data: bytes, change: int) -> bytes:
    """The same file with another byte in its last tenth, where pixels lie."""
    changed = bytearray(data)
    if changed:
        changed[-1 - len(changed) // 10] ^= change
    return bytes(changed)


def target(data: bytes) -> None:
    """The same bytes twice, that read back, with an empty preamble; or a known reason."""
    _check_memory(data, _like(data, 1), _like(data, 2))
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
