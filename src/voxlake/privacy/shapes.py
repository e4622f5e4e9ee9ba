"""What was done to an object, without numbers of items and without values: the few shapes of many objects.

The objects of one scanner protocol differ in their values and not in their elements, so a thousand slices
have one shape or two. Each is kept once and named by its digest; an object names its shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import version
from typing import TypeVar

from voxlake.core.digest import digest_json
from voxlake.privacy.changes import Change
from voxlake.privacy.deidentify import Deidentified
from voxlake.privacy.policy import POLICY_VERSION, Policy, to_toml
from voxlake.privacy.profile import load_profile

__all__ = ["MOST_ROWS", "Shape", "dicom_shape", "image_shape", "without_numbers"]

MOST_ROWS = 5_000
"""Rows beyond which a shape names groups of elements only; real objects have hundreds."""

_MOST_SHAPES = 64
_Row = TypeVar("_Row", Change, tuple[str, str])
_NUMBER = re.compile(r"\[\d+\]")
_LAST_ELEMENT = re.compile(r",[0-9A-F]{4}\)$")
_ANY_TAG = re.compile(r"\([0-9A-F]{4},[0-9A-Fx]{4}\)")


@dataclass(frozen=True)
class Shape:
    """What de-identification did to objects of one kind.

    Parameters
    ----------
    format : str
        ``"dicom"``, or the format of an image.
    policy : str
        The policy as TOML.
    policy_digest : str
        SHA-256 of the policy, its tables and the version of its implementation.
    policy_version : str
        Version of the implementation.
    profile_edition : str
        Edition of PS3.15 Table E.1-1.
    voxlake : str
        Version of voxlake.
    waived : tuple of str
        Rules on pixels under whose waivers the object came in, sorted.
    actions : tuple of Change
        What was done, without numbers of items, sorted. A path ``""`` stands for the whole file.
    remains : tuple of (path, keyword)
        What the object still holds, sorted; empty for images.
    """

    format: str
    policy: str
    policy_digest: str
    policy_version: str
    profile_edition: str
    voxlake: str
    waived: tuple[str, ...] = ()
    actions: tuple[Change, ...] = ()
    remains: tuple[tuple[str, str], ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all of it."""
        return digest_json({name: value for name, value in vars(self).items() if name != "digest"})


def dicom_shape(clean: Deidentified, policy: Policy, waived: Iterable[str] = ()) -> Shape:
    """Return the shape of a DICOM object.

    Parameters
    ----------
    clean : Deidentified
        What `deidentify` gave.
    policy : Policy
        Under which it did.
    waived : iterable of str
        What `check_pixels` gave.
    """
    if policy.profile == "none":
        return _whole(policy, "dicom", "kept", "policy none", waived)
    return _maker(policy).of_dicom(clean.report, clean.remains(), tuple(waived))


@lru_cache(maxsize=64)
def _actions(report: tuple[Change, ...]) -> frozenset[Change]:
    return frozenset(
        change._replace(path=without_numbers(change.path)) if "[" in change.path else change
        for change in report
    )


def image_shape(
    format: str,  # noqa: A002 - the word of the instances table
    policy: Policy,
    *,
    changed: bool,
    waived: Iterable[str] = (),
) -> Shape:
    """Return the shape of an image that is no DICOM.

    Parameters
    ----------
    format : str
        As for `strip_metadata`.
    policy : Policy
        Under which it came.
    changed : bool
        Whether `strip_metadata` found anything to take away.
    waived : iterable of str
        What `check_pixels` gave.
    """
    if policy.profile == "none":
        return _whole(policy, format, "kept", "policy none", waived)
    if changed:
        return _whole(policy, format, "metadata_stripped", f"metadata of {format} files", waived)
    return _whole(policy, format, "kept", f"no metadata in this {format} file", waived)


def _whole(policy: Policy, kind: str, action: str, why: str, waived: Iterable[str]) -> Shape:
    return _maker(policy).make(kind, frozenset((Change("", "", action, why),)), frozenset(), waived)


class _Maker:
    """Makes shapes under one policy, and remembers the last ones: most objects have a known one."""

    def __init__(self, policy: Policy) -> None:
        self._policy = to_toml(policy)
        self._policy_digest = policy.digest()
        self._known: dict[object, Shape] = {}
        self._last: tuple[object, object, object, Shape] | None = None

    def of_dicom(
        self, report: tuple[Change, ...], remains: Mapping[str, str], waived: tuple[str, ...]
    ) -> Shape:
        """Return the shape of a DICOM object."""
        last = self._last
        # The objects of a series share what is said of them, and comparing it takes long.
        if last is not None and last[0] is report and last[1] is remains and last[2] == waived:
            return last[3]
        shape = self.make("dicom", _actions(report), frozenset(remains.items()), waived)
        self._last = (report, remains, waived, shape)
        return shape

    def make(
        self,
        kind: str,
        actions: frozenset[Change],
        remains: frozenset[tuple[str, str]],
        waived: Iterable[str],
    ) -> Shape:
        """Return a shape; the same one for equal objects."""
        key = (kind, actions, remains, tuple(sorted(waived)))
        found = self._known.get(key)
        if found is not None:
            return found
        shape = Shape(
            format=kind,
            policy=self._policy,
            policy_digest=self._policy_digest,
            policy_version=POLICY_VERSION,
            profile_edition=load_profile().edition,
            voxlake=version("voxlake"),
            waived=key[-1],
            actions=_few(actions, _coarser_change),
            remains=_few(remains, _coarser_element),
        )
        # A stranger's objects may each have a shape of their own, and a large one.
        if len(actions) + len(remains) < MOST_ROWS:
            if len(self._known) >= _MOST_SHAPES:
                del self._known[next(iter(self._known))]
            self._known[key] = shape
        return shape


@lru_cache(maxsize=8)
def _maker(policy: Policy) -> _Maker:
    return _Maker(policy)


def without_numbers(path: str) -> str:
    """Return the path of an element without the numbers of items."""
    return _NUMBER.sub("", path)


def _few(rows: frozenset[_Row], coarser: Callable[[_Row, int], _Row]) -> tuple[_Row, ...]:
    """Sort rows; where they are too many, let those of a group, or then of a depth, become one."""
    kept = rows
    for level in (1, 2):
        if len(kept) > MOST_ROWS:
            kept = frozenset(coarser(row, level) for row in kept)
    return tuple(sorted(kept))


def _coarser_change(change: Change, level: int) -> Change:
    return change._replace(path=_coarser(change.path, level), keyword="")


def _coarser_element(element: tuple[str, str], level: int) -> tuple[str, str]:
    return _coarser(element[0], level), ""


def _coarser(path: str, level: int) -> str:
    return _LAST_ELEMENT.sub(",xxxx)", path) if level == 1 else _ANY_TAG.sub("(xxxx,xxxx)", path)
