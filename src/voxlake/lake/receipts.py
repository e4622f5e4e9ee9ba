"""Receipts: what an erasure did, signed with the key of the lake, without naming anybody."""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from voxlake.core.digest import canonical_json
from voxlake.core.errors import IntegrityError, NotFoundError
from voxlake.lake.checked import Checked
from voxlake.lake.lake import Lake

__all__ = ["object_mac", "receipt", "verify_receipt", "write_receipt"]

_PURPOSE = "receipt"
_NAME = re.compile(r"[0-9a-f]{32}")


def object_mac(lake: Lake, digest: str) -> str:
    """Keyed digest of the SHA-256 of an erased object: proves to who has the key and a copy what it was."""
    return lake.key.mac("erased", digest.encode()).hex()


def write_receipt(lake: Lake, content: Mapping[str, Any], in_place: Sequence[str]) -> dict[str, Any]:
    """Sign and store a receipt; returns it as stored.

    Parameters
    ----------
    lake : Lake
        The lake, with its key.
    content : mapping
        With ``receipt``, its identifier.
    in_place : sequence of str
        Files outside the lake that remain; their names are sealed.
    """
    identifier = str(content["receipt"])
    sealed = lake.key.seal(json.dumps(list(in_place)).encode(), context=f"{_PURPOSE}:{identifier}")
    signed = {**content, "in_place_sealed": base64.b64encode(sealed).decode()}
    stored = {**signed, "signature": _signature(lake, signed)}
    lake.objects.put(_path(identifier), (json.dumps(stored, indent=2) + "\n").encode())
    return stored


def verify_receipt(lake: Lake, content: Mapping[str, Any]) -> bool:
    """Whether a receipt was signed with the key of this lake and not changed since."""
    signed = {name: value for name, value in content.items() if name != "signature"}
    return hmac.compare_digest(_signature(lake, signed), str(content.get("signature", "")))


def receipt(lake: Lake, identifier: str) -> Checked:
    """Show the receipt of an erasure and check its signature.

    Parameters
    ----------
    lake : Lake
        The lake, with its key.
    identifier : str
        Identifier of the receipt, as `erase` gave it.

    Returns
    -------
    Checked
        The receipt, with the files that remain outside the lake; it holds if the signature is right.

    Raises
    ------
    NotFoundError
        There is no such receipt.
    KeyMismatchError
        This machine does not have the key of the lake.

    Examples
    --------
    >>> receipt(lake, "6f1e2d3c4b5a69788796a5b4c3d2e1f0")  # doctest: +SKIP
    """
    if not _NAME.fullmatch(identifier):
        raise NotFoundError(f"'{identifier}' is no receipt: expected 32 characters 0-9, a-f")
    content = json.loads(lake.objects.get(_path(identifier)))
    right = verify_receipt(lake, content)
    shown = {name: value for name, value in content.items() if name not in {"in_place_sealed", "erased"}}
    shown["erased"] = len(content["erased"])
    try:
        sealed = base64.b64decode(content["in_place_sealed"])
        shown["in_place"] = json.loads(lake.key.unseal(sealed, context=f"{_PURPOSE}:{identifier}"))
    except (IntegrityError, ValueError):
        # After a rotation of the key nobody can open it any more; the rest still counts.
        shown["in_place"] = "does not open with this key"
    return Checked(right, {"signature_is_right": right, **shown})


def _signature(lake: Lake, signed: Mapping[str, Any]) -> str:
    return lake.key.mac(_PURPOSE, canonical_json(signed).encode()).hex()


def _path(identifier: str) -> str:
    return f"receipts/{identifier}.json"
