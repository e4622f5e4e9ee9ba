"""The physics of files of one kind, read once for all that have the same values in what it is read from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from voxlake.dicom.fast_plain import Plain, raw_elements, view_of
from voxlake.dicom.fast_runs import Place
from voxlake.dicom.physics import read_physics

__all__ = ["PhysicsMemory"]

# Results that are kept, and the longest values (bytes) for which they are: CSA headers differ in all images.
_KEPT, _LONGEST = 64, 4_096


class PhysicsMemory:
    """Results of `read_physics` by the values that it looked at.

    `read_physics` gives the same for the same values of the elements that it touched. Elements that are the
    same in all files need not be compared.

    Parameters
    ----------
    differing : mapping
        Tags of the elements that differ between the files, and their numbers.
    """

    def __init__(self, differing: Mapping[int, int]) -> None:
        self._differing = differing
        self._touched: tuple[int, ...] = ()
        self._known: dict[tuple[bytes, ...], dict[str, Any]] = {}

    def values(self, data: bytes, places: list[Place], plain: Callable[[], Plain]) -> dict[str, Any]:
        """Columns of `voxlake.dicom.physics.PHYSICS` of one file.

        Parameters
        ----------
        data : bytes
            The file.
        places : list
            Where the values that differ lie.
        plain : callable
            Makes the data set.
        """
        found = self._known.get(self._key(data, places))
        if found is None:
            elements = _Noted(raw_elements(view := plain()))
            found = read_physics(view_of(elements, view))
            touched = {self._differing[tag] for tag in elements.touched if tag in self._differing}
            if not touched.issubset(self._touched):
                self._touched = tuple(sorted(touched.union(self._touched)))
                self._known.clear()
            key = self._key(data, places)
            if sum(map(len, key)) <= _LONGEST:
                if len(self._known) >= _KEPT:
                    self._known.clear()
                self._known[key] = found
        return {name: _copied(value) for name, value in found.items()}

    def _key(self, data: bytes, places: list[Place]) -> tuple[bytes, ...]:
        return tuple([data[places[place][0] : places[place][1]] for place in self._touched])


class _Noted(dict[Any, Any]):
    """Elements, with a note of those that were looked at."""

    def __init__(self, elements: Mapping[Any, Any]) -> None:
        super().__init__(elements)
        self.touched: set[int] = set()

    def __getitem__(self, tag: Any) -> Any:
        self.touched.add(tag)
        return super().__getitem__(tag)

    def get(self, tag: Any, default: Any = None) -> Any:
        self.touched.add(tag)
        return super().get(tag, default)

    def values(self) -> Any:
        self.touched.update(self)
        return super().values()

    def items(self) -> Any:
        self.touched.update(self)
        return super().items()


def _copied(value: Any) -> Any:
    return [_copied(part) for part in value] if isinstance(value, list) else value
