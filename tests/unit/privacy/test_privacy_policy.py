from __future__ import annotations

import pickle
import tomllib
from pathlib import Path

import pytest

from voxlake.core.errors import NotFoundError, SettingsError
from voxlake.privacy import policy as policy_module
from voxlake.privacy.own_rules import OwnRule
from voxlake.privacy.pixels import Waiver
from voxlake.privacy.policy import (
    LATER_OPTIONS,
    OPTION_CODES,
    PRESETS,
    Policy,
    load_policy,
    to_toml,
)
from voxlake.privacy.profile import load_profile

EXAMPLE = Path(__file__).parents[3] / "src/voxlake/learning/recipes/chest_xray" / "policy.toml"
WAIVER = {"what": "jpeg", "reason": "published images, looked through"}


def test_presets():
    research = load_policy()
    assert research.name == "research"
    assert research.profile == "basic"
    assert set(research.options) == {
        "retain_patient_characteristics",
        "retain_longitudinal_modified_dates",
        "clean_descriptors",
        "retain_safe_private",
    }
    assert load_policy("basic").options == ()
    assert load_policy("none").profile == "none"


def test_every_option_of_the_table_can_be_named():
    columns = {option for row in load_profile().rows for option in row.options}
    assert columns == set(OPTION_CODES) - {"basic"}
    for option in columns:
        assert Policy(name="one", options=(option,)).options == (option,)


def test_codes_are_those_of_the_context_group():
    # PS3.16 CID 7050.
    assert {name: code for name, (code, _) in OPTION_CODES.items()} == {
        "basic": "113100",
        "clean_graphics": "113103",
        "clean_structured_content": "113104",
        "clean_descriptors": "113105",
        "retain_longitudinal_full_dates": "113106",
        "retain_longitudinal_modified_dates": "113107",
        "retain_patient_characteristics": "113108",
        "retain_device_identity": "113109",
        "retain_uids": "113110",
        "retain_safe_private": "113111",
        "retain_institution_identity": "113112",
    }
    assert all(len(meaning) <= 64 for _, meaning in OPTION_CODES.values())


def test_toml_file_round_trip(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        """
name = "own"
options = ["retain_safe_private", "clean_descriptors"]
max_shift_days = 90
max_age = 80

[[rules]]
keyword = "StudyDescription"
action = "remove"

[[waivers]]
what = "jpeg"
reason = "published images, looked through"
"""
    )
    policy = load_policy(path)
    assert policy == Policy(
        name="own",
        options=("clean_descriptors", "retain_safe_private"),
        max_shift_days=90,
        max_age=80,
        rules=(OwnRule(keyword="StudyDescription", action="remove"),),
        waivers=(Waiver(**WAIVER),),
    )
    assert load_policy(to_toml(policy)) == policy
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert hash(policy) == hash(load_policy(path))


@pytest.mark.parametrize("policy", PRESETS.values(), ids=PRESETS)
def test_written_presets_are_read_back(policy):
    text = to_toml(policy)
    assert load_policy(text) == policy
    # A waiver that is added by hand at the end is read as one.
    if policy.profile != "none":
        more = text + '[[waivers]]\nwhat = "png"\nreason = "published images"\n'
        assert [waiver.what for waiver in load_policy(more).waivers] == ["png"]


def test_the_example_adds_a_waiver_to_research_and_nothing_else():
    example = load_policy(EXAMPLE)
    assert example.options == PRESETS["research"].options
    assert [waiver.rule for waiver in example.waivers] == ["jpeg"]
    assert "doi:" in example.waivers[0].reason
    assert example.claims_profile


def test_no_limit_on_ages_has_a_word_in_toml():
    policy = Policy(name="x", max_age=None)
    assert tomllib.loads(to_toml(policy))["max_age"] == "keep"
    assert load_policy(to_toml(policy)).max_age is None
    assert Policy.read(policy.model_dump(mode="json")) == policy
    assert load_policy("research").max_age == 89
    with pytest.raises(SettingsError, match="max_age"):
        Policy.read({"name": "x", "max_age": "never"})


@pytest.mark.parametrize("option", LATER_OPTIONS)
def test_options_that_look_into_pixels_are_refused_by_name(option):
    with pytest.raises(SettingsError, match=f"'{option}' is not claimed yet"):
        Policy.read({"name": "x", "options": [option]})


def test_full_and_modified_dates_contradict_each_other():
    both = ["retain_longitudinal_full_dates", "retain_longitudinal_modified_dates"]
    with pytest.raises(SettingsError, match="discloses the shift"):
        Policy.read({"name": "x", "options": both})
    device = ("retain_device_identity", "retain_longitudinal_modified_dates")
    assert Policy(name="x", options=device).options == device


