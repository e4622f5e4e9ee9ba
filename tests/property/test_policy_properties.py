"""Policies: what is written is read back, the first matching rule decides, no pattern runs away."""

from __future__ import annotations

import re
import time
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from voxlake.core.errors import ItemError, SettingsError
from voxlake.privacy.own_rules import OwnRule, OwnRules
from voxlake.privacy.patterns import check_pattern
from voxlake.privacy.pixels import FORMATS, MODALITIES, PixelFacts, Waiver, check_pixels, pixel_rules
from voxlake.privacy.policy import LATER_OPTIONS, OPTION_CODES, Policy, load_policy, to_toml
from voxlake.privacy.rule_targets import VRS, sop_class_uid

DATES = {"retain_longitudinal_full_dates", "retain_longitudinal_modified_dates"}
TAGS = (0x00081030, 0x0008103E, 0x00100010, 0x00181030, 0x00291010, 0x00091010, 0x60003000, 0x0020000D)
PRINTABLE = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_characters='"'), max_size=40
)

conditions = st.fixed_dictionaries(
    {},
    optional={
        "tag": st.sampled_from(("(0008,1030)", "0008,10xx", "xxxx1010", "60xx3000", "xxxxxxxx")),
        "group": st.sampled_from(("0008", "0018", "odd", "60xx")),
        "keyword": st.sampled_from(("StudyDescription", "SeriesDescription", "ProtocolName")),
        "private_creator": st.sampled_from(("ACME", "acme*", "Other", "*")),
        "vr": st.sampled_from(("LO", "SH", "OW", "UI")),
        "pattern": st.sampled_from(("a", "b+", "(?i)X{2}", "[0-9]{3}")),
        "sop_class": st.sampled_from(("CTImageStorage", "1.2.3")),
        "modality": st.sampled_from(("CT", "MR")),
    },
)
actions = st.sampled_from(("keep", "remove", "empty", "dummy", "map_uid", "token", "clean", "reject"))


@st.composite
def own_rules(draw):
    """A rule that makes sense."""
    values = {**draw(conditions), "action": draw(actions), "why": draw(PRINTABLE)}
    try:
        return OwnRule.read(values)
    except SettingsError:
        return OwnRule(vr="LO", action="remove")


waivers = st.one_of(
    st.builds(
        Waiver, what=st.sampled_from((*FORMATS, "burned_in", "overlay_bits")), reason=st.just("x" * 10)
    ),
    st.builds(
        Waiver, what=st.sampled_from(sorted(MODALITIES)).map("modality:{}".format), reason=st.just("y" * 10)
    ),
    st.builds(
        Waiver,
        what=st.sampled_from(("sop_class:SecondaryCaptureImageStorage", "image_type:SCREEN SAVE")),
        reason=st.just("z" * 10),
        modality=st.sampled_from((None, "CT", "OT")),
    ),
)


@st.composite
def policies(draw):
    """Any policy."""
    options = draw(st.sets(st.sampled_from(sorted(set(OPTION_CODES) - {"basic"}))))
    if options >= DATES:
        options.discard(draw(st.sampled_from(sorted(DATES))))
    return Policy(
        name=draw(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9 _.-]{0,31}\Z")),
        options=tuple(draw(st.permutations(sorted(options)))),
        max_shift_days=draw(st.integers(1, 36500)),
        max_age=draw(st.none() | st.integers(1, 998)),
        rules=tuple(draw(st.lists(own_rules(), max_size=4))),
        waivers=tuple(draw(st.lists(waivers, max_size=4))),
    )


@settings(max_examples=60, deadline=None)
@given(policies())
def test_what_is_written_is_read_back(policy):
    again = load_policy(to_toml(policy))
    assert again == policy
    assert again.digest() == policy.digest()
    assert Policy.read(policy.model_dump(mode="json")) == policy
    assert all(1 <= len(value) <= 64 for value in policy.method)


@settings(max_examples=40, deadline=None)
@given(policies(), st.sampled_from(LATER_OPTIONS))
def test_one_bad_option_spoils_any_policy(policy, option):
    values = policy.model_dump(mode="json")
    values["options"].append(option)
    with pytest.raises(SettingsError, match=option):
        Policy.read(values)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(own_rules(), max_size=6),
    st.lists(
        st.tuples(
            st.sampled_from(TAGS),
            st.sampled_from(("LO", "SH", "OW", "UI")),
            st.sampled_from((None, "ACME", "Acme 2", "other")),
            st.sampled_from(("", "a", "bbb", "xX", "12345")),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "")),
    st.sampled_from(("CT", "MR", "")),
)
def test_the_first_rule_whose_conditions_hold_decides(rules, elements, sop_class, modality):
    found = OwnRules(rules).for_object(sop_class, modality)
    # Twice: the second time from memory.
    for tag, vr, creator, text in elements * 2:
        wanted = next(
            (each for each in rules if holds(each, tag, vr, creator, text, sop_class, modality)), None
        )
        assert found.find(tag, vr, creator, lambda text=text: text) is wanted


