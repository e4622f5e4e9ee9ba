"""Settings: frozen, typed, and near misses at every level."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from voxlake.core.errors import SettingsError
from voxlake.core.settings import Settings


class Rule(Settings):
    pattern: str = "*"
    modality: str | None = None


class Other(Settings):
    strength: int = 1


class Nested(Settings):
    rule: Rule = Rule()
    rules: tuple[Rule, ...] = ()
    maybe: list[Rule] | None = None
    named: Mapping[str, Rule] | None = None
    either: Other | Rule | None = None


class Outer(Settings):
    threshold: float
    nested: Nested = Nested()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threshhold": 1}, "unknown key 'threshhold'; did you mean 'threshold'?"),
        ({"nested": {"maybee": []}}, "unknown key 'nested.maybee'; did you mean 'maybe'?"),
        ({"nested": {"rule": {"patern": ""}}}, "unknown key 'nested.rule.patern'; did you mean 'pattern'?"),
        ({"nested": {"rules": [{}, {"modalty": ""}]}}, "'nested.rules.1.modalty'; did you mean 'modality'?"),
        ({"nested": {"maybe": [{"modalty": ""}]}}, "'nested.maybe.0.modalty'; did you mean 'modality'?"),
        ({"nested": {"named": {"a": {"modalty": ""}}}}, "'nested.named.a.modalty'; did you mean 'modality'?"),
        ({"nested": {"either": {"modalty": ""}}}, "Rule.modalty'; did you mean 'modality'?"),
        ({"threshold": {"low": 1}}, "'threshold'"),
    ],
)
def test_unknown_keys_name_the_near_miss(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Outer.read({"threshold": 1.0, **values}, where="task 'x'")
    assert message in str(caught.value)
    assert str(caught.value).startswith("task 'x': ")


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Outer.read({"nested": {"rule": {"pattern": 3}}, "extra": 1})
    text = str(caught.value)
    assert "missing key 'threshold'" in text
    assert "'nested.rule.pattern'" in text
    assert "(got 3)" in text
    assert "unknown key 'extra'" in text


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(SettingsError) as caught:
        Outer.read({"threshold": "x" * 500})
    assert len(str(caught.value)) < 250


def test_settings_are_frozen_and_hashable() -> None:
    rule = Rule(pattern="a")
    with pytest.raises(ValueError, match="frozen"):
        rule.pattern = "b"  # type: ignore[misc]
    assert hash(rule) == hash(Rule(pattern="a"))


def test_digest_covers_defaults_and_values() -> None:
    assert Rule().digest() == Rule(pattern="*").digest()
    assert Rule().digest() != Rule(pattern="b").digest()
    assert Outer(threshold=1).digest() == Outer(threshold=1.0).digest()
    assert Outer(threshold=float("inf")).digest() != Outer(threshold=float("-inf")).digest()
    assert Rule().digest() == "fecdffdcd845f713a6a844438d213579e469797872f43e3a10fb258396299deb"
