"""The figures of a report as plain values, so that an earlier report can be rebuilt and compared."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from voxlake.core.digest import digest_bytes, digest_json
from voxlake.evaluation.content import ReportData

__all__ = ["Difference", "differences", "figures_digest", "figures_of"]

# When and by which version a page was made, and which runs had come by then, are no figures.
_NO_FIGURES = frozenset({"created", "made_by", "lineage"})
# Sums may run in another order on another machine.
_DIGITS = 9
_LONGEST = 64


@dataclass(frozen=True)
class Difference:
    """A figure that is not what it was.

    Parameters
    ----------
    figure : str
        Where on the page, for example ``"estimates/roc_auc/value"``.
    was, now : object
        Both, as plain values; None where it is missing.
    """

    figure: str
    was: Any
    now: Any


def figures_of(data: ReportData) -> dict[str, Any]:
    """Everything that a report says, under the name of its place on the page.

    Numbers are kept to 9 significant digits; pictures and long curves stand there by their SHA-256.
    """
    found: dict[str, Any] = {}
    for one in fields(data):
        if one.name not in _NO_FIGURES:
            _add(found, one.name, getattr(data, one.name))
    return found


def figures_digest(figures: Mapping[str, Any]) -> str:
    """SHA-256 over `figures_of`."""
    return digest_json(dict(figures))


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Figures that differ, sorted by their place."""
    return [
        Difference(name, was.get(name), now.get(name))
        for name in sorted(was.keys() | now.keys())
        if was.get(name) != now.get(name)
    ]


def _add(found: dict[str, Any], place: str, value: Any) -> None:
    if isinstance(value, np.ndarray):
        found[place] = _array(value)
    elif is_dataclass(value) and not isinstance(value, type):
        _add_fields(found, place, value)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            _add(found, f"{place}/{key}", one)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for number, one in enumerate(value):
            _add(found, f"{place}/{_name(one, number)}", one)
    else:
        found[place] = _plain(value)


def _add_fields(found: dict[str, Any], place: str, value: Any) -> None:
    for one in fields(value):
        _add(found, f"{place}/{one.name}", getattr(value, one.name))


def _name(value: Any, number: int) -> str:
    """What a member of a list is called, so that a new one beside it does not move all others."""
    for attribute in ("name", "anchor"):
        called = getattr(value, attribute, None)
        if isinstance(called, str) and called:
            return called
    return str(number)


def _array(values: np.ndarray[Any, np.dtype[Any]]) -> Any:
    if values.dtype == np.uint8:
        return digest_bytes(str(values.shape).encode() + values.tobytes())
    plain = [_plain(value) for value in values.ravel().tolist()]
    return plain if len(plain) <= _LONGEST else digest_json([list(values.shape), plain])


def _plain(value: Any) -> Any:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        return float(f"{number:.{_DIGITS}g}") if math.isfinite(number) else str(number)
    return value if value is None or isinstance(value, str) else json.dumps(value, default=str)
