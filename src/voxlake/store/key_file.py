"""The file that holds the secrets of a lake: one line each, for its owner's eyes only."""

from __future__ import annotations

import base64
import binascii
import os
import re
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from voxlake.core.errors import AlreadyExistsError, LakeError, NotFoundError

__all__ = ["SECRET_SIZE", "SealSecret", "file_mode", "read_secrets", "write_secrets"]

SECRET_SIZE = 32
_IDENTITY = "voxlake-key-1:"
_SEAL = "voxlake-seal-1:"
_LAKE = re.compile(r"[A-Za-z0-9_-]+")
_LARGEST = 2**20


@dataclass(frozen=True, repr=False)
class SealSecret:
    """A secret for sealing only.

    Parameters
    ----------
    secret : bytes
        32 random bytes.
    lake : str or None
        Identifier of the lake whose objects it seals; None for every lake that uses the file.
    """

    secret: bytes
    lake: str | None = None


def read_secrets(path: str | Path) -> tuple[list[bytes], list[SealSecret]]:
    """Read a key file.

    Returns
    -------
    generations : list of bytes
        Identity secrets, oldest first (lines ``voxlake-key-1:BASE64``).
    seals : list of SealSecret
        Oldest first (lines ``voxlake-seal-1:BASE64``, with ``:LAKE`` after it if it is one lake's).

    Raises
    ------
    NotFoundError
        There is no such file.
    LakeError
        Others may read the file, or it is no key file.
    """
    file = Path(path).expanduser()
    mode = file_mode(file)
    try:
        with file.open("rb") as stream:
            text = stream.read(_LARGEST).decode("ascii", errors="replace")
    except OSError as error:
        raise LakeError(f"the key file '{file}' cannot be read: {error.strerror}") from None
    # Windows has no such mode bits; access lists guard the file there.
    if os.name == "posix" and mode & 0o077:
        raise LakeError(
            f"the key file '{file}' can be read or written by others (mode {mode:04o}); "
            f"expected 0600: run 'chmod 600 {file}', and think about who may have read it"
        )
    return _parsed(text, file)


def write_secrets(
    path: str | Path, generations: list[bytes], seals: list[SealSecret], *, replace: bool
) -> None:
    """Write a key file that only its owner may read (0600, in a folder of 0700), at once or not at all.

    Parameters
    ----------
    path : str or Path
        The file.
    generations, seals : list
        Oldest first.
    replace : bool
        Whether a file of that name is replaced.

    Raises
    ------
    AlreadyExistsError
        The file exists and is not to be replaced: what its key protects would be lost.
    """
    file = Path(path).expanduser()
    lines = [_IDENTITY + _encoded(secret) for secret in generations]
    lines += [_SEAL + _encoded(seal.secret) + (f":{seal.lake}" if seal.lake else "") for seal in seals]
    # A link stays a link: its target is replaced, from a file beside the target.
    target = file.resolve()
    beside = target.with_name(f".{target.name}.{uuid4().hex[:8]}")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _write(beside, "\n".join(lines) + "\n")
            if replace:
                beside.replace(target)
            else:
                # Unlike a rename, a link fails where the name is taken.
                os.link(beside, target)
        finally:
            beside.unlink(missing_ok=True)
        _flush_folder(target.parent)
    except FileExistsError:
        raise AlreadyExistsError(f"the key file '{file}' exists; keys are not overwritten") from None
    except OSError as error:
        raise LakeError(f"the key file '{file}' cannot be written: {error.strerror}") from None


def file_mode(path: str | Path) -> int:
    """Permission bits of a key file.

    Raises
    ------
    NotFoundError
        There is no such file.
    """
    file = Path(path).expanduser()
    try:
        return file.stat().st_mode & 0o777
    except FileNotFoundError:
        raise NotFoundError(f"there is no key file '{file}'") from None
    except OSError as error:
        raise LakeError(f"the key file '{file}' cannot be read: {error.strerror}") from None


def _write(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(text)
        stream.flush()
        # A key that is lost in a power cut takes every pseudonym with it.
        os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    # Only POSIX lets a folder be opened; there the new name itself must reach the disk too.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _parsed(text: str, file: Path) -> tuple[list[bytes], list[SealSecret]]:
    generations: list[bytes] = []
    seals: list[SealSecret] = []
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if bare.startswith(_IDENTITY):
            generations.append(_decoded(bare.removeprefix(_IDENTITY), file, number))
        elif bare.startswith(_SEAL):
            secret, colon, lake = bare.removeprefix(_SEAL).partition(":")
            if colon and not _LAKE.fullmatch(lake):
                raise _no_key_file(file, number)
            seals.append(SealSecret(_decoded(secret, file, number), lake or None))
        elif bare:
            raise _no_key_file(file, number)
    secrets = [*generations, *(seal.secret for seal in seals)]
    if not generations or len(set(secrets)) < len(secrets):
        raise _no_key_file(file, None)
    return generations, seals


def _encoded(secret: bytes) -> str:
    return base64.b64encode(secret).decode("ascii")


def _decoded(text: str, file: Path, number: int) -> bytes:
    try:
        secret = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        secret = b""
    if len(secret) != SECRET_SIZE:
        raise _no_key_file(file, number)
    return secret


def _no_key_file(file: Path, number: int | None) -> LakeError:
    # The line itself is not quoted: it may be a secret with a slip of the pen.
    where = "" if number is None else f" (line {number})"
    return LakeError(
        f"'{file}' is no voxlake key file{where}: expected at least one line '{_IDENTITY}' and then lines "
        f"'{_SEAL}', each with {SECRET_SIZE} bytes in base64 and none twice"
    )
