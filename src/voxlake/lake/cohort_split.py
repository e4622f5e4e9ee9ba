"""The verb cohort split: a cohort becomes training, validation and test cohorts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from voxlake.core.errors import UsageError
from voxlake.core.hints import hint
from voxlake.core.run import Run
from voxlake.lake.cohorts import Cohort, Member, check_name, freeze, get_cohort
from voxlake.lake.lake import Lake
from voxlake.lake.leakage import images_of, leakage, near_tokens
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.resolve import resolve_labels
from voxlake.lake.split_parts import assign_parts, balanced
from voxlake.lake.splits import check_leakage, join_groups
from voxlake.store.schema import TABLES

__all__ = ["cohort_split"]

_NONE = "(none)"
_COLUMNS = frozenset(column.name for column in TABLES["series"].columns)


@dataclass
class _Sample:
    """A series that is dealt out."""

    member: Member
    group: str
    contents: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    label: str | None = None


def cohort_split(
    lake: Lake,
    cohort: str,
    *,
    parts: str = "train=0.7,validation=0.15,test=0.15",
    by: Literal["patient", "study"] = "patient",
    stratify: str | None = None,
    balance: str | None = None,
    near_duplicates: bool = True,
    seed: int = 0,
) -> Run:
    """Deal a cohort out to parts, each a frozen cohort of its own.

    No patient stands in two parts, nor do patients who share an image or, once `check` has measured the
    images, one that looks the same. The same cohort, options and seed give the same parts.

    Parameters
    ----------
    lake : Lake
        The lake.
    cohort : str
        ``name`` or ``name@version``; the parts are called ``name-train`` and so on.
    parts : str
        Names and shares that add up to 1.
    by : str
        What is kept together: ``"patient"`` (the study where no patient is known) or ``"study"``.
    stratify : str, optional
        Names of labels and columns of ``series``, parted by commas: every part gets its share of every value
        and of every combination.
    balance : str, optional
        Name of a label: in each part, groups of the larger classes are left out until all classes have as
        many series as the smallest. Series without this label, or with several, are left out too.
    near_duplicates : bool
        Whether patients whose images look the same are kept together.
    seed : int
        Another seed gives other parts.

    Returns
    -------
    Run
        Items are series. ``result["table"]`` has the counts, ``result["largest_deviation"]`` the largest
        distance of a value's share in a part from its share in the whole.

    Raises
    ------
    UsageError
        Parts cannot be read, a variable is neither label nor column, or there are too few groups.
    LeakageError
        Parts share a patient or an image: with ``by="study"``, or where that cannot be avoided.

    Examples
    --------
    >>> cohort_split(lake, "chests", stratify="finding,modality")  # doctest: +SKIP
    """
    shares = _shares(parts)
    whole = get_cohort(lake, cohort)
    for part in shares:
        check_name(f"{whole.name}-{part}")
    variables = [name.strip() for name in stratify.split(",")] if stratify else []
    arguments = {
        "cohort": f"{whole.name}@{whole.version}",
        "cohort_id": whole.cohort_id,
        "parts": shares,
        "by": by,
        "stratify": variables,
        "balance": balance,
        "near_duplicates": near_duplicates,
        "seed": seed,
    }
    with start_run(lake, "cohort split", arguments) as recorder:
        recorder.input_digest = whole.cohort_id
        samples = _samples(recorder, whole, by)
        joined = _joined(lake, samples, near=near_duplicates)
        _describe(whole, samples, variables, balance)
        kept = _labelled(recorder, samples, balance)
        groups = [joined[sample.member.series_instance_uid] for sample in kept]
        dealt = assign_parts(groups, [sample.values for sample in kept], list(shares.values()), seed=seed)
        chosen = _chosen(recorder, kept, groups, dealt, list(shares), balance=balance, seed=seed)
        check_leakage(
            {
                part: [(_group(one.member, by), one.contents) for one in inside]
                for part, inside in chosen.items()
            }
        )
        about = f"-- part {{}} of {whole.name}@{whole.version} ({parts}; by {by}; seed {seed})"
        frozen = {
            part: freeze(recorder, f"{whole.name}-{part}", about.format(part), [one.member for one in inside])
            for part, inside in chosen.items()
        }
        table, deviation = _table(chosen, variables + ([balance] if balance else []))
        series = {part: [one.member.series_instance_uid for one in inside] for part, inside in chosen.items()}
        shared = leakage(lake, series).values["pairs"]
        recorder.result |= {
            "cohorts": [one["cohort"] for one in frozen.values()],
            "table": table,
            "largest_deviation": round(deviation, 4),
            "leakage": shared,
        }
    return recorder.run


def _shares(text: str) -> dict[str, float]:
    wrong = UsageError(f"'{text}' gives no parts: write for example train=0.7,validation=0.15,test=0.15")
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, equals, share = part.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise wrong from None
        if not equals or not name.strip():
            raise wrong
    if len(shares) != len(text.split(",")) or any(share <= 0 for share in shares.values()):
        raise wrong
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise UsageError(f"the shares of the parts add up to {sum(shares.values()):g}, expected 1")
    return shares


def _samples(recorder: Recorder, cohort: Cohort, by: str) -> list[_Sample]:
    """Series that are still as the cohort froze them; the others are items that failed."""
    now = dict(cohort.lake.sql("select series_instance_uid, members_digest from series").rows())
    samples = []
    for member in cohort.members():
        if now.get(member.series_instance_uid) == member.members_digest:
            samples.append(_Sample(member, _group(member, by)))
        else:
            recorder.saw()
            recorder.outcome(member.series_instance_uid, "failed", reason="cohort_changed")
    if not samples:
        raise UsageError(f"cohort '{cohort.name}' has no series that can be dealt out; select it again")
    return samples


def _group(member: Member, by: str) -> str:
    return member.study_instance_uid if by == "study" or member.patient_id is None else member.patient_id


def _joined(lake: Lake, samples: Sequence[_Sample], *, near: bool) -> dict[str, str]:
    """Group of each series, joined across what is shared; fills in the contents."""
    by_series = {sample.member.series_instance_uid: sample for sample in samples}
    for image in images_of(lake, by_series):
        digests = [image.sha256] if image.pixel_digest is None else [image.sha256, image.pixel_digest]
        by_series[image.series].contents += digests
    for series, tokens in near_tokens(lake, by_series).items() if near else ():
        by_series[series].contents += tokens
    joined = join_groups([sample.group for sample in samples], [sample.contents for sample in samples])
    return dict(zip(by_series, joined, strict=True))


def _describe(
    cohort: Cohort, samples: Sequence[_Sample], variables: Sequence[str], balance: str | None
) -> None:
    for name in variables:
        values = _values(cohort, name)
        for sample in samples:
            sample.values.append(values.get(sample.member.series_instance_uid, _NONE))
    if balance is not None:
        labels = resolve_labels(cohort, balance).values
        for sample in samples:
            sample.label = labels.get(sample.member.series_instance_uid)


def _values(cohort: Cohort, name: str) -> Mapping[str, str]:
    """Value of a variable by series; series with contradicting labels have none."""
    lake = cohort.lake
    labels = {row[0] for row in lake.sql("select distinct name from labels").rows()}
    if name in labels:
        return resolve_labels(cohort, name).values
    if name not in _COLUMNS:
        raise UsageError(f"there is no label or column '{name}'{hint(name, sorted(labels | _COLUMNS))}")
    rows = lake.sql(f'select series_instance_uid, "{name}" from series').rows()
    return {uid: str(value) for uid, value in rows if value is not None}


def _labelled(recorder: Recorder, samples: Sequence[_Sample], balance: str | None) -> list[_Sample]:
    if balance is None:
        return list(samples)
    kept = []
    for sample in samples:
        if sample.label is None:
            recorder.saw()
            recorder.outcome(sample.member.series_instance_uid, "failed", reason="no_label")
        else:
            kept.append(sample)
    return kept


def _chosen(
    recorder: Recorder,
    samples: Sequence[_Sample],
    groups: Sequence[str],
    dealt: Sequence[int],
    parts: Sequence[str],
    *,
    balance: str | None,
    seed: int,
) -> dict[str, list[_Sample]]:
    chosen: dict[str, list[_Sample]] = {}
    for number, part in enumerate(parts):
        places = [place for place, one in enumerate(dealt) if one == number]
        stays = [True] * len(places)
        if balance is not None:
            labels = [str(samples[place].label) for place in places]
            stays = balanced([groups[place] for place in places], labels, seed=seed)
        chosen[part] = [samples[place] for place, stay in zip(places, stays, strict=True) if stay]
        for place, stay in zip(places, stays, strict=True):
            if not stay:
                recorder.saw()
                item = samples[place].member.series_instance_uid
                recorder.outcome(item, "ignored", reason="left_out_to_balance")
    return chosen


def _table(
    chosen: Mapping[str, Sequence[_Sample]], variables: Sequence[str]
) -> tuple[list[dict[str, Any]], float]:
    """Counts by part and value, and the largest distance of a share from that in the whole."""
    rows: list[dict[str, Any]] = [
        {"variable": "", "value": "series", **{part: len(inside) for part, inside in chosen.items()}},
        {
            "variable": "",
            "value": "patients",
            **{part: len({one.member.patient_id for one in inside}) for part, inside in chosen.items()},
        },
    ]
    deviation = 0.0
    sizes = {part: max(1, len(inside)) for part, inside in chosen.items()}
    for place, variable in enumerate(variables):
        counts = {
            part: Counter(one.values[place] if place < len(one.values) else str(one.label) for one in inside)
            for part, inside in chosen.items()
        }
        whole = sum(counts.values(), Counter[str]())
        for value in sorted(whole):
            rows.append(
                {"variable": variable, "value": value, **{part: counts[part][value] for part in chosen}}
            )
            share = whole[value] / max(1, sum(whole.values()))
            deviation = max([deviation, *(abs(counts[part][value] / sizes[part] - share) for part in chosen)])
    return rows, deviation
