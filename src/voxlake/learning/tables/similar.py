"""Mining of kind similarity: an index of all rows, and how alike the cases are that it retrieves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.hints import hint
from voxlake.learning.mining import MiningTask
from voxlake.learning.seeds import derived_seed
from voxlake.learning.tables.figures import estimate_row, finite, fitted_on
from voxlake.learning.tables.kinds import ModelParts, Tick
from voxlake.learning.tables.nearest import NearestIndex, Positions, build_index, index_from_bytes
from voxlake.learning.tables.options import SimilarityOptions, options_as
from voxlake.learning.tables.prepare import Preparation, fit_preparation
from voxlake.learning.tables.result import Mined
from voxlake.learning.tables.table import Column, FeatureTable
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.resampling import resample

__all__ = ["SimilarCase", "SimilarCases", "mine_similar", "open_similar", "precision_at"]

Floats: TypeAlias = NDArray[np.float64]

_INDEX = "index.faiss"
_FILE = "similar.json"


@dataclass(frozen=True)
class SimilarCase:
    """A case that was retrieved.

    Parameters
    ----------
    subject : str
        Which.
    group : str
        Its patient.
    distance : float
        How far it lies from what was asked.
    """

    subject: str
    group: str
    distance: float


@dataclass(frozen=True, eq=False)
class SimilarCases:
    """An index that can be asked for the cases most similar to one of its own, or to another.

    Parameters
    ----------
    index : NearestIndex
        Prepared rows.
    preparation : Preparation
        How rows are prepared.
    subjects, groups : tuple of str
        (N,), what the rows are, and their patients.
    options : SimilarityOptions
        Number of neighbours, and whether those of the same patient count.
    """

    index: NearestIndex
    preparation: Preparation
    subjects: tuple[str, ...]
    groups: tuple[str, ...]
    options: SimilarityOptions

    def of(
        self, subject: str, *, neighbours: int | None = None, other_patients: bool | None = None
    ) -> list[SimilarCase]:
        """The cases most similar to one that is in the index; itself is not among them.

        Parameters
        ----------
        subject : str
            Which.
        neighbours : int, optional
            How many; as in the task by default.
        other_patients : bool, optional
            Leave out cases of the same patient; as in the task by default.

        Raises
        ------
        NotFoundError
            There is no such subject.
        """
        if subject not in self.subjects:
            raise NotFoundError(f"no subject '{subject}' in the index{hint(subject, self.subjects[:1000])}")
        place = self.subjects.index(subject)
        others = self.options.other_patients if other_patients is None else other_patients
        members = _codes(self.groups if others else self.subjects)
        vector = self.index.vectors(np.array([place]))
        return self._cases(vector, members[[place]], members, neighbours)[0]

    def to(self, table: FeatureTable, *, neighbours: int | None = None) -> list[list[SimilarCase]]:
        """The cases most similar to each row of another table; patients of the index may be among them.

        Raises
        ------
        UsageError
            A column is missing or of another kind.
        """
        members = np.zeros(len(self.subjects), dtype=np.int64)
        own = np.full(len(table), -1, dtype=np.int64)
        return self._cases(self.preparation.apply(table), own, members, neighbours)

    def _cases(
        self, vectors: ArrayLike, own: Positions, members: Positions, neighbours: int | None
    ) -> list[list[SimilarCase]]:
        wanted = self.options.neighbours if neighbours is None else neighbours
        if wanted < 1:
            raise UsageError(f"neighbours must be 1 or more, got {wanted}")
        found, far = self.index.search_others(vectors, own, members, wanted)
        return [
            [
                SimilarCase(self.subjects[place], self.groups[place], float(distance))
                for place, distance in zip(places, distances, strict=True)
                if place >= 0
            ]
            for places, distances in zip(found.tolist(), far.tolist(), strict=True)
        ]


def mine_similar(table: FeatureTable, task: MiningTask, tick: Tick) -> Mined:
    """Index the rows of a table for the retrieval of similar cases.

    With a target the retrieval is scored: of the cases retrieved for each row, what share has its class.
    Nothing of the target enters the index.

    Raises
    ------
    UsageError
        There are fewer than two rows, or no variable varies.
    """
    options = options_as(task.settings, SimilarityOptions)
    if len(table) < 2:
        raise UsageError(f"similar cases need two rows or more, got {len(table)}")
    seed = derived_seed(task.folds.seed, "similar") % 2**31
    preparation = fit_preparation(table, task.prepare)
    values = preparation.apply(table)
    index = build_index(
        values, metric=options.metric, recall=options.recall, exact_below=options.exact_below, seed=seed
    )
    tick("index")
    stored = {
        "preparation": preparation.to_dict(),
        "index": index.facts(),
        "subjects": list(table.subjects),
        "groups": list(table.groups),
    }
    results: dict[str, Any] = {
        "index": index.facts(),
        "variables": list(preparation.names),
        "neighbours": options.neighbours,
        "other_patients": options.other_patients,
        "estimates": [],
    }
    members = _codes(table.groups if options.other_patients else table.subjects)
    wanted = min(options.neighbours, len(table) - 1)
    found, far = index.search_others(values, members, members, wanted)
    tick("search")
    results["nearest_distance"] = finite(float(np.median(far[:, 0])))
    if table.target is not None and table.target.kind == "category":
        results |= _scored(table, table.target, found, members, options, seed)
    return Mined(
        kind="similarity",
        folds=fitted_on(len(table)),
        results=results,
        artefacts={_INDEX: index.to_bytes(), _FILE: json.dumps(stored).encode()},
        vectors=values.astype(np.float32),
    )


def open_similar(parts: ModelParts, task: MiningTask) -> SimilarCases:
    """The index of a model.

    Parameters
    ----------
    parts : ModelParts
        Files of the model, checked against their digests.
    task : MiningTask
        Its task.

    Raises
    ------
    IntegrityError
        The stored index is not what its card says.
    UsageError
        The model is none of similar cases.
    """
    options = task.settings
    if not isinstance(options, SimilarityOptions):
        raise UsageError(f"'{task.name}' is of kind '{task.kind}'; similar cases need kind = 'similarity'")
    stored: Mapping[str, Any] = json.loads(parts.get(_FILE))
    facts = {name: stored["index"][name] for name in ("metric", "lists", "probes", "recall")}
    return SimilarCases(
        index=index_from_bytes(parts.get(_INDEX), **facts),
        preparation=Preparation.from_dict(stored["preparation"]),
        subjects=tuple(stored["subjects"]),
        groups=tuple(stored["groups"]),
        options=options,
    )


def precision_at(found: Positions, labels: Sequence[str | None]) -> Floats:
    """For each row, the share of its retrieved cases that have its label.

    Parameters
    ----------
    found : numpy.ndarray
        int64 (N, k), positions of the retrieved cases; -1 for none.
    labels : sequence of str or None
        (N,); a case without a label does not count.

    Returns
    -------
    numpy.ndarray
        float64 (N,), NaN where the row has no label or no retrieved case has one.
    """
    known = np.array([label is not None for label in labels])
    codes = np.where(known, _codes([str(label) for label in labels]), -1)
    counted = (found >= 0) & known[found]
    alike = counted & (codes[found] == codes[:, np.newaxis])
    total = counted.sum(axis=1)
    shares = np.full(len(codes), np.nan)
    np.divide(alike.sum(axis=1), total, out=shares, where=(total > 0) & known)
    return shares


def _scored(
    table: FeatureTable,
    target: Column,
    found: Positions,
    members: Positions,
    options: SimilarityOptions,
    seed: int,
) -> dict[str, Any]:
    """Precision of the retrieval, of all rows and of each class, and what chance would give."""
    labels = target.values
    shares = precision_at(found, list(labels))
    known = np.flatnonzero(~np.isnan(shares))
    if not len(known):
        return {}
    expected = _by_chance(labels, members)
    groups = np.array(table.groups)
    name = f"precision_at_{found.shape[1]}"
    figures = [_mean(name, shares[known], groups[known], options, seed)]
    for label in sorted({labels[row] for row in known}):
        rows = known[labels[known] == label]
        figures.append(_mean(f"{name}: {label}", shares[rows], groups[rows], options, seed))
    gain = shares[known] - expected[known]
    figures.append(_mean(f"{name} above chance", gain, groups[known], options, seed))
    return {
        "by_chance": finite(float(expected[known].mean())),
        "estimates": [estimate_row(one) for one in figures],
    }


def _mean(name: str, values: Floats, groups: NDArray[Any], options: SimilarityOptions, seed: int) -> Estimate:
    def mean(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            return np.asarray(weights @ values / weights.sum(axis=-1), dtype=np.float64)

    made = resample(
        {name: mean},
        samples=len(values),
        groups=groups,
        replicates=options.replicates,
        level=options.level,
        seed=seed,
    )
    return made[name]


def _by_chance(labels: NDArray[Any], members: Positions) -> Floats:
    """Share of the same label among all labelled rows that may be retrieved for a row."""
    known = np.array([label is not None for label in labels])
    codes = _codes([str(label) for label in labels])
    totals = np.bincount(codes[known], minlength=codes.max() + 1)
    inside = np.zeros((int(members.max()) + 1, len(totals)), dtype=np.int64)
    np.add.at(inside, (members[known], codes[known]), 1)
    rest = known.sum() - inside.sum(axis=1)[members]
    same = totals[codes] - inside[members, codes]
    shares = np.full(len(codes), np.nan)
    np.divide(same, rest, out=shares, where=rest > 0)
    return shares


def _codes(names: Sequence[str]) -> Positions:
    return np.unique(np.array(names, dtype=str), return_inverse=True)[1].astype(np.int64)
