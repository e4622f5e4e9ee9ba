"""From columns to numbers: imputation, ComBat, categories, scaling and selection, fitted on training rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import UsageError
from voxlake.core.hints import hint
from voxlake.learning.tables.combat import Combat, fit_combat
from voxlake.learning.tables.estimators import Supervised
from voxlake.learning.tables.selecting import choose, uncorrelated
from voxlake.learning.tables.settings import HarmoniseSettings, PrepareSettings
from voxlake.learning.tables.table import Column, FeatureTable

__all__ = ["Preparation", "fit_preparation"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Preparation:
    """A fitted preparation, all of it plain numbers and names.

    Parameters
    ----------
    settings : PrepareSettings
        How it was fitted.
    numbers : tuple of str
        Numeric columns.
    fill : numpy.ndarray
        float64 (numbers,), what stands in for a missing value.
    indicated : tuple of str
        Columns for which being missing is a column of its own.
    categories : mapping of column to tuple of str
        Categories that were seen, ``""`` for missing; any other is none of them.
    combat : Combat or None
        Harmonisation of the numbers.
    covariates : mapping of column to tuple of str
        Categories of its covariates; empty for a number.
    kept : tuple of int
        Columns of the full matrix that are kept.
    centre, scale : numpy.ndarray
        float64 (kept,).
    names : tuple of str
        (kept,), names of the columns: ``name``, ``name is missing`` or ``name=category``.
    """

    settings: PrepareSettings
    numbers: tuple[str, ...]
    fill: Floats
    indicated: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    combat: Combat | None
    covariates: Mapping[str, tuple[str, ...]]
    kept: tuple[int, ...]
    centre: Floats
    scale: Floats
    names: tuple[str, ...]

    def apply(self, table: FeatureTable) -> Floats:
        """Numbers for an estimator.

        Returns
        -------
        numpy.ndarray
            float64 (N, kept), without missing numbers.

        Raises
        ------
        UsageError
            A column is missing or of another kind, or a row is from a batch that ComBat has not seen.
        """
        self.check(table)
        matrix = _matrix(table, self.numbers, self.fill, self.indicated, self.categories)
        if self.combat is not None and self.settings.harmonise is not None:
            batch = table.column(self.settings.harmonise.batch).as_category()
            covariates = _covariates(table, self.covariates)
            count = len(self.numbers)
            matrix[:, :count] = self.combat.apply(matrix[:, :count], list(batch.values), covariates)
        prepared: Floats = (matrix[:, list(self.kept)] - self.centre) / self.scale
        return prepared

    def check(self, table: FeatureTable) -> None:
        """Refuse a table that does not have the columns.

        Raises
        ------
        UsageError
            Names them.
        """
        kinds = {column.name: column.kind for column in table.inputs}
        wanted = dict.fromkeys(self.numbers, "number") | dict.fromkeys(self.categories, "category")
        missing = [name for name in wanted if name not in kinds]
        if missing:
            raise UsageError(
                f"the table lacks {len(missing)} columns that the model was fitted on, for example "
                f"'{missing[0]}'{hint(missing[0], kinds)}"
            )
        other = [name for name, kind in wanted.items() if kinds[name] != kind]
        if other:
            raise UsageError(
                f"column '{other[0]}' is a {kinds[other[0]]}, the model takes a {wanted[other[0]]}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values; floats survive JSON unchanged."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "numbers": list(self.numbers),
            "fill": self.fill.tolist(),
            "indicated": list(self.indicated),
            "categories": {name: list(found) for name, found in self.categories.items()},
            "combat": None if self.combat is None else self.combat.to_dict(),
            "covariates": {name: list(found) for name, found in self.covariates.items()},
            "kept": list(self.kept),
            "centre": self.centre.tolist(),
            "scale": self.scale.tolist(),
            "names": list(self.names),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preparation:
        """The reverse of `to_dict`."""
        return cls(
            settings=PrepareSettings.read(values["settings"], where="preparation"),
            numbers=tuple(values["numbers"]),
            fill=np.asarray(values["fill"], dtype=np.float64),
            indicated=tuple(values["indicated"]),
            categories={name: tuple(found) for name, found in values["categories"].items()},
            combat=None if values["combat"] is None else Combat.from_dict(values["combat"]),
            covariates={name: tuple(found) for name, found in values["covariates"].items()},
            kept=tuple(values["kept"]),
            centre=np.asarray(values["centre"], dtype=np.float64),
            scale=np.asarray(values["scale"], dtype=np.float64),
            names=tuple(values["names"]),
        )


def fit_preparation(
    table: FeatureTable,
    settings: PrepareSettings,
    *,
    kind: Supervised | None = None,
    target: NDArray[Any] | None = None,
    seed: int = 0,
) -> Preparation:
    """Fit imputation, ComBat, categories, scaling and selection.

    Parameters
    ----------
    table : FeatureTable
        Training rows only.
    settings : PrepareSettings
        How.
    kind, target : optional
        What is learned, for selections that ask how variables go with it: int64 (N,) or float64 (N,).
    seed : int
        For selections that draw.

    Raises
    ------
    UsageError
        No column says anything, a selection without a target, or ComBat cannot be fitted.
    """
    values, numbers = table.numbers()
    texts = [column for column in table.inputs if column.kind == "category"]
    fill = _fill(values, settings.impute)
    indicated = tuple(name for name, one in zip(numbers, values.T, strict=True) if np.isnan(one).any())
    categories = {column.name: _seen(column) for column in texts}
    shown = indicated if settings.indicate else ()
    matrix = _matrix(table, numbers, fill, shown, categories)
    combat, covariates = _harmonise(table, matrix[:, : len(numbers)], settings.harmonise)
    if combat is not None and settings.harmonise is not None:
        batch = list(table.column(settings.harmonise.batch).as_category().values)
        design = _covariates(table, covariates)
        matrix[:, : len(numbers)] = combat.apply(matrix[:, : len(numbers)], batch, design)
    names = _names(numbers, shown, categories)
    kept = np.flatnonzero(np.ptp(matrix, axis=0) > 0) if len(matrix) else np.zeros(0, dtype=np.int64)
    if settings.correlated is not None:
        kept = kept[uncorrelated(matrix[:, kept], settings.correlated)]
    centre, scale = _scaling(matrix[:, kept], settings.scale)
    if settings.select != "none":
        if target is None or kind is None:
            raise UsageError(f"select = '{settings.select}' needs a target; use select = 'none'")
        chosen = choose(
            settings.select, (matrix[:, kept] - centre) / scale, target, settings.keep, kind, seed
        )
        kept, centre, scale = kept[chosen], centre[chosen], scale[chosen]
    if not len(kept):
        raise UsageError("no column of the table varies over the training rows; nothing can be learned")
    return Preparation(
        settings=settings,
        numbers=numbers,
        fill=fill,
        indicated=shown,
        categories=categories,
        combat=combat,
        covariates=covariates,
        kept=tuple(int(place) for place in kept),
        centre=centre,
        scale=scale,
        names=tuple(names[place] for place in kept),
    )


def _matrix(
    table: FeatureTable,
    numbers: tuple[str, ...],
    fill: Floats,
    indicated: tuple[str, ...],
    categories: Mapping[str, tuple[str, ...]],
) -> Floats:
    """Numbers without gaps, indicators, categories, in this order."""
    columns = {column.name: column for column in table.inputs}
    parts: list[NDArray[Any]] = []
    if numbers:
        known = np.column_stack([columns[name].values for name in numbers])
        parts.append(np.where(np.isnan(known), fill, known))
    parts += [columns[name].missing.astype(np.float64) for name in indicated]
    for name, seen in categories.items():
        values = _present(columns[name])
        parts += [np.array([value == one for value in values], dtype=np.float64) for one in seen]
    return np.column_stack(parts).astype(np.float64) if parts else np.zeros((len(table), 0))


def _names(
    numbers: tuple[str, ...], indicated: tuple[str, ...], categories: Mapping[str, tuple[str, ...]]
) -> list[str]:
    flags = [f"{name} is missing" for name in indicated]
    return [*numbers, *flags, *(f"{name}={one}" for name, seen in categories.items() for one in seen)]


def _fill(values: Floats, impute: str) -> Floats:
    fill = np.zeros(values.shape[1])
    for place, column in enumerate(values.T):
        known = column[~np.isnan(column)]
        if len(known) and impute != "zero":
            fill[place] = np.median(known) if impute == "median" else known.mean()
    return fill


def _present(column: Column) -> list[str]:
    return ["" if value is None else str(value) for value in column.values]


def _seen(column: Column) -> tuple[str, ...]:
    return tuple(sorted(set(_present(column))))


def _harmonise(
    table: FeatureTable, values: Floats, settings: HarmoniseSettings | None
) -> tuple[Combat | None, Mapping[str, tuple[str, ...]]]:
    if settings is None:
        return None, {}
    columns = [table.column(name) for name in settings.covariates]
    covariates = {column.name: () if column.kind == "number" else _seen(column) for column in columns}
    batch = list(table.column(settings.batch).as_category().values)
    fitted = fit_combat(
        values,
        batch,
        _covariates(table, covariates),
        parametric=settings.parametric,
        mean_only=settings.mean_only,
    )
    return fitted, covariates


def _covariates(table: FeatureTable, covariates: Mapping[str, tuple[str, ...]]) -> Floats:
    """Design of the covariates: a number as it is, a category of k values as k - 1 columns."""
    parts = []
    for name, seen in covariates.items():
        column = table.column(name)
        if column.missing.any():
            raise UsageError(f"covariate '{name}' of ComBat is missing in {int(column.missing.sum())} rows")
        if not seen:
            parts.append(column.values.astype(np.float64))
            continue
        values = _present(column)
        unknown = sorted(set(values) - set(seen))
        if unknown:
            raise UsageError(f"covariate '{name}' of ComBat has values that were not fitted: {unknown[:5]}")
        parts += [np.array([value == one for value in values], dtype=np.float64) for one in seen[1:]]
    return np.column_stack(parts) if parts else np.zeros((len(table), 0))


def _scaling(values: Floats, how: str) -> tuple[Floats, Floats]:
    count = values.shape[1]
    if how == "none":
        return np.zeros(count), np.ones(count)
    if how == "standard":
        centre, scale = values.mean(axis=0), values.std(axis=0)
    elif how == "range":
        centre, scale = values.min(axis=0, initial=np.inf), np.ptp(values, axis=0)
    else:
        low, centre, high = np.percentile(values, [25, 50, 75], axis=0)
        scale = high - low
    return centre, np.where(scale > 0, scale, 1.0)