def test_mistyped_names_get_a_near_miss(tmp_path):
    with pytest.raises(SettingsError, match="did you mean 'clean_descriptors'"):
        Policy.read({"name": "x", "options": ["clean_descriptor"]})
    with pytest.raises(SettingsError, match="did you mean 'options'"):
        Policy.read({"name": "x", "option": []})
    with pytest.raises(SettingsError, match=r"unknown key 'rules.0.keywrd'; did you mean 'keyword'"):
        Policy.read({"name": "x", "rules": [{"keywrd": "StudyDate", "action": "keep"}]})
    with pytest.raises(SettingsError, match=r"missing key 'waivers.0.reason'"):
        Policy.read({"name": "x", "waivers": [{"what": "png"}]})
    with pytest.raises(NotFoundError, match="did you mean 'research'"):
        load_policy("reserch")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(SettingsError, match=r"'bad.toml' is not valid TOML"):
        load_policy(tmp_path / "bad.toml")
    (tmp_path / "worse.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(SettingsError, match=r"'worse.toml' is not UTF-8 text"):
        load_policy(tmp_path / "worse.toml")
    with pytest.raises(SettingsError, match="policy is not valid TOML"):
        load_policy("name =\n")


@pytest.mark.parametrize(
    "more",
    [
        {"options": ["clean_descriptors"]},
        {"rules": [{"vr": "PN", "action": "remove"}]},
        {"waivers": [WAIVER]},
    ],
)
def test_none_takes_nothing_else(more):
    with pytest.raises(SettingsError, match=f"takes no {next(iter(more))}"):
        Policy.read({"name": "x", "profile": "none", **more})


def test_digest_covers_settings_tables_and_version(monkeypatch):
    digests = {policy.digest() for policy in PRESETS.values()}
    assert len(digests) == 3
    before = load_policy("basic").digest()
    assert before == Policy(name="basic").digest()
    others = [
        {"max_shift_days": 10},
        {"max_age": 80},
        {"max_age": None},
        {"options": ["retain_uids"]},
        {"rules": [{"vr": "PN", "action": "remove"}]},
        {"rules": [{"vr": "PN", "action": "empty"}]},
        {"waivers": [WAIVER]},
        {"waivers": [{**WAIVER, "reason": "another reason"}]},
    ]
    changed = {Policy.read({"name": "basic", **other}).digest() for other in others}
    assert len(changed | {before}) == len(others) + 1
    for name in ("POLICY_VERSION", "PROFILE_DIGEST", "SAFE_PRIVATE_DIGEST"):
        with monkeypatch.context() as patch:
            patch.setattr(policy_module, name, "other")
            assert load_policy("basic").digest() != before


def test_order_of_options_does_not_matter():
    one = Policy(name="a", options=("retain_safe_private", "clean_descriptors"))
    two = Policy(name="a", options=("clean_descriptors", "retain_safe_private"))
    assert one.digest() == two.digest()


def test_order_of_rules_matters():
    first, second = {"vr": "PN", "action": "remove"}, {"vr": "PN", "action": "empty"}
    one, two = ({"name": "a", "rules": rules} for rules in ([first, second], [second, first]))
    assert Policy.read(one).digest() != Policy.read(two).digest()


def test_method_names_the_policy_and_fits():
    plain = load_policy("research")
    assert plain.method == ("voxlake policy research", f"policy sha256 {plain.digest()[:12]}")
    strict = Policy.read({"name": "n" * 32, "rules": [{"vr": "PN", "action": "remove"}]})
    assert strict.method[2] == "1 own rules"
    lax = Policy.read({"name": "n" * 32, "rules": [{"keyword": "StudyDate", "action": "keep"}] * 1000})
    assert lax.method[2] == "1000 own rules, Basic Profile not claimed"
    assert all(len(value) <= 64 for policy in (plain, strict, lax) for value in policy.method)


@pytest.mark.parametrize(
    ("rule", "claimed"),
    [
        ({"keyword": "StudyDate", "action": "keep"}, False),
        ({"keyword": "StudyDescription", "action": "clean"}, True),
        ({"keyword": "StudyDescription", "action": "clean", "pattern": "[0-9]{4}"}, False),
        ({"keyword": "PatientComments", "action": "replace", "value": "NONE"}, False),
        ({"keyword": "StudyDate", "action": "shift_date"}, True),
        ({"keyword": "PatientBirthDate", "action": "shift_date"}, False),
        ({"keyword": "AccessionNumber", "action": "token"}, True),
        ({"keyword": "PatientAddress", "action": "token"}, False),
        ({"keyword": "PatientSex", "action": "keep"}, True),
        ({"keyword": "KVP", "action": "keep"}, True),
        ({"tag": "0029,1010", "action": "keep"}, False),
        ({"tag": "0008,10xx", "action": "keep"}, False),
        ({"vr": "LO", "action": "clean"}, False),
        ({"group": "odd", "action": "remove"}, True),
        ({"vr": "PN", "action": "dummy"}, True),
        ({"keyword": "SOPInstanceUID", "action": "keep"}, False),
        ({"keyword": "StudyInstanceUID", "action": "map_uid"}, True),
        ({"modality": "SR", "action": "reject"}, True),
    ],
)
def test_the_profile_is_claimed_only_if_no_rule_can_keep_what_it_takes(rule, claimed):
    policy = Policy.read({"name": "x", "options": PRESETS["research"].options, "rules": [rule]})
    assert policy.claims_profile is claimed


def test_profile_none_claims_nothing():
    assert load_policy("none").claims_profile is False
    assert load_policy("basic").claims_profile is True
