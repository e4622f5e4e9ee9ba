"""Seeds for single purposes, from the one seed of a task."""

from __future__ import annotations

import hashlib

__all__ = ["derived_seed"]


def derived_seed(seed: int, *parts: str | int) -> int:
    """A seed of 63 bits for one purpose: a random number that depends on nothing but its arguments."""
    text = ":".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
