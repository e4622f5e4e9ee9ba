"""The release check: what may leave the lake.

What came in was checked then (`voxlake.privacy.pixels`); whatever leaves is checked again, by what is known
of the stored object. Three things hold an object back:

- its patient has withdrawn: nothing overrules that;
- nobody de-identified it: it came in under profile ``none``, or it is not recorded under which policy;
- nobody checked its pixels: a rule on pixels holds it back, and it did not come in under a waiver of it.

The last two are overruled by the word of a person, with a reason, which the run records.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import Field

from voxlake.core.errors import ItemError, VoxlakeError
from voxlake.core.settings import Settings
from voxlake.privacy.pixels import PixelFacts, pixel_rules
from voxlake.privacy.policy import Policy

__all__ = ["ReleaseFacts", "ReleaseTerms", "check_release", "release_facts"]


class ReleaseTerms(Settings):
    """What a person says may leave although it is held back.

    Parameters
    ----------
    identified : str or None
        Why objects that nobody de-identified may leave; None: they may not. It holds for their pixels too.
    unchecked : str or None
        Why objects may leave whose pixels nobody checked for burned-in text; None: they may not.
    """

    identified: str | None = Field(default=None, min_length=10, max_length=500)
    unchecked: str | None = Field(default=None, min_length=10, max_length=500)


@dataclass(frozen=True)
class ReleaseFacts:
    """What is known about a stored object.

    Parameters
    ----------
    patient_id : str or None
        Its patient.
    profile : str or None
        Profile of the policy under which it came in; None if that is not recorded.
    pixels : PixelFacts
        About its pixels, as stored.
    waived : frozenset of str
        Rules on pixels under whose waivers it came in.
    """

    patient_id: str | None
    profile: str | None
    pixels: PixelFacts
    waived: frozenset[str] = frozenset()

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Rules that hold its pixels back."""
        return tuple(rule for rule in pixel_rules(self.pixels) if rule not in self.waived)


def release_facts(row: Mapping[str, Any]) -> ReleaseFacts:
    """Read the facts from the catalogue.

    Parameters
    ----------
    row : mapping
        Columns ``patient_id``, ``format``, ``modality``, ``sop_class_uid``, ``image_type``,
        ``burned_in_annotation`` and ``pixel_offset`` of `instances`; ``policy`` and ``waived`` of its row of
        `deidentifications`, null where there is none.
    """
    said = (row["burned_in_annotation"] or "").strip().upper()
    pixels = PixelFacts(
        row["format"],
        modality=(row["modality"] or "").upper(),
        sop_class_uid=row["sop_class_uid"] or "",
        image_type=tuple(row["image_type"] or ()),
        burned_in=said not in ("", "NO"),
        has_pixels=row["format"] != "dicom" or row["pixel_offset"] is not None,
    )
    return ReleaseFacts(row["patient_id"], _profile(row["policy"]), pixels, frozenset(row["waived"] or ()))


def check_release(facts: ReleaseFacts, terms: ReleaseTerms, withdrawn: Collection[str] = ()) -> None:
    """Refuse an object that may not leave the lake.

    Parameters
    ----------
    facts : ReleaseFacts
        About the object.
    terms : ReleaseTerms
        What a person says may leave nevertheless.
    withdrawn : collection of str
        Patients who have withdrawn.

    Raises
    ------
    ItemError
        ``patient_withdrawn``; ``not_deidentified``: nobody de-identified it; ``pixels_unchecked``.
    """
    if facts.patient_id is not None and facts.patient_id in withdrawn:
        raise ItemError("patient_withdrawn", "its patient has withdrawn from this lake; nothing of it leaves")
    if facts.profile in (None, "none"):
        if terms.identified is None:
            how = "came in under policy 'none'" if facts.profile else "is not known to be de-identified"
            raise ItemError(
                "not_deidentified",
                f"the object {how}: it may name its patient. If it may leave, say why: "
                "release_identified=... (--release-identified REASON)",
            )
        return
    if facts.unchecked and terms.unchecked is None:
        raise ItemError(
            "pixels_unchecked",
            f"nobody checked these pixels for burned-in text, and rules hold them back: "
            f"{', '.join(facts.unchecked)}. If they may leave, say why: release_unchecked=... "
            "(--release-unchecked REASON)",
        )


@lru_cache(maxsize=64)
def _profile(policy: str | None) -> str | None:
    if policy is None:
        return None
    try:
        return Policy.read(tomllib.loads(policy), where="the policy of an object").profile
    except (VoxlakeError, tomllib.TOMLDecodeError):
        # A policy that cannot be read any more proves nothing.
        return None
