from __future__ import annotations

import pytest

from voxlake.core.errors import NotFoundError, SettingsError
from voxlake.privacy import policy as policy_module
from voxlake.privacy.policy import LATER_OPTIONS, PRESETS, Policy, load_policy


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


def test_toml_file_round_trip(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        'name = "own"\noptions = ["retain_safe_private", "clean_descriptors"]\nmax_shift_days = 90\n'
    )
    policy = load_policy(path)
    assert policy == Policy(
        name="own", options=("clean_descriptors", "retain_safe_private"), max_shift_days=90
    )


@pytest.mark.parametrize("option", LATER_OPTIONS)
def test_options_of_a_later_version_are_refused_by_name(option):
    with pytest.raises(SettingsError, match=f"'{option}' is not implemented yet and comes later"):
        Policy.read({"name": "x", "options": [option]})


def test_mistyped_names_get_a_near_miss(tmp_path):
    with pytest.raises(SettingsError, match="did you mean 'clean_descriptors'"):
        Policy.read({"name": "x", "options": ["clean_descriptor"]})
    with pytest.raises(SettingsError, match="did you mean 'options'"):
        Policy.read({"name": "x", "option": []})
    with pytest.raises(NotFoundError, match="did you mean 'research'"):
        load_policy("reserch")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(SettingsError, match="is not TOML"):
        load_policy(tmp_path / "bad.toml")


def test_none_takes_no_options():
    with pytest.raises(SettingsError, match="takes no options"):
        Policy.read({"name": "x", "profile": "none", "options": ["clean_descriptors"]})


def test_digest_covers_settings_tables_and_version(monkeypatch):
    digests = {policy.digest() for policy in PRESETS.values()}
    assert len(digests) == 3
    before = load_policy("basic").digest()
    assert before == Policy(name="basic").digest()
    assert Policy(name="basic", max_shift_days=10).digest() != before
    for name in ("POLICY_VERSION", "PROFILE_DIGEST", "SAFE_PRIVATE_DIGEST"):
        with monkeypatch.context() as patch:
            patch.setattr(policy_module, name, "other")
            assert load_policy("basic").digest() != before


def test_order_of_options_does_not_matter():
    one = Policy(name="a", options=("retain_safe_private", "clean_descriptors"))
    two = Policy(name="a", options=("clean_descriptors", "retain_safe_private"))
    assert one.digest() == two.digest()
