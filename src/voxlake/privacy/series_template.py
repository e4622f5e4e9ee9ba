"""What the de-identified objects of one series have in common, and where they differ."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from typing import Literal, NamedTuple

from voxlake.dicom.nodes import Branch, Item, Leaf, PrivateVr, is_creator
from voxlake.dicom.parse_bytes import ParsedFile, Parser
from voxlake.dicom.write_nodes import encoded, write_parts
from voxlake.privacy.changes import Changes, Noted
from voxlake.privacy.identifiers import MAKERS, Searched, header_identifiers
from voxlake.privacy.markers import file_meta
from voxlake.privacy.remains import Outline, outline_of, remaining
from voxlake.privacy.walk import PATIENT_ID, PATIENT_NAME, Walker

__all__ = [
    "METHOD_CODES",
    "MODALITY",
    "SOP_CLASS",
    "SOP_INSTANCE",
    "STUDY_UID",
    "Seen",
    "Template",
    "Written",
    "may_differ",
]

SOP_CLASS, SOP_INSTANCE, STUDY_UID, MODALITY = 0x00080016, 0x00080018, 0x0020000D, 0x00080060
METHOD_CODES = 0x00120064

_CHARACTER_SET, _PIXELS = 0x00080005, 0x7FE00010
_SHORT = 4
# What becomes of other elements depends on these: whose object it is, of what kind, how texts are written.
_STEERING = frozenset({SOP_CLASS, MODALITY, *MAKERS, PATIENT_NAME, PATIENT_ID, STUDY_UID, METHOD_CODES})


class Seen(NamedTuple):
    """A file that was read in full, and what became of it.

    Parameters
    ----------
    data : bytes
        The file.
    parsed : ParsedFile
        The same as nodes.
    private_vr : callable
        With which it was parsed.
    walker : Walker
        After its walk.
    where : Searched
        Where identifiers were looked for.
    written : frozenset of int
        Tags of the top level that are written whatever was there.
    root : Item
        As it was written.
    patient_id : str or None
        Its pseudonym.
    """

    data: bytes
    parsed: ParsedFile
    private_vr: PrivateVr
    walker: Walker
    where: Searched
    written: frozenset[int]
    root: Item
    patient_id: str | None

    def raw(self, place: int) -> bytes:
        """Return the bytes of an element."""
        bounds = self.parsed.bounds
        return self.data[bounds[place] : bounds[place + 1]]


class Written(NamedTuple):
    """A file out of the memory of others.

    Parameters
    ----------
    data : bytes
        The object in the DICOM file format.
    root : Item
        The same as nodes.
    changes : Changes
        What was done.
    remains : mapping
        What it still holds.
    patient_id : str or None
        Pseudonym.
    """

    data: bytes
    root: Item
    changes: Changes
    remains: Mapping[str, str]
    patient_id: str | None


class _Slot(NamedTuple):
    """An element that differs.

    Parameters
    ----------
    run : bytes
        What must stand before it.
    tag : int
        Its tag.
    kept : bool
        Whether it was kept.
    notes : tuple of Noted
        What was noted of it.
    outline : tuple
        Of what became of it.
    """

    run: bytes
    tag: int
    kept: bool
    notes: tuple[Noted, ...]
    outline: Outline


class _Fixed(NamedTuple):
    """What was written between two elements that differ."""

    data: bytes
    nodes: tuple[Leaf | Branch, ...]
    notes: tuple[Noted, ...]


def may_differ(tag: int, written: Collection[int]) -> bool:
    """Whether nothing else depends on the value of an element of the top level.

    Parameters
    ----------
    tag : int
        Of the element.
    written : collection of int
        Tags that are written whatever was there.
    """
    return tag not in written and tag > _CHARACTER_SET and tag not in _STEERING and not is_creator(tag)


class Template:
    """What the files of one series have in common.

    Nothing is remembered of an element but by its bytes, beside all that they were judged by: the template
    holds for files in which those are the same, and in which the other elements name the same people and
    dates.

    Parameters
    ----------
    seen : Seen
        One of the files.
    differing : collection of int
        Tags of the elements that differ, each of which `may_differ`.
    """

    def __init__(self, seen: Seen, differing: Collection[int]) -> None:
        parsed, walker = seen.parsed, seen.walker
        self._syntax, self._encoding = parsed.syntax, parsed.root.encoding
        self._private_vr, self._creators = seen.private_vr, dict(parsed.creators)
        self._walker, self._where, self._patient_id = walker.again(), seen.where, seen.patient_id
        self._makers = [node for node in parsed.root.nodes if node.tag in MAKERS]
        self._learn_people(parsed.root.nodes, differing)
        self._learn_runs(seen, differing)
        self._learn_output(seen, differing)
        self._changes = Changes(walker.changes.noted())
        self._learn_pixels(seen)
        self._remains = remaining(outline_of(seen.root.nodes))

    def _learn_people(self, nodes: Iterable[Leaf | Branch], differing: Collection[int]) -> None:
        nodes = list(nodes)
        everyone = self._people(nodes)
        self._people_fixed = self._people(node for node in nodes if node.tag not in differing)
        self._people_else = tuple(
            every - fixed for every, fixed in zip(everyone, self._people_fixed, strict=True)
        )

    def _people(self, nodes: Iterable[Leaf | Branch]) -> tuple[set[str], set[str]]:
        return header_identifiers(Item(self._encoding, [*self._makers, *nodes]), self._where)

    def _learn_runs(self, seen: Seen, differing: Collection[int]) -> None:
        bounds, ends, changes = seen.parsed.bounds, seen.walker.ends, seen.walker.changes
        after = {node.tag: node for node in seen.root.nodes}
        self._slots: list[_Slot] = []
        self._notes: list[tuple[Noted, ...]] = []
        here, noted = bounds[0], 0
        for place, node in enumerate(seen.parsed.root.nodes):
            if node.tag not in differing:
                continue
            before = ends[place - 1] if place else 0
            self._notes.append(changes.noted(noted, before))
            noted = ends[place]
            new = after.get(node.tag)
            outline = () if new is None else outline_of((new,))
            run = seen.data[here : bounds[place]]
            notes = changes.noted(before, noted)
            self._slots.append(_Slot(run, node.tag, new is not None, notes, outline))
            here = bounds[place + 1]
        self._last = seen.data[here : bounds[-1]]
        self._notes.append(changes.noted(noted))

    def _learn_pixels(self, seen: Seen) -> None:
        """Find out how native pixel data begin that are copied as they are, up to their length."""
        self._pixels: tuple[Leaf, bytes] | None = None
        leaf = seen.parsed.root.leaf(_PIXELS)
        if leaf is None or leaf.undefined or leaf.vr[:2] not in ("OB", "OW"):
            return
        if not seen.walker.keeps_pixels or seen.root.leaf(_PIXELS) != leaf:
            return
        if self._slots and self._slots[-1].tag == _PIXELS and not self._slots[-1].notes and not self._last:
            empty = leaf._replace(value=b"")
            # Of VRs that the dictionary leaves open the length decides; a short one goes the way of others.
            head = encoded([leaf._replace(value=b"\0" * _SHORT)], self._encoding)[: -_SHORT - 4]
            self._pixels = empty, head

    def _learn_output(self, seen: Seen, differing: Collection[int]) -> None:
        ends = [*(slot.tag for slot in self._slots), 1 << 32]
        runs: list[list[Leaf | Branch]] = [[] for _ in ends]
        place = 0
        for node in seen.root.nodes:
            while node.tag > ends[place]:
                place += 1
            if node.tag not in differing:
                runs[place].append(node)
        self._runs = [
            _Fixed(encoded(run, seen.root.encoding), tuple(run), notes)
            for run, notes in zip(runs, self._notes, strict=True)
        ]

    def write(self, data: bytes, syntax: str, start: int) -> Written | None:
        """De-identify a file, None if it is of another series, or only a full look at it can tell.

        Parameters
        ----------
        data : bytes
            The file.
        syntax : str
            Its transfer syntax.
        start : int
            Where its data set begins.

        Raises
        ------
        OddFileError, ItemError, and what broken values raise
            Only a full look can tell.
        """
        found = self._read(data, start) if syntax == self._syntax else None
        if found is None or not self._same_people(found[0]):
            return None
        item, copied = found
        walker = self._walker.again()
        root = Item(item.encoding)
        parts: list[bytes | memoryview | tuple[Leaf | Branch, ...]] = [self._runs[0].data]
        notes = [self._runs[0].notes]
        root.nodes += self._runs[0].nodes
        same = alike = True
        # Of pixel data that are copied there is no node.
        for node, slot, run in zip(item.nodes, self._slots, self._runs[1:], strict=False):
            before = len(walker.changes)
            new = walker.element(node, item)
            # With a private element its creator goes, which lies among what is the same.
            if node.tag & 0x10000 and (new is not None) != slot.kept:
                return None
            kept = () if new is None else (new,)
            noted = walker.changes.noted(before)
            same = same and outline_of(kept) == slot.outline
            alike = alike and noted == slot.notes
            parts += (kept, run.data)
            root.nodes += (*kept, *run.nodes)
            notes += (noted, run.notes)
        if len(item.nodes) < len(self._slots) and self._pixels is not None:
            parts.append(memoryview(data)[copied:])
            root.nodes.append(self._pixels[0])
            notes.append(self._notes[-1])
        meta = file_meta(syntax, root.text(SOP_CLASS), root.text(SOP_INSTANCE))
        written = write_parts(syntax, meta, item.encoding, parts)
        changes = self._changes if alike else Changes(chain.from_iterable(notes))
        remains = self._remains if same else remaining(outline_of(root.nodes))
        return Written(written, root, changes, remains, self._patient_id)

    def _read(self, data: bytes, start: int) -> tuple[Item, int] | None:
        """Read the elements that differ, None if something else does; return them and where they end.

        Behind that lie pixel data that are copied, if anything.
        """
        item, position = Item(self._encoding), start
        parser = Parser(data, self._encoding, self._private_vr)
        for slot in self._slots:
            if not data.startswith(slot.run, position):
                return None
            if slot.tag == _PIXELS and self._are_pixels(data, position + len(slot.run)):
                return item, position + len(slot.run)
            position = parser.one(item, position + len(slot.run), self._creators)
            if item.nodes[-1].tag != slot.tag:
                return None
        ended = data.startswith(self._last, position) and position + len(self._last) == len(data)
        return (item, len(data)) if ended else None

    def _are_pixels(self, data: bytes, position: int) -> bool:
        """Whether here, and to the end of the file, lie pixel data that are written as they are."""
        if self._pixels is None or not data.startswith(self._pixels[1], position):
            return False
        start = position + len(self._pixels[1]) + 4
        order: Literal["little", "big"] = "little" if self._encoding.little else "big"
        length = int.from_bytes(data[start - 4 : start], order)
        return length >= _SHORT and length % 2 == 0 and start + length == len(data)

    def _same_people(self, item: Item) -> bool:
        if any(slot.tag == SOP_INSTANCE for slot in self._slots) and not item.text(SOP_INSTANCE):
            return False
        found = self._people(item.nodes)
        fixed, others = self._people_fixed, self._people_else
        return found[0] - fixed[0] == others[0] and found[1] - fixed[1] == others[1]
