"""Frames and scans of a JPEG picture (ITU-T T.81, B.2.2, B.2.3, G.1.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from voxlake.core.errors import ItemError

__all__ = ["FRAMES", "Component", "Frame", "Progress", "Scan", "read_frame", "read_scan"]

# SOF markers without hierarchical ones, which describe several pictures (T.81 table B.1).
FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCB})
_PROGRESSIVE = frozenset({0xC2, 0xCA})
_LOSSLESS = frozenset({0xC3, 0xCB})
_ARITHMETIC = frozenset({0xC9, 0xCA, 0xCB})
_MOST_COMPONENTS = 4
_COEFFICIENTS = 64
# Decoders take three components of these names for red, green and blue.
_RGB = b"RGB"


class Component(NamedTuple):
    """A component as the frame states it: sampling across and down, and its quantisation table."""

    across: int
    down: int
    quantisation: int


class Scan(NamedTuple):
    """A scan: (component index, DC table, AC table) of each part, its band, its bit positions."""

    parts: tuple[tuple[int, int, int], ...]
    first: int
    last: int
    high: int
    low: int
    body: bytes


@dataclass(frozen=True)
class Frame:
    """The frame header.

    Attributes
    ----------
    marker : int
        Which SOF.
    rows, columns : int
        Size in pixels.
    components : tuple of Component
        In the order of the frame.
    names : bytes
        How scans name them in the file that is read.
    body : bytes
        The segment to be written, in which components are named 1, 2, ..., or R, G, B.
    """

    marker: int
    rows: int
    columns: int
    components: tuple[Component, ...]
    names: bytes
    body: bytes

    @property
    def progressive(self) -> bool:
        """Whether coefficients come in several scans."""
        return self.marker in _PROGRESSIVE

    @property
    def lossless(self) -> bool:
        """Whether differences are coded instead of coefficients."""
        return self.marker in _LOSSLESS

    @property
    def arithmetic(self) -> bool:
        """Whether the coding is arithmetic, without Huffman tables."""
        return self.marker in _ARITHMETIC

    def units(self, scan: Scan) -> int:
        """MCUs of a scan, which restart intervals count (T.81 A.2)."""
        block = 1 if self.lossless else 8
        most_across = max(component.across for component in self.components)
        most_down = max(component.down for component in self.components)
        if len(scan.parts) > 1:
            return -(-self.columns // (block * most_across)) * -(-self.rows // (block * most_down))
        component = self.components[scan.parts[0][0]]
        columns = -(-self.columns * component.across // most_across)
        rows = -(-self.rows * component.down // most_down)
        return -(-columns // block) * -(-rows // block)


def read_frame(marker: int, body: bytes) -> Frame:
    """Read an SOF segment.

    Raises
    ------
    ItemError
        ``deidentify_failed``: impossible values, or a height that follows the picture (DNL).
    """
    if len(body) < 6 or not 1 <= body[5] <= _MOST_COMPONENTS or len(body) != 6 + 3 * body[5]:
        raise ItemError("deidentify_failed", f"a JPEG frame header of {len(body)} bytes")
    precision, rows, columns, count = struct.unpack_from(">B2HB", body)
    stated = [body[6 + 3 * n : 9 + 3 * n] for n in range(count)]
    components = tuple(Component(part[1] >> 4, part[1] & 15, part[2]) for part in stated)
    names = bytes(part[0] for part in stated)
    sound = all(
        1 <= part.across <= 4 and 1 <= part.down <= 4 and part.quantisation < 4 for part in components
    )
    if not sound or not rows or not columns or not 2 <= precision <= 16 or len(set(names)) < count:
        raise ItemError("deidentify_failed", "the JPEG frame header states impossible values")
    clean = b"".join(bytes([_name(names, n)]) + part[1:] for n, part in enumerate(stated))
    return Frame(marker, rows, columns, components, names, body[:6] + clean)


def read_scan(frame: Frame, body: bytes) -> Scan:
    """Read an SOS segment.

    Raises
    ------
    ItemError
        ``deidentify_failed``: impossible values, or a component that the frame does not have.
    """
    if not body or not 1 <= body[0] <= len(frame.components) or len(body) != 4 + 2 * body[0]:
        raise ItemError("deidentify_failed", f"a JPEG scan header of {len(body)} bytes")
    stated = [(body[1 + 2 * n], body[2 + 2 * n]) for n in range(body[0])]
    first, last, bits = body[-3:]
    known = all(name in frame.names and tables >> 4 < 4 and tables & 15 < 4 for name, tables in stated)
    if not known or len({name for name, _ in stated}) < len(stated):
        raise ItemError("deidentify_failed", "a JPEG scan of components that the frame does not have")
    parts = tuple((frame.names.index(name), tables >> 4, tables & 15) for name, tables in stated)
    clean = b"".join(bytes([_name(frame.names, n), dc << 4 | ac]) for n, dc, ac in parts)
    # Sequential decoders read the whole block, whatever stands here.
    band = body[-3:] if frame.progressive or frame.lossless else bytes((0, _COEFFICIENTS - 1, 0))
    return Scan(parts, first, last, bits >> 4, bits & 15, body[:1] + clean + band)


def _name(names: bytes, n: int) -> int:
    return names[n] if names == _RGB else n + 1


class Progress:
    """What has been decoded so far: a scan that says something twice hides a picture."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._bits: dict[tuple[int, int], int] = {}

    @property
    def complete(self) -> bool:
        """Whether every component has begun."""
        return all((n, 0) in self._bits for n in range(len(self._frame.components)))

    def take(self, scan: Scan) -> None:
        """Note a scan.

        Raises
        ------
        ItemError
            ``deidentify_failed``: it repeats what is there, or refines what is not.
        """
        band = range(scan.first, scan.last + 1) if self._frame.progressive else range(1)
        if self._frame.progressive and not self._sound_band(scan):
            raise ItemError("deidentify_failed", "a JPEG scan of a band that cannot be")
        for part, _, _ in scan.parts:
            for n in band:
                before = self._bits.get((part, n))
                refined = before is not None and self._frame.progressive
                if (before is not None and not refined) or (refined and before != scan.high):
                    raise ItemError("deidentify_failed", "a JPEG scan of what an earlier scan held")
                if before is None and scan.high and self._frame.progressive:
                    raise ItemError("deidentify_failed", "a JPEG scan refines what no scan held")
                self._bits[part, n] = scan.low

    @staticmethod
    def _sound_band(scan: Scan) -> bool:
        if not scan.first <= scan.last < _COEFFICIENTS or (scan.high and scan.low != scan.high - 1):
            return False
        return scan.last == 0 if scan.first == 0 else len(scan.parts) == 1
