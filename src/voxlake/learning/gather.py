"""From a prepared, labelled cohort to samples, and an account of what could not be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.lake.cohorts import Cohort
from voxlake.lake.leakage import near_tokens
from voxlake.lake.resolve import Resolved, resolve_labels
from voxlake.lake.splits import join_groups
from voxlake.learning.data import Samples
from voxlake.volumes.read import read_values, volume_rows

__all__ = ["Gathered", "Left", "gather", "group_of", "images_of"]


@dataclass(frozen=True)
class Left:
    """A volume or series that cannot be learned from, and why."""

    item: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Gathered:
    """What can be learned from.

    Parameters
    ----------
    samples : Samples
        One for each usable volume, sorted by series and instance. Groups are patients (the study where no
        patient is known), joined where they share content or, as far as `check` has measured it, look the
        same.
    labels : tuple of str
        Label of each sample.
    rows : tuple of mapping
        Row of `volumes` of each sample.
    left : tuple of Left
        What was left out.
    """

    samples: Samples
    labels: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    left: tuple[Left, ...]


def gather(
    cohort: Cohort, plan_digest: str, *, target: str, classes: Sequence[str] | None, dimensions: int
) -> Gathered:
    """Bring together volumes and labels of a cohort.

    Parameters
    ----------
    cohort : Cohort
        A prepared cohort.
    plan_digest : str
        Under which plan.
    target : str
        Name of the label.
    classes : sequence of str, optional
        Labels to learn, in the order of the outputs; all that occur, sorted, if absent.
    dimensions : int
        2 for single images, 3 for volumes.

    Raises
    ------
    NotFoundError
        Nothing is prepared under the plan, or nothing has such a label.
    UsageError
        Fewer than two classes are left.
    """
    rows = volume_rows(cohort, plan_digest)
    if not rows:
        raise NotFoundError(
            f"cohort '{cohort.name}' has no volume under the plan of the task; run "
            f"`voxlake prepare {cohort.name} --plan ...` with the same plan first"
        )
    resolved = resolve_labels(cohort, target)
    known = tuple(classes) if classes is not None else tuple(sorted(set(resolved.values.values())))
    shape = Counter(tuple(row["shape"]) for row in rows).most_common(1)[0][0]
    left = [
        Left(member.series_instance_uid, "no_volume", "the series was not prepared under this plan")
        for member in cohort.members()
        if member.series_instance_uid not in {row["series_instance_uid"] for row in rows}
    ]
    used = []
    for row in rows:
        problem = _problem(row, resolved, known, shape)
        if problem is None:
            used.append(row)
        else:
            left.append(problem)
    labels = tuple(resolved.values[row["series_instance_uid"]] for row in used)
    if len(set(labels)) < 2:
        raise UsageError(
            f"cohort '{cohort.name}' has usable volumes of {len(set(labels))} class of '{target}'; "
            f"two are needed ({len(left)} were left out)"
        )
    near = near_tokens(cohort.lake, {row["series_instance_uid"] for row in used})
    contents = [[*row["inputs"], *near.get(row["series_instance_uid"], ())] for row in used]
    groups = join_groups([group_of(row) for row in used], contents)
    samples = Samples(
        images=images_of(cohort, used, dimensions),
        targets=torch.tensor([known.index(label) for label in labels], dtype=torch.int64),
        classes=known,
        groups=tuple(groups),
        ids=tuple(row["volume_id"] for row in used),
    )
    return Gathered(samples, labels, tuple(used), tuple(left))


def images_of(cohort: Cohort, rows: Sequence[dict[str, Any]], dimensions: int) -> torch.Tensor:
    """Prepared values as a tensor for a network.

    Returns
    -------
    torch.Tensor
        float32, (N, C, rows, columns) or (N, C, slices, rows, columns).

    Raises
    ------
    UsageError
        Single images are wanted, but the volumes have several slices.
    """
    stacked = np.stack([np.asarray(values, dtype=np.float32) for values in read_values(cohort.lake, rows)])
    if stacked.ndim == 4:
        stacked = stacked[..., None]
    stacked = np.moveaxis(stacked, -1, 1)
    if dimensions == 2:
        if stacked.shape[2] != 1:
            raise UsageError(
                f"the network takes single images (dimensions = 2), but volumes have {stacked.shape[2]} "
                "slices; set dimensions = 3 or prepare single slices"
            )
        stacked = stacked[:, :, 0]
    return torch.from_numpy(np.ascontiguousarray(stacked))


def _problem(
    row: Mapping[str, Any], resolved: Resolved, classes: Sequence[str], shape: tuple[int, ...]
) -> Left | None:
    series, volume = row["series_instance_uid"], row["volume_id"]
    if series in resolved.conflicts:
        found = ", ".join(resolved.conflicts[series])
        return Left(volume, "label_conflict", f"labels disagree: {found}")
    if series not in resolved.values:
        return Left(volume, "no_label", "no label at any level")
    if resolved.values[series] not in classes:
        return Left(volume, "other_class", f"label '{resolved.values[series]}' is none of the task's classes")
    if tuple(row["shape"]) != shape:
        return Left(volume, "shape_mismatch", f"shape {tuple(row['shape'])}, most have {shape}")
    return None


def group_of(row: Mapping[str, Any]) -> str:
    """What a volume is kept together with: its patient, or its study where no patient is known."""
    return str(row["patient_id"] if row["patient_id"] is not None else row["study_instance_uid"])