def holds(rule, tag, vr, creator, text, sop_class, modality):
    """The conditions again, in a slow and simple way."""
    digits = f"{tag:08x}"
    private = int(digits[3], 16) % 2 == 1

    def like(mask, value):
        return all(m in ("x", v) for m, v in zip(mask, value, strict=True))

    checks = [
        rule.tag is None or like(re.sub(r"[(),]", "", rule.tag).lower(), digits),
        rule.group is None or (private if rule.group == "odd" else like(rule.group, digits[:4])),
        rule.keyword is None
        or digits
        == {"StudyDescription": "00081030", "SeriesDescription": "0008103e"}.get(rule.keyword, "00181030"),
        rule.private_creator is None
        or (
            creator is not None
            and bool(re.fullmatch(rule.private_creator.replace("*", ".*"), creator, re.IGNORECASE))
        ),
        rule.vr in (None, vr),
        rule.pattern is None or re.search(rule.pattern, text) is not None,
        rule.sop_class is None or sop_class_uid(rule.sop_class) == sop_class,
        rule.modality in (None, modality),
    ]
    if not all(checks) or rule.action == "reject":
        return all(checks)
    if digits == "00100010" or (digits == "0020000d" and rule.action not in ("keep", "map_uid")):
        return False
    needs_text = rule.action in ("clean", "token") and vr not in ("LO", "SH")
    patterned = rule.action == "clean" and rule.pattern is not None and vr == "UI"
    return (not needs_text or patterned) and (rule.action != "map_uid" or vr == "UI")


pieces = st.sampled_from(
    (
        "a",
        "b",
        ".",
        "[ab]",
        "\\w",
        "(",
        ")",
        "(?:",
        "|",
        "*",
        "+",
        "?",
        "{1,3}",
        "{2}",
        "{,}",
        "(a+)",
        "\\1",
        "$",
    )
)


@settings(max_examples=300, deadline=None)
@given(st.lists(pieces, max_size=24).map("".join))
@example("(a|a)" * 12 + "x")
@example("a{1,9}" * 4 + "x")
@example("(?:(?:a{2}){2}){2}x")
def test_no_pattern_that_is_taken_runs_away(pattern):
    try:
        taken = re.compile(check_pattern(pattern))
    except ValueError:
        return
    start = time.process_time()
    taken.search("a" * 64 + "!")
    taken.search("ab" * 32 + "!")
    assert time.process_time() - start < 2


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_pattern_or_a_value_error(text):
    # Anything else that comes out fails the test.
    with suppress(ValueError):
        assert re.compile(check_pattern(text)).search("") is None


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ("tag", "group", "keyword", "vr", "pattern", "sop_class", "modality", "value", "action")
        ),
        st.text(max_size=20) | st.integers() | st.none() | st.sampled_from(sorted(VRS)),
    )
)
def test_any_table_is_a_rule_or_a_clear_error(values):
    try:
        rule = OwnRule.read(values)
    except SettingsError:
        return
    OwnRules([rule]).for_object("1.2", "CT").find(0x00081030, "LO", None, str)


facts = st.builds(
    PixelFacts,
    st.sampled_from(("dicom", *FORMATS, "nifti")),
    st.sampled_from(("", "CT", *MODALITIES)),
    st.sampled_from(("", "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.6.1")),
    st.tuples(st.sampled_from(("", "SCREEN SAVE", "AXIAL"))),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(facts, st.lists(waivers, max_size=5), st.lists(waivers, max_size=3))
def test_each_rule_needs_its_waiver_and_more_waivers_never_hold_back_more(facts, some, more):
    def let_in(given):
        try:
            return check_pixels(facts, Policy(name="x", waivers=tuple(given)))
        except ItemError:
            return None

    rules = tuple(pixel_rules(facts))
    covered = all(any(waiver.covers(rule, facts) for waiver in some) for rule in rules)
    assert let_in(some) == (rules if covered else None)
    if let_in(some) is not None:
        assert let_in([*more, *some]) == rules
    if not facts.has_pixels:
        assert let_in([]) == ()
