"""What an object still holds: tags and keywords, no values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TypeAlias

from voxlake.dicom.nodes import Branch, Item, Leaf, keyword_of, tag_text

__all__ = ["Outline", "outline_of", "remaining"]

Outline: TypeAlias = "tuple[int | tuple[int, tuple[Outline, ...]], ...]"
"""Tags of elements; of a sequence its tag and the outlines of its items."""


def outline_of(nodes: Iterable[Leaf | Branch]) -> Outline:
    """Return which elements there are, at every depth."""
    return tuple(
        [
            node.tag if isinstance(node, Leaf) else (node.tag, tuple(map(_of_item, node.items)))
            for node in nodes
        ]
    )


def _of_item(item: Item) -> Outline:
    return outline_of(item.nodes)


@lru_cache(maxsize=64)
def remaining(outline: Outline) -> Mapping[str, str]:
    """Return the paths without numbers of items, each with its keyword."""
    found: dict[str, str] = {}
    _collect(outline, "", found)
    return MappingProxyType(found)


def _collect(outline: Outline, path: str, found: dict[str, str]) -> None:
    for node in outline:
        tag, items = node if isinstance(node, tuple) else (node, ())
        here = path + tag_text(tag)
        found[here] = keyword_of(tag)
        for child in items:
            _collect(child, f"{here}.", found)
