"""Counting: from the files of a study and their shapes to the tables of its report."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from voxlake.core.digest import digest_bytes
from voxlake.dicom.nodes import keyword_of
from voxlake.evaluation.study_facts import (
    DoneRow,
    FileRow,
    OptionRow,
    PolicyPart,
    RecordRow,
    RemainsRow,
    RuleRow,
    StudyFacts,
    StudySummary,
    WaiverRow,
)
from voxlake.privacy.changes import Change
from voxlake.privacy.own_rules import OwnRule
from voxlake.privacy.policy import OPTION_CODES, Policy
from voxlake.privacy.profile import load_profile
from voxlake.privacy.shapes import Shape

__all__ = ["AS_IT_CAME", "NOTHING_TO_TAKE", "summarise"]

AS_IT_CAME = "as it came"
NOTHING_TO_TAKE = "nothing to take away"
_TAKING = frozenset(("removed", "private_removed"))
_OWN_RULE = re.compile(r"own rule (\d+)")
_CONDITIONS = MappingProxyType(
    {
        "tag": "tag",
        "group": "group",
        "keyword": "keyword",
        "private_creator": "private creator",
        "vr": "VR",
        "sop_class": "SOP class",
        "modality": "modality",
    }
)
_PIXELS_NOT_CLAIMED = (
    "Clean Pixel Data (113101) is not claimed: nobody searched the images for text, and what is burned into "
    "them is still there."
)
_FACES_NOT_CLAIMED = (
    "Clean Recognizable Visual Features (113102) is not claimed: a face can be rebuilt from images of a "
    "head, and photographs show what they show."
)
_NOT_CLAIMED = (_PIXELS_NOT_CLAIMED, _FACES_NOT_CLAIMED)
_NOTHING_DONE = (
    "Policy 'none' does nothing: every value that the files had is still in them, names and identifiers too."
)
_NO_CLAIM = (
    "The Basic Profile is not claimed in (0012,0064) of these objects, because own rules may keep what it "
    "takes away."
)


def summarise(reports: Iterable[StudyFacts]) -> tuple[StudySummary, ...]:
    """Count what the report of each study shows; facts of one study under several policies come together."""
    studies: defaultdict[str, list[StudyFacts]] = defaultdict(list)
    for facts in reports:
        studies[facts.study].append(facts)
    return tuple(_study(study, facts) for study, facts in studies.items())


def _study(study: str, facts: Sequence[StudyFacts]) -> StudySummary:
    files = tuple(
        FileRow(
            file.name,
            file.sha256,
            file.series,
            None if file.shape is None else file.shape.digest,
            file.pack,
            file.offset,
            file.length,
        )
        for one in facts
        for file in one.files
    )
    formats = Counter(file.shape.format for one in facts for file in one.files if file.shape is not None)
    series = {file.series for file in files}
    return StudySummary(
        study=study,
        patients=tuple(sorted({one.patient for one in facts if one.patient is not None})),
        instances=len(files),
        series=None if None in series else len(series),
        formats=tuple(sorted(formats.items())),
        parts=tuple(_part(same) for same in _by_policy(facts)),
        files=files,
        files_digest=digest_bytes("".join(sorted(f"{file.sha256}\n" for file in files)).encode()),
    )


def _by_policy(facts: Sequence[StudyFacts]) -> list[list[StudyFacts]]:
    found: defaultdict[str, list[StudyFacts]] = defaultdict(list)
    for one in facts:
        found[_policy_digest(one)].append(one)
    return list(found.values())


def _policy_digest(facts: StudyFacts) -> str:
    # That under which the files came in: an older version of voxlake gave the same policy another.
    stated = next((file.shape.policy_digest for file in facts.files if file.shape is not None), None)
    return stated or facts.policy.digest()


def _part(facts: Sequence[StudyFacts]) -> PolicyPart:
    policy = facts[0].policy
    files = [file for one in facts for file in one.files]
    counts = _counted([file.shape for file in files if file.shape is not None])
    shapes = sorted(counts, key=lambda shape: (shape.format, -counts[shape], shape.digest))
    return PolicyPart(
        name=policy.name,
        digest=_policy_digest(facts[0]),
        profile=policy.profile,
        claims_profile=policy.claims_profile,
        versions=_distinct(shape.policy_version for shape in shapes),
        editions=_distinct(shape.profile_edition for shape in shapes),
        voxlake=_distinct(shape.voxlake for shape in shapes),
        max_shift_days=policy.max_shift_days,
        max_age=policy.max_age,
        options=_options(policy),
        rules=_rules(policy, counts),
        waivers=_waivers(policy, counts),
        instances=len(files),
        unrecorded=len(files) - counts.total(),
        formats=_distinct(shape.format for shape in shapes),
        records=tuple(RecordRow(shape.digest, shape.format, counts[shape]) for shape in shapes),
        done=_done(policy, counts),
        remains=_remains(policy, counts),
        not_done=_not_done(policy),
    )


def _counted(shapes: Sequence[Shape]) -> Counter[Shape]:
    # Most files share the object of their shape, and to compare two shapes is to compare all of them.
    places = Counter(map(id, shapes))
    counts: Counter[Shape] = Counter()
    for shape in {id(shape): shape for shape in shapes}.values():
        counts[shape] += places[id(shape)]
    return counts


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


def _options(policy: Policy) -> tuple[OptionRow, ...]:
    if policy.profile == "none":
        return ()
    return tuple(OptionRow(name, *OPTION_CODES[name]) for name in ("basic", *policy.options))


def _rules(policy: Policy, counts: Mapping[Shape, int]) -> tuple[RuleRow, ...]:
    hits: Counter[int] = Counter()
    for shape, count in counts.items():
        numbers = (_rule_number(change.why) for change in shape.actions)
        hits.update(dict.fromkeys((number for number in numbers if number), count))
    return tuple(
        RuleRow(number, _matches(rule), rule.action, rule.why, hits[number])
        for number, rule in enumerate(policy.rules, 1)
    )


def _matches(rule: OwnRule) -> str:
    """Conditions of a rule in words; without its pattern, in which somebody may have written a name."""
    given = [(words, getattr(rule, name)) for name, words in _CONDITIONS.items()]
    said = [f"{words} {value}" for words, value in given if value is not None]
    return ", ".join(said + ["a pattern in the value"] * (rule.pattern is not None))


def _rule_number(why: str) -> int:
    found = _OWN_RULE.match(why)
    return int(found[1]) if found is not None else 0


def _waivers(policy: Policy, counts: Mapping[Shape, int]) -> tuple[WaiverRow, ...]:
    used: Counter[str] = Counter()
    for shape, count in counts.items():
        used.update(dict.fromkeys(shape.waived, count))
    return tuple(
        WaiverRow(rule, tuple(each.reason for each in policy.waivers if each.rule == rule), count)
        for rule, count in sorted(used.items())
    )


def _done(policy: Policy, counts: Mapping[Shape, int]) -> tuple[DoneRow, ...]:
    rows: Counter[Change] = Counter()
    for shape, count in counts.items():
        rows.update(dict.fromkeys(shape.actions, count))
    return tuple(
        DoneRow(
            change.path,
            change.keyword,
            _within(change.path),
            change.path.count("."),
            change.action,
            _why(policy, change.why),
            count,
        )
        for change, count in sorted(rows.items())
    )


def _why(policy: Policy, why: str) -> str:
    number = _rule_number(why)
    if not 0 < number <= len(policy.rules):
        return why
    said = policy.rules[number - 1].why
    return f"own rule {number}: {said}" if said else f"own rule {number}"


def _remains(policy: Policy, counts: Mapping[Shape, int]) -> tuple[RemainsRow, ...]:
    rows: Counter[tuple[str, str, str]] = Counter()
    for shape, count in counts.items():
        done: defaultdict[str, set[str]] = defaultdict(set)
        for change in shape.actions:
            done[change.path].add(change.action)
        for path, keyword in shape.remains:
            # Removed here and still there in another item: what is left was not touched.
            changed = sorted(done[path] - _TAKING)
            rows[path, keyword, ", ".join(changed) or _unchanged(policy, path, keyword)] += count
    return tuple(
        RemainsRow(path, keyword, _within(path), path.count("."), value, count)
        for (path, keyword, value), count in sorted(rows.items())
    )


@lru_cache(maxsize=4096)
def _unchanged(policy: Policy, path: str, keyword: str) -> str:
    """Say why an element did not change: nobody asked for it, or its value was empty to begin with.

    Where own rules may keep what the profile takes, the two cannot be told apart.
    """
    if not (keyword and policy.claims_profile) or keyword.endswith("Sequence"):
        return AS_IT_CAME
    digits = path[-10:-1].replace(",", "")
    row = load_profile().row(int(digits, 16))
    if row is None or {row.options.get(option) for option in policy.options} & {"C", "K"}:
        return AS_IT_CAME
    return NOTHING_TO_TAKE


@lru_cache(maxsize=4096)
def _within(path: str) -> tuple[str, ...]:
    """Keywords, or tags, of the sequences that an element lies in."""
    return tuple(_name(tag) for tag in path.split(".")[:-1])


def _name(tag: str) -> str:
    digits = tag[1:5] + tag[6:10]
    return tag if "x" in digits else keyword_of(int(digits, 16)) or tag


def _not_done(policy: Policy) -> tuple[str, ...]:
    if policy.profile == "none":
        return (_NOTHING_DONE, *_NOT_CLAIMED)
    return _NOT_CLAIMED if policy.claims_profile else (*_NOT_CLAIMED, _NO_CLAIM)
