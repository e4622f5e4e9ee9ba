"""What de-identification writes into an object: that it happened, how, and by what (PS3.15 E.1.1)."""

from __future__ import annotations

from voxlake.dicom.nodes import Branch, Encoding, Item, Leaf
from voxlake.dicom.write_nodes import padded
from voxlake.privacy.policy import OPTION_CODES, POLICY_VERSION, Policy
from voxlake.privacy.rules import Rules

__all__ = ["IMPLEMENTATION_UID", "file_meta", "markers"]

IMPLEMENTATION_UID = "2.25.302859461830475113250697431840229176411"
_TEMPORAL = {"keep": "UNMODIFIED", "shift": "MODIFIED", "remove": "REMOVED"}


def markers(policy: Policy, rules: Rules) -> tuple[Leaf | Branch, ...]:
    """Return the elements that every object gets under a policy, at the top, in order.

    Patient Identity Removed, De-identification Method and its codes, Contributing Equipment, Longitudinal
    Temporal Information Modified. The codes are left out where own rules keep what the profile takes away.
    """
    elements: list[Leaf | Branch] = [
        _text(0x00120062, "CS", "YES"),
        _text(0x00120063, "LO", "\\".join(policy.method)),
    ]
    if policy.claims_profile:
        codes = [OPTION_CODES[name] for name in ("basic", *policy.options)]
        elements.append(_sequence(0x00120064, *(_code(value, meaning) for value, meaning in codes)))
    elements.append(_sequence(0x0018A001, _equipment()))
    elements.append(_text(0x00280303, "CS", _TEMPORAL[rules.dates]))
    return tuple(elements)


def file_meta(syntax: str, sop_class: str, sop_instance: str) -> tuple[Leaf, ...]:
    """Return the file meta information (PS3.10 7.1): nothing of the sender's stays in it."""
    return (
        Leaf(0x00020001, "OB", b"\0\1"),
        _text(0x00020002, "UI", sop_class),
        _text(0x00020003, "UI", sop_instance),
        _text(0x00020010, "UI", syntax),
        _text(0x00020012, "UI", IMPLEMENTATION_UID),
        _text(0x00020013, "SH", f"VOXLAKE_{POLICY_VERSION}"),
    )


def _equipment() -> tuple[Leaf | Branch, ...]:
    # No date: the same object must give the same bytes in every run.
    return (
        _text(0x00080070, "LO", "voxlake"),
        _text(0x00081090, "LO", "voxlake"),
        _text(0x00181020, "LO", f"policy version {POLICY_VERSION}"),
        _sequence(0x0040A170, _code("109104", "De-identifying Equipment")),
    )


def _code(value: str, meaning: str) -> tuple[Leaf, ...]:
    return (
        _text(0x00080100, "SH", value),
        _text(0x00080102, "SH", "DCM"),
        _text(0x00080104, "LO", meaning),
    )


def _sequence(tag: int, *items: tuple[Leaf | Branch, ...]) -> Branch:
    # All text here is ASCII and no numbers are binary, so it is the same in every encoding.
    return Branch(tag, tuple(Item(Encoding(False, True, ("ascii",)), list(nodes)) for nodes in items))


def _text(tag: int, vr: str, value: str) -> Leaf:
    return Leaf(tag, vr, padded(vr, value.encode()))
