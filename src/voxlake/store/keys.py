"""The secret of a lake: keyed digests and sealing.

From 32 random bytes a separate key is derived for every purpose (HKDF, RFC 5869), so that a digest made
for one purpose says nothing about another.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from pathlib import Path
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from voxlake.core.errors import AlreadyExistsError, IntegrityError, LakeError, NotFoundError, UsageError

__all__ = ["LakeKey", "default_key_file"]

_PREFIX = "voxlake-key-1:"
_SIZE = 32
_VERSION = b"\x01"
_NONCE = 12
_TAG = 16


class LakeKey:
    """The key of a lake. It is never printed, pickled or stored in the lake.

    Parameters
    ----------
    secret : bytes
        32 random bytes. Use `LakeKey.generate` or `LakeKey.from_file`.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != _SIZE:
            raise LakeError(f"a key has {_SIZE} bytes, got {len(secret)}")
        self._secret = bytes(secret)
        self._derived: dict[bytes, bytes] = {}

    @classmethod
    def generate(cls) -> LakeKey:
        """Make a new random key."""
        return cls(secrets.token_bytes(_SIZE))

    @classmethod
    def from_file(cls, path: str | Path) -> LakeKey:
        """Read a key file.

        Raises
        ------
        NotFoundError
            There is no such file.
        LakeError
            Others may read the file, or it is no key file.
        """
        file = Path(path).expanduser()
        try:
            mode = file.stat().st_mode
            text = file.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            raise NotFoundError(f"there is no key file '{file}'") from None
        except OSError as error:
            raise LakeError(f"the key file '{file}' cannot be read: {error.strerror}") from None
        # Windows has no such mode bits; access lists guard the file there.
        if os.name == "posix" and mode & 0o077:
            raise LakeError(
                f"the key file '{file}' can be read or written by others (mode {mode & 0o777:04o}); "
                f"expected 0600: run 'chmod 600 {file}', and think about who may have read it"
            )
        return cls(_decoded(text, file))

    def save(self, path: str | Path) -> None:
        """Write the key to a new file that only its owner may read (0600, in a folder of 0700).

        Raises
        ------
        AlreadyExistsError
            The file exists; a key is never overwritten, what it protects would be lost.
        """
        file = Path(path).expanduser()
        text = _PREFIX + base64.b64encode(self._secret).decode("ascii") + "\n"
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise AlreadyExistsError(f"the key file '{file}' exists; keys are not overwritten") from None
        except OSError as error:
            raise LakeError(f"the key file '{file}' cannot be written: {error.strerror}") from None
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(text)
            stream.flush()
            # A key that is lost in a power cut takes every pseudonym with it.
            os.fsync(stream.fileno())

    @property
    def fingerprint(self) -> str:
        """16 hex characters that name the key and reveal nothing of it."""
        return _hmac(self._secret, b"fingerprint").hex()[:16]

    def mac(self, purpose: str, data: bytes) -> bytes:
        """HMAC-SHA-256 (32 bytes) of data under the key derived for a purpose."""
        return _hmac(self._derive(b"mac:" + purpose.encode()), data)

    def seal(self, data: bytes, *, context: str) -> bytes:
        """Encrypt and authenticate data (AES-256-GCM, NIST SP 800-38D).

        Parameters
        ----------
        data : bytes
            What is to be sealed.
        context : str
            What it is, for example its name; `unseal` needs the same.

        Returns
        -------
        bytes
            Version (1 byte), nonce (12), cipher text and tag (16).
        """
        nonce = secrets.token_bytes(_NONCE)
        cipher = AESGCM(self._derive(b"seal"))
        return _VERSION + nonce + cipher.encrypt(nonce, data, _VERSION + context.encode())

    def unseal(self, sealed: bytes, *, context: str) -> bytes:
        """Give back what `seal` was given.

        Raises
        ------
        IntegrityError
            The bytes were changed, or sealed with another key or context.
        """
        if len(sealed) < 1 + _NONCE + _TAG or sealed[:1] != _VERSION:
            raise IntegrityError("these bytes were not sealed by voxlake, or are cut short")
        cipher = AESGCM(self._derive(b"seal"))
        try:
            return cipher.decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], _VERSION + context.encode())
        except InvalidTag:
            raise IntegrityError(
                "sealed bytes do not open: they were changed, or sealed with another key or name"
            ) from None

    def __repr__(self) -> str:
        return f"LakeKey(fingerprint={self.fingerprint!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LakeKey) and secrets.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> NoReturn:
        raise UsageError("a key is never sent to another process; let each process read the key file itself")

    def _derive(self, purpose: bytes) -> bytes:
        # One derivation costs more than the HMAC of a digest, and ingest makes a million of those.
        derived = self._derived.get(purpose)
        if derived is None:
            derive = HKDF(algorithm=hashes.SHA256(), length=_SIZE, salt=None, info=b"voxlake:1:" + purpose)
            derived = self._derived[purpose] = derive.derive(self._secret)
        return derived


def default_key_file(lake_id: str) -> Path:
    """Where the key of a lake lies unless another file is named.

    Raises
    ------
    UsageError
        The lake identifier has characters that do not belong in a file name.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", lake_id):
        raise UsageError(f"'{lake_id}' is no lake identifier: expected letters, digits, _ and -")
    return Path.home() / ".config" / "voxlake" / "keys" / lake_id


def _decoded(text: str, file: Path) -> bytes:
    if text.startswith(_PREFIX):
        try:
            secret = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        except (ValueError, binascii.Error):
            secret = b""
        if len(secret) == _SIZE:
            return secret
    raise LakeError(
        f"'{file}' is no voxlake key file: expected one line '{_PREFIX}' and {_SIZE} bytes in base64"
    )


def _hmac(key: bytes, data: bytes) -> bytes:
    state = hmac.HMAC(key, hashes.SHA256())
    state.update(data)
    return state.finalize()
