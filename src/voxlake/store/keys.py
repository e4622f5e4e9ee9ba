"""The secrets of a lake: keyed digests and sealing.

From 32 random bytes a separate key is derived for every purpose (HKDF, RFC 5869), so that a digest made
for one purpose says nothing about another. A key may have several generations, each applied to what the
one before gave: what is stored under the first can be moved to the second without the originals.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from voxlake.core.errors import IntegrityError, LakeError, UsageError
from voxlake.store.key_file import SECRET_SIZE, SealSecret, read_secrets, write_secrets
from voxlake.store.secret import NAME_SIZE, SEALED_SIZE, Secret, keyed_digest

__all__ = ["IDENTITY", "LakeKey", "default_key_file"]

IDENTITY = "identity"
"""What an identity secret is called where it sealed something."""

# An envelope of version 1 was sealed with an identity secret; one of version 2 names its secret.
_BY_IDENTITY = b"\x01"
_BY_SEAL = b"\x02"


class LakeKey:
    """The key of a lake. It is never printed, pickled or stored in the lake.

    Parameters
    ----------
    *generations : bytes
        Identity secrets of 32 random bytes, oldest first. Use `LakeKey.generate` or `LakeKey.from_file`.
    seals : sequence of SealSecret
        Secrets for sealing only, oldest first; without one the newest identity secret seals.
    lake : str, optional
        The lake that seals: it uses seal secrets that are its own, or nobody's.
    """

    def __init__(
        self, *generations: bytes, seals: Sequence[SealSecret] = (), lake: str | None = None
    ) -> None:
        if not generations:
            raise LakeError("a key needs at least one identity secret")
        self._secrets = [bytes(secret) for secret in generations]
        self._generations = tuple(Secret(secret) for secret in generations)
        self._seals = list(seals)
        self._sealing = [Secret(seal.secret) for seal in seals]
        self._lake = lake

    @classmethod
    def generate(cls) -> LakeKey:
        """Make a new random key of one generation."""
        return cls(secrets.token_bytes(SECRET_SIZE))

    @classmethod
    def from_file(cls, path: str | Path, *, lake: str | None = None) -> LakeKey:
        """Read a key file.

        Parameters
        ----------
        path : str or Path
            The file.
        lake : str, optional
            Identifier of the lake that is to be sealed for.

        Raises
        ------
        NotFoundError
            There is no such file.
        LakeError
            Others may read the file, or it is no key file.
        """
        generations, seals = read_secrets(path)
        return cls(*generations, seals=seals, lake=lake)

    def save(self, path: str | Path, *, replace: bool = False) -> None:
        """Write the key to a file that only its owner may read (0600, in a folder of 0700).

        The file is there whole or not at all, also after a power cut.

        Parameters
        ----------
        path : str or Path
            The file.
        replace : bool
            Whether a key file of that name is replaced.

        Raises
        ------
        AlreadyExistsError
            The file exists and is not to be replaced; what its key protects would be lost.
        """
        write_secrets(path, self._secrets, self._seals, replace=replace)

    @property
    def generations(self) -> tuple[Secret, ...]:
        """The identity secrets, oldest first."""
        return self._generations

    @property
    def fingerprint(self) -> str:
        """16 hex characters that name the identity secrets and reveal nothing of them.

        Secrets for sealing do not count: they change without a change of any pseudonym.
        """
        digest = b""
        for secret in self._secrets:
            digest = keyed_digest(secret, b"fingerprint" + digest)
        return digest.hex()[:16]

    def mac(self, purpose: str, data: bytes) -> bytes:
        """HMAC-SHA-256 (32 bytes) of data under the key derived for a purpose.

        Each generation takes the digest of the one before, so that the last alone moves a stored digest on.
        """
        for generation in self._generations:
            data = generation.mac(purpose, data)
        return data

    def with_generation(self) -> LakeKey:
        """Return a key with one more, new, generation and without secrets for sealing."""
        return LakeKey(*self._secrets, secrets.token_bytes(SECRET_SIZE), lake=self._lake)

    def follows(self, older: LakeKey) -> bool:
        """Say whether this key has the generations of another and exactly one more."""
        before = self._secrets[:-1]
        return len(before) == len(older._secrets) and all(map(secrets.compare_digest, before, older._secrets))

    def with_seal(self) -> LakeKey:
        """Return a key that seals with a new secret of its lake and still opens what older ones sealed."""
        seals = [*self._seals, SealSecret(secrets.token_bytes(SECRET_SIZE), self._lake)]
        return LakeKey(*self._secrets, seals=seals, lake=self._lake)

    def without_old_seals(self) -> LakeKey:
        """Return a key without the seal secrets of its lake that the newest of them replaced.

        Those of other lakes and of no lake stay: somebody else's objects may need them.
        """
        own = [seal for seal in self._seals if seal.lake == self._lake]
        seals = [seal for seal in self._seals if seal.lake != self._lake or seal is own[-1]]
        return LakeKey(*self._secrets, seals=seals, lake=self._lake)

    @property
    def seal_names(self) -> tuple[str, ...]:
        """Names of the secrets that this lake may seal with, oldest first; the last one does.

        A name is `IDENTITY` or 16 hex characters that reveal nothing of the secret.
        """
        return (IDENTITY, *(secret.name for secret in self._usable()))

    @property
    def own_seal_names(self) -> tuple[str, ...]:
        """Names of the seal secrets that are this lake's alone, oldest first."""
        pairs = zip(self._seals, self._sealing, strict=True)
        return tuple(secret.name for seal, secret in pairs if seal.lake == self._lake)

    @staticmethod
    def sealed_with(sealed: bytes) -> str | None:
        """Name of the secret that sealed an object, from its first 9 bytes; None if it is no envelope."""
        if sealed[:1] == _BY_IDENTITY:
            return IDENTITY
        named = sealed[:1] == _BY_SEAL and len(sealed) >= 1 + NAME_SIZE
        return sealed[1 : 1 + NAME_SIZE].hex() if named else None

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
            Version (1 byte; 1 for an identity secret, 2 for one for sealing), with version 2 the name of the
            secret (8), nonce (12), cipher text and tag (16).
        """
        usable = self._usable()
        secret = usable[-1] if usable else self._generations[-1]
        head = _BY_SEAL + bytes.fromhex(secret.name) if usable else _BY_IDENTITY
        return head + secret.encrypt(data, head + context.encode())

    def unseal(self, sealed: bytes, *, context: str) -> bytes:
        """Give back what `seal` was given, with whichever secret of this key it was sealed.

        Raises
        ------
        IntegrityError
            The bytes were changed, or sealed with another key or context.
        """
        name = self.sealed_with(sealed)
        start = 1 if name == IDENTITY else 1 + NAME_SIZE
        if name is None or len(sealed) < start + SEALED_SIZE:
            raise IntegrityError("these bytes were not sealed by voxlake, or are cut short")
        named = [secret for secret in self._sealing if secret.name == name]
        for secret in reversed(self._generations) if name == IDENTITY else named:
            data = secret.decrypt(sealed[start:], sealed[:start] + context.encode())
            if data is not None:
                return data
        raise IntegrityError(
            "sealed bytes do not open: they were changed, or sealed with another key or name"
        )

    def _usable(self) -> list[Secret]:
        pairs = zip(self._seals, self._sealing, strict=True)
        usable = [(seal, secret) for seal, secret in pairs if seal.lake in (None, self._lake)]
        # The lake's own secrets come last: the newest of them seals, and nobody's only where there is none.
        return [secret for _, secret in sorted(usable, key=lambda pair: pair[0].lake is not None)]

    def __repr__(self) -> str:
        return f"LakeKey(fingerprint={self.fingerprint!r})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, LakeKey)
            and secrets.compare_digest(b"".join(self._secrets), b"".join(other._secrets))
            and self._seals == other._seals
        )

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> NoReturn:
        raise UsageError("a key is never sent to another process; let each process read the key file itself")


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
