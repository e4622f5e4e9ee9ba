"""Items that were not let in: sealed bytes, a reason, and nothing in the clear."""

from __future__ import annotations

import json
from typing import Any

from voxlake.core.errors import NotFoundError
from voxlake.lake.lake import Lake

__all__ = ["CONFLICT", "item_id", "quarantine_id", "quarantine_list", "quarantine_show", "quarantined"]

CONFLICT = "uid_conflict"

# The same bytes under another policy settle the matter only if they came later: a waiver lets in what was
# held back, but what a laxer policy stored before does not hide that a stricter one could not be met.
_CURRENT = """
select quarantine.* from quarantine anti join instances
on quarantine.source_mac = instances.source_mac and (
    quarantine.policy_digest = instances.policy_digest or quarantine.committed_at <= instances.committed_at
)
"""


def item_id(lake: Lake, name: str) -> str:
    """Keyed digest of a source name: what tables hold instead of the name."""
    return lake.key.mac("item", name.encode()).hex()[:32]


def quarantine_id(lake: Lake, name: str, mac: str | None, policy_digest: str, reason: str) -> str:
    """Name of a quarantined item: the same for the same bytes, name, policy and reason."""
    parts = f"{reason}:{mac}:{policy_digest}:{name}"
    return lake.key.mac("quarantine", parts.encode()).hex()[:32]


def _seal(lake: Lake, name: str, identifier: str, data: bytes) -> None:
    """Keep incoming bytes and their source name, encrypted with the lake's key."""
    header = json.dumps({"name": name, "bytes": len(data)}).encode()
    content = len(header).to_bytes(4, "big") + header + data
    lake.objects.put(f"quarantine/{identifier}", lake.key.seal(content, context=identifier))


def quarantined(
    lake: Lake,
    name: str,
    data: bytes | None,
    *,
    mac: str | None,
    policy_digest: str,
    reason: str,
    detail: str,
) -> dict[str, Any]:
    """Seal an item and return its row."""
    identifier = quarantine_id(lake, name, mac, policy_digest, reason)
    if not lake.objects.holds(f"quarantine/{identifier}"):
        _seal(lake, name, identifier, data or b"")
    return {
        "quarantine_id": identifier,
        "source_mac": mac,
        "policy_digest": policy_digest,
        "reason": reason,
        "detail": detail,
        "bytes": None if data is None else len(data),
    }


def quarantine_list(lake: Lake, *, reason: str | None = None, limit: int = 1000) -> list[dict[str, Any]]:
    """List what is in quarantine, newest first; items that were stored since are left out.

    Parameters
    ----------
    lake : Lake
        The lake.
    reason : str, optional
        Only this reason code.
    limit : int
        At most so many rows.

    Examples
    --------
    >>> quarantine_list(lake, reason="truncated")  # doctest: +SKIP
    """
    return lake.sql(
        f"select * from ({_CURRENT}) where $reason is null or reason = $reason "
        "order by committed_at desc, quarantine_id limit $limit",
        {"reason": reason, "limit": limit},
    ).dicts()


def quarantine_show(lake: Lake, quarantine_id: str) -> dict[str, Any]:
    """Show one quarantined item with its source name, which only a holder of the key can read.

    Parameters
    ----------
    lake : Lake
        The lake, with its key.
    quarantine_id : str
        Identifier, or its first characters.

    Raises
    ------
    NotFoundError
        No such item, or several begin so.

    Examples
    --------
    >>> quarantine_show(lake, "3f2a")  # doctest: +SKIP
    """
    rows = lake.sql(
        "select * from quarantine where starts_with(quarantine_id, $start) limit 2", {"start": quarantine_id}
    ).dicts()
    if len(rows) != 1:
        many = "several quarantined items begin" if rows else "no quarantined item begins"
        raise NotFoundError(f"{many} with '{quarantine_id}'; see `voxlake quarantine list`")
    row = rows[0]
    content = lake.key.unseal(
        lake.objects.get(f"quarantine/{row['quarantine_id']}"), context=row["quarantine_id"]
    )
    size = int.from_bytes(content[:4], "big")
    return {**row, "source_name": json.loads(content[4 : 4 + size])["name"]}
