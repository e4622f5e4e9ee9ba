"""ComBat against the published implementation in Python."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from neuroCombat import neuroCombat

from voxlake.core.errors import UsageError
from voxlake.learning.tables.combat import Combat, fit_combat


def _data(seed: int = 0) -> tuple[np.ndarray, list[str], np.ndarray, list[str]]:
    """Rows of three scanners with shifts and scales of their own, an age and a sex that matter."""
    generator = np.random.default_rng(seed)
    batch = np.repeat(["a", "b", "c"], [30, 22, 41])
    age = generator.uniform(20, 80, len(batch))
    sex = generator.choice(["f", "m"], len(batch))
    shift = {"a": 0.0, "b": 4.0, "c": -2.5}
    scale = {"a": 1.0, "b": 2.0, "c": 0.5}
    noise = generator.normal(size=(len(batch), 12)) * generator.uniform(0.5, 2, 12)
    values = 10 + 0.05 * age[:, None] + (sex == "m")[:, None] * 1.5
    values = (
        values + noise * np.array([[scale[one]] for one in batch]) + np.array([[shift[one]] for one in batch])
    )
    # A number that neuroCombat, which keeps covariates in single precision, represents exactly.
    return values, batch.tolist(), np.round(age), sex.tolist()


@pytest.mark.parametrize("parametric", [True, False])
@pytest.mark.parametrize("mean_only", [True, False])
@pytest.mark.parametrize("covariates", [True, False])
def test_equals_the_published_implementation(
    parametric: bool, mean_only: bool, covariates: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    values, batch, age, sex = _data()
    frame = pd.DataFrame({"batch": batch, "age": age, "sex": sex})
    theirs = neuroCombat(
        dat=values.T,
        covars=frame,
        batch_col="batch",
        categorical_cols=["sex"] if covariates else None,
        continuous_cols=["age"] if covariates else None,
        parametric=parametric,
        mean_only=mean_only,
    )["data"].T
    capsys.readouterr()
    design = np.column_stack([[one == "m" for one in sex], age]).astype(np.float64) if covariates else None
    fitted = fit_combat(values, batch, design, parametric=parametric, mean_only=mean_only)
    ours = fitted.apply(values, batch, design)
    assert np.abs(ours - theirs).max() < 1e-6
    assert np.abs(ours - values).max() > 1
    again = Combat.from_dict(fitted.to_dict())
    assert np.array_equal(again.apply(values, batch, design), ours)


def test_rows_that_were_not_fitted_are_harmonised_alike() -> None:
    values, batch, *_ = _data(1)
    rows = np.arange(len(batch)) % 3 > 0
    fitted = fit_combat(values[rows], [one for one, kept in zip(batch, rows, strict=True) if kept])
    rest = [one for one, kept in zip(batch, rows, strict=True) if not kept]
    before, after = values[~rows], fitted.apply(values[~rows], rest)
    names = np.array(rest)

    def spread(each: np.ndarray) -> float:
        return float(np.std([each[names == one].mean() for one in "abc"]))

    assert spread(before) > 2
    assert spread(after) < 0.5


def test_unknown_batches_are_refused() -> None:
    values, batch, *_ = _data()
    fitted = fit_combat(values, batch)
    with pytest.raises(UsageError, match=r"cannot harmonise rows of \['d'\]"):
        fitted.apply(values[:1], ["d"])
    with pytest.raises(UsageError, match="two batches"):
        fit_combat(values, ["a"] * len(values))
    with pytest.raises(UsageError, match="two rows of each batch"):
        fit_combat(values, ["z", *batch[1:]])
    with pytest.raises(UsageError, match="1 rows have none"):
        fit_combat(values, [None, *batch[1:]])
    with pytest.raises(UsageError, match="determined by the batches"):
        fit_combat(values, batch, np.array([[float(one == "a")] for one in batch]))


def test_a_variable_without_variance_and_one_variable_alone() -> None:
    values, batch, *_ = _data()
    constant = np.column_stack([values, np.full(len(values), 7.0)])
    fitted = fit_combat(constant, batch)
    changed = fitted.apply(constant, batch)
    assert np.all(changed[:, -1] == 7)
    assert np.allclose(changed[:, :-1], fit_combat(values, batch).apply(values, batch))
    single = fit_combat(values[:, :1], batch).apply(values[:, :1], batch)
    means = [single[np.array(batch) == one].mean() for one in "abc"]
    assert np.ptp(means) < 1e-9
