"""Fields of NRRD headers that are kept, and the values that they may have.

Source: the definition of the format by Gordon Kindlmann, teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from voxlake.core.errors import ItemError

__all__ = ["Description", "read_fields"]

_BYTES: Mapping[str, int] = MappingProxyType(
    {
        name: size
        for size, names in {
            1: "signed char|int8|int8_t|uchar|unsigned char|uint8|uint8_t",
            2: "short|short int|signed short|signed short int|int16|int16_t|ushort|unsigned short"
            "|unsigned short int|uint16|uint16_t",
            4: "int|signed int|int32|int32_t|uint|unsigned int|uint32|uint32_t|float",
            8: "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t"
            "|ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t|double",
        }.items()
        for name in names.split("|")
    }
)
_ENCODINGS: Mapping[str, str] = MappingProxyType(
    {
        "raw": "raw", "txt": "text", "text": "text", "ascii": "text", "hex": "hex", "gz": "gzip",
        "gzip": "gzip", "bz2": "bzip2", "bzip2": "bzip2",
    }
)  # fmt: skip
_SPACES: Mapping[str, int] = MappingProxyType(
    {
        "right-anterior-superior": 3, "ras": 3, "left-anterior-superior": 3, "las": 3,
        "left-posterior-superior": 3, "lps": 3, "right-anterior-superior-time": 4, "rast": 4,
        "left-anterior-superior-time": 4, "last": 4, "left-posterior-superior-time": 4, "lpst": 4,
        "scanner-xyz": 3, "scanner-xyz-time": 4, "3d-right-handed": 3, "3d-left-handed": 3,
        "3d-right-handed-time": 4, "3d-left-handed-time": 4,
    }
)  # fmt: skip
_KINDS = frozenset(
    {
        "domain", "space", "time", "list", "point", "vector", "covariant-vector", "normal", "stub", "scalar",
        "complex", "2-vector", "3-color", "rgb-color", "hsv-color", "xyz-color", "4-color", "rgba-color",
        "3-vector", "3-gradient", "3-normal", "4-vector", "quaternion", "2d-symmetric-matrix",
        "2d-masked-symmetric-matrix", "2d-matrix", "2d-masked-matrix", "3d-symmetric-matrix",
        "3d-masked-symmetric-matrix", "3d-matrix", "3d-masked-matrix",
    }
)  # fmt: skip
_CENTERS = frozenset({"cell", "node"})
_UNITS = frozenset(
    {
        "m",
        "cm",
        "mm",
        "um",
        "µm",
        "micron",
        "microns",
        "nm",
        "s",
        "sec",
        "ms",
        "us",
        "hz",
        "ppm",
        "rad",
        "deg",
    }
)
_UNKNOWN = ("none", "???")
# Writers differ in blanks; here a name has none.
_OTHER_NAMES = MappingProxyType(
    {"centerings": "centers", "axismins": "axis mins", "axismaxs": "axis maxs", "oldmin": "old min",
     "oldmax": "old max", "lineskip": "line skip", "byteskip": "byte skip", "datafile": "data file"}
)  # fmt: skip
_VECTOR = re.compile(r"none|\([^()]{1,400}\)")
_QUOTED = re.compile(r'"([^"]{0,40})"')
_MOST_AXES = 16


@dataclass(frozen=True)
class Description:
    """What a header says, and the lines to be written.

    Attributes
    ----------
    lines : tuple of str
        The clean header.
    count, length : int
        Values, and their bytes when they are not packed.
    encoding : {"raw", "text", "hex", "gzip", "bzip2"}
        How they are written.
    line_skip, byte_skip : int
        What lies before them; -1 byte: they end with the file.
    """

    lines: tuple[str, ...]
    count: int
    length: int
    encoding: str
    line_skip: int
    byte_skip: int


def read_fields(lines: list[str]) -> Description:
    """Read the fields of a header and write them anew.

    Parameters
    ----------
    lines : list of str
        The header without its first line.

    Raises
    ------
    ItemError
        ``deidentify_failed``: a field that the values are read by is missing or has an impossible value, or
        the values lie in another file.
    """
    fields = _fields(lines)
    if "data file" in fields:
        raise ItemError(
            "deidentify_failed", "NRRD values in another file, whose path may name people; join them"
        )
    dimension = _integer(fields, "dimension", 1, _MOST_AXES)
    axes = fields.get("sizes", "").split()
    sizes = [int(size) for size in axes if re.fullmatch(r"[1-9]\d{0,17}", size)]
    kind, encoding = fields.get("type", "").lower(), _ENCODINGS.get(fields.get("encoding", "").lower())
    if len(axes) != dimension or len(sizes) != dimension or kind not in _BYTES or encoding is None:
        raise ItemError("deidentify_failed", "a NRRD header without sizes, type or encoding that are known")
    if _BYTES[kind] > 1 and encoding != "text" and fields.get("endian", "").lower() not in ("little", "big"):
        raise ItemError("deidentify_failed", "a NRRD header that does not state the order of bytes")
    space, directions = _space(fields)
    written = {"type": kind, "dimension": str(dimension), **space, "sizes": " ".join(map(str, sizes))}
    if fields.get("endian", "").lower() in ("little", "big"):
        written["endian"] = fields["endian"].lower()
    written["encoding"] = fields["encoding"].lower()
    for name, clean in _OPTIONAL.items():
        value = clean(fields[name], dimension, directions) if name in fields else None
        if value is not None:
            written[name] = value
        elif name in fields and name in _PLACE:
            raise ItemError("deidentify_failed", f"the NRRD field '{name}' has impossible values")
    count = math.prod(sizes)
    return Description(
        tuple(f"{name}: {value}" for name, value in written.items()),
        count,
        count * _BYTES[kind],
        encoding,
        _integer(fields, "line skip", 0, 1 << 20),
        _integer(fields, "byte skip", -1, 1 << 40),
    )


def _fields(lines: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if line.startswith("#") or value.startswith("="):
            continue
        if not colon:
            raise ItemError("deidentify_failed", "a NRRD header line that is neither field, pair nor comment")
        name = " ".join(name.lower().split())
        name = _OTHER_NAMES.get(name, name)
        if name in fields:
            raise ItemError("deidentify_failed", "a NRRD header that states a field twice")
        fields[name] = value.strip()
    return fields


def _integer(fields: Mapping[str, str], name: str, least: int, most: int) -> int:
    text = fields.get(name, "0")
    value = int(text) if re.fullmatch(r"[-+]?\d{1,18}", text) else least - 1
    if not least <= value <= most:
        raise ItemError("deidentify_failed", f"the NRRD field '{name}' has an impossible value")
    return value


def _space(fields: Mapping[str, str]) -> tuple[dict[str, str], int]:
    """The field that says where the axes lie, and how many numbers a direction has."""
    name = fields.get("space", "").lower()
    if name:
        if name not in _SPACES:
            raise ItemError("deidentify_failed", "the NRRD field 'space' has a value that is not known")
        return {"space": fields["space"]}, _SPACES[name]
    if "space dimension" in fields:
        dimension = _integer(fields, "space dimension", 1, _MOST_AXES)
        return {"space dimension": str(dimension)}, dimension
    return {}, 0


def _number(text: str) -> str | None:
    """The shortest text that is read as the same 64-bit number."""
    try:
        return repr(float(text)) if len(text) <= 60 and text.isascii() and "_" not in text else None
    except ValueError:
        return None


def _numbers(value: str, count: int) -> str | None:
    numbers = [_number(text) for text in value.split()]
    return " ".join(filter(None, numbers)) if len(numbers) == count and None not in numbers else None


def _vector(value: str, count: int) -> str | None:
    if value == "none":
        return value
    numbers = [_number(text.strip()) for text in value.strip("()").split(",")]
    return f"({','.join(filter(None, numbers))})" if len(numbers) == count and None not in numbers else None


def _vectors(value: str, count: int, space: int) -> str | None:
    found = [_vector(part, space) for part in _VECTOR.findall(value)]
    bare = not _VECTOR.sub("", value).strip()
    return " ".join(filter(None, found)) if bare and len(found) == count and None not in found else None


def _words(value: str, count: int, known: frozenset[str]) -> str | None:
    words = [word if word.lower() in known or word in _UNKNOWN else "???" for word in value.split()]
    return " ".join(words) if len(words) == count else None


def _units(value: str, count: int) -> str | None:
    units = _QUOTED.findall(value)
    if len(units) != count or _QUOTED.sub("", value).strip():
        return None
    return " ".join(f'"{unit if unit.lower() in _UNITS and unit.isascii() else ""}"' for unit in units)


# From the text of a field, the number of axes and of the dimensions of space to the text that is written.
_Cleaner = Callable[[str, int, int], str | None]
_OPTIONAL: Mapping[str, _Cleaner] = MappingProxyType(
    {
        "space units": lambda value, _, space: _units(value, space),
        "space origin": lambda value, _, space: _vectors(value, 1, space),
        "space directions": _vectors,
        "measurement frame": lambda value, _, space: _vectors(value, space, space),
        "spacings": lambda value, axes, _: _numbers(value, axes),
        "thicknesses": lambda value, axes, _: _numbers(value, axes),
        "axis mins": lambda value, axes, _: _numbers(value, axes),
        "axis maxs": lambda value, axes, _: _numbers(value, axes),
        "centers": lambda value, axes, _: _words(value, axes, _CENTERS),
        "kinds": lambda value, axes, _: _words(value, axes, _KINDS),
        "units": lambda value, axes, _: _units(value, axes),
        "old min": lambda value, _axes, _space: _numbers(value, 1),
        "old max": lambda value, _axes, _space: _numbers(value, 1),
    }
)
_PLACE = frozenset(
    {"space origin", "space directions", "measurement frame", "spacings", "axis mins", "axis maxs"}
)
