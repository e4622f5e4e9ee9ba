"""The verb keys rotate: a new secret seals the quarantine, and the old one is forgotten."""

from __future__ import annotations

from voxlake.core.errors import IntegrityError
from voxlake.core.run import Run
from voxlake.lake.keys import SEALED, sealed_by
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import Recorder, start_run
from voxlake.store.keys import IDENTITY, LakeKey

__all__ = ["keys_rotate"]


def keys_rotate(lake: Lake) -> Run:
    """Seal the quarantine with a new secret and forget the old one; pseudonyms do not change.

    Safe to stop at any moment: run it again and it goes on where it was. Let nothing else write to the lake
    meanwhile, and give the new key file to every machine that has a copy of the old one.

    Parameters
    ----------
    lake : Lake
        The lake, with its key.

    Returns
    -------
    Run
        Items are sealed objects. ``result["sealing"]`` names the new secret without disclosing it.

    Raises
    ------
    KeyMismatchError
        This machine does not have the key of the lake.

    Examples
    --------
    >>> keys_rotate(lake)  # doctest: +SKIP
    """
    lake.reload_key()
    with start_run(lake, "keys rotate", {"key_fingerprint": lake.key.fingerprint}) as recorder:
        finishes = _is_unfinished(lake)
        if not finishes:
            # Written first and with the old secret beside it: whatever happens next, everything opens.
            lake.key.with_seal().save(lake.key_file, replace=True)
            lake.reload_key()
        seen: set[str] = set()
        while new := sorted(set(lake.objects.list(SEALED)) - seen):
            for path in new:
                _reseal(lake, recorder, path)
            seen.update(new)
        lake.key.without_old_seals().save(lake.key_file, replace=True)
        lake.reload_key()
        recorder.result |= {"sealing": lake.key.seal_names[-1], "finished_an_earlier_one": finishes}
    return recorder.run


def _is_unfinished(lake: Lake) -> bool:
    """Whether an earlier rotation was stopped between its new key file and its last object."""
    own = lake.key.own_seal_names
    if len(own) != 1:
        return len(own) > 1
    # The first rotation of a lake has no old secret to forget, only objects of the identity secret.
    return any(sealed_by(lake, path) == IDENTITY for path in lake.objects.list(SEALED))


def _reseal(lake: Lake, recorder: Recorder, path: str) -> None:
    recorder.saw()
    identifier = path.removeprefix(f"{SEALED}/")
    sealed = lake.objects.get(path)
    if LakeKey.sealed_with(sealed) == lake.key.seal_names[-1]:
        recorder.outcome(identifier, "already")
        return
    try:
        data = lake.key.unseal(sealed, context=identifier)
    except IntegrityError as error:
        recorder.outcome(identifier, "failed", reason="unsealable", detail=str(error))
        return
    lake.objects.put(path, lake.key.seal(data, context=identifier))
    recorder.outcome(identifier, "stored")
