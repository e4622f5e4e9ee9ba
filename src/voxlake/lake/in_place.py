"""Files that stay where they are: registered with their place and digest, not copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from voxlake.core.errors import UsageError
from voxlake.privacy.policy import Policy
from voxlake.sources.folder import FileItem
from voxlake.sources.item import Item, MappedItem

__all__ = ["check_in_place", "register"]


def check_in_place(policy: Policy) -> None:
    """Refuse to register files in place under a policy that changes them.

    Raises
    ------
    UsageError
        The policy is not ``none``.
    """
    if policy.profile != "none":
        raise UsageError(
            f"files can be registered in place under policy 'none' only, got '{policy.name}': what is "
            "de-identified is another file, which has to be stored. Leave out --in-place or use --policy none"
        )


def register(row: dict[str, Any], item: Item, length: int, digest: str) -> None:
    """Complete a row of `instances` with the place of its file.

    The row stays as it is if the item is no file of its own on this machine (a member of an archive, an
    object of a bucket, a generated image): that goes into a pack as always.

    Parameters
    ----------
    row : dict
        Row of `instances`; gets ``pack``, ``offset``, ``length``, ``sha256``.
    item : Item
        Where the bytes come from.
    length : int
        Number of its bytes.
    digest : str
        SHA-256 (hex) of them.
    """
    source = item.item if isinstance(item, MappedItem) else item
    if isinstance(source, FileItem):
        row |= {
            "pack": Path(source.path).absolute().as_uri(),
            "offset": 0,
            "length": length,
            "sha256": digest,
        }
