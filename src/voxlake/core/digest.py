"""Digests: how content and settings are named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

__all__ = ["canonical_json", "digest_bytes", "digest_json", "digest_many", "short"]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no white space: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_json(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON form of a value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_bytes(data: bytes | bytearray | memoryview) -> str:
    """SHA-256 (hex) of bytes."""
    return hashlib.sha256(data).hexdigest()


def digest_many(parts: Iterable[str]) -> str:
    """SHA-256 (hex) over an ordered list of strings, unambiguous about where one ends."""
    state = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        state.update(len(encoded).to_bytes(8, "big"))
        state.update(encoded)
    return state.hexdigest()


def short(digest: str, length: int = 12) -> str:
    """The first characters of a digest, for people."""
    return digest[:length]
