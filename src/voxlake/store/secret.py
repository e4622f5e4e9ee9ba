"""One secret: keyed digests and sealing with keys derived from it."""

from __future__ import annotations

import secrets
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from voxlake.core.errors import LakeError, UsageError
from voxlake.store.key_file import SECRET_SIZE

__all__ = ["NAME_SIZE", "SEALED_SIZE", "Secret", "keyed_digest"]

NAME_SIZE = 8
_NONCE = 12
_TAG = 16
SEALED_SIZE = _NONCE + _TAG
"""By how many bytes sealed data are longer than the data."""


class Secret:
    """32 random bytes at work. It is never printed, pickled or stored in a lake.

    Parameters
    ----------
    secret : bytes
        32 random bytes.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_SIZE:
            raise LakeError(f"a key has {SECRET_SIZE} bytes, got {len(secret)}")
        self._secret = bytes(secret)
        self._derived: dict[bytes, bytes] = {}

    @property
    def name(self) -> str:
        """16 hex characters that tell this secret from others and reveal nothing of it."""
        return keyed_digest(self._secret, b"seal-name")[:NAME_SIZE].hex()

    def mac(self, purpose: str, data: bytes) -> bytes:
        """HMAC-SHA-256 (32 bytes) of data under the key derived for a purpose."""
        return keyed_digest(self._derive(b"mac:" + purpose.encode()), data)

    def encrypt(self, data: bytes, context: bytes) -> bytes:
        """Encrypt and authenticate (AES-256-GCM, NIST SP 800-38D): nonce (12 bytes), cipher text and tag."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + AESGCM(self._derive(b"seal")).encrypt(nonce, data, context)

    def decrypt(self, sealed: bytes, context: bytes) -> bytes | None:
        """Give back what `encrypt` was given; None if the bytes, the secret or the context are others."""
        try:
            return AESGCM(self._derive(b"seal")).decrypt(sealed[:_NONCE], sealed[_NONCE:], context)
        except InvalidTag:
            return None

    def __repr__(self) -> str:
        return "Secret()"

    def __reduce__(self) -> NoReturn:
        raise UsageError("a key is never sent to another process; let each process read the key file itself")

    def _derive(self, purpose: bytes) -> bytes:
        # One derivation costs more than the HMAC of a digest, and ingest makes a million of those.
        derived = self._derived.get(purpose)
        if derived is None:
            info = b"voxlake:1:" + purpose
            derive = HKDF(algorithm=hashes.SHA256(), length=SECRET_SIZE, salt=None, info=info)
            derived = self._derived[purpose] = derive.derive(self._secret)
        return derived


def keyed_digest(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA-256 (32 bytes) under a key as it is."""
    state = hmac.HMAC(key, hashes.SHA256())
    state.update(data)
    return state.finalize()
