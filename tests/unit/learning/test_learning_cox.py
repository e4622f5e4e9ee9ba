"""Cox's model: published figures, its definition, and how it answers what cannot be fitted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm
from statsmodels.duration.hazard_regression import PHReg

from voxlake.core.errors import UsageError
from voxlake.learning.tables.cox import check_proportional, fit_cox, independent_columns

# Ovarian cancer trial of Edmunson and others (1979), as the R package survival has it: futime, fustat, age.
OVARIAN = np.array(
    [
        (59, 1, 72.3315), (115, 1, 74.4932), (156, 1, 66.4658), (421, 0, 53.3644), (431, 1, 50.3397),
        (448, 0, 56.4301), (464, 1, 56.9370), (475, 1, 59.8548), (477, 0, 64.1753), (563, 1, 55.1781),
        (638, 1, 56.7562), (744, 0, 50.1096), (769, 0, 59.6301), (770, 0, 57.0521), (803, 0, 39.2712),
        (855, 0, 43.1233), (1040, 0, 38.8932), (1106, 0, 44.6000), (1129, 0, 53.9068), (1206, 0, 44.2055),
        (1227, 0, 59.5890), (268, 1, 74.5041), (329, 1, 43.1370), (353, 1, 63.2192), (365, 1, 64.4247),
        (377, 0, 58.3096),
    ]
)  # fmt: skip


def log_likelihood(coefficients, time, event, design, ties="efron"):
    """Partial likelihood as it is written down, time by time."""
    total, risk = 0.0, design @ coefficients
    for moment in np.unique(time[event]):
        dying, at_risk = event & (time == moment), time >= moment
        count = dying.sum()
        for place in range(count):
            gone = place / count if ties == "efron" else 0.0
            below = np.exp(risk[at_risk]).sum() - gone * np.exp(risk[dying]).sum()
            total -= np.log(below)
        total += risk[dying].sum()
    return total


def simulated(rows=120, seed=0, tied=True):
    generator = np.random.default_rng(seed)
    design = generator.normal(size=(rows, 2))
    time = generator.exponential(np.exp(-design @ [0.8, -0.4]))
    until = generator.exponential(2.0, rows)
    event, time = time <= until, np.minimum(time, until)
    return (np.ceil(time * 8) / 8 if tied else time), event, design


def test_age_in_ovarian_cancer() -> None:
    time, event, age = OVARIAN.T
    found = fit_cox(time, event == 1, age[:, np.newaxis])
    assert found.coefficients[0] == pytest.approx(0.16162, abs=5e-5)
    assert np.sqrt(found.information[0, 0]) == pytest.approx(0.04974, abs=5e-5)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_coefficients_are_those_of_the_likelihood(ties) -> None:
    time, event, design = simulated()
    found = fit_cox(time, event, design, ties=ties)
    best = minimize(lambda at: -log_likelihood(at, time, event, design, ties), [0, 0], options={"gtol": 1e-8})
    assert found.coefficients == pytest.approx(best.x, abs=1e-4)
    assert found.log_likelihood == pytest.approx(-best.fun, rel=1e-8)
    low, high, p_values = found.intervals(0.9)
    half = norm.ppf(0.95) * np.sqrt(np.diag(found.covariance))
    assert low == pytest.approx(found.coefficients - half)
    assert high == pytest.approx(found.coefficients + half)
    assert p_values[0] < 1e-4


def test_robust_covariance_is_that_of_lin_and_wei() -> None:
    time, event, design = simulated(90, tied=False)
    groups = np.repeat(np.arange(45), 2)
    found = fit_cox(time, event, design, groups=groups)
    hazard = np.exp(design @ found.coefficients)
    residuals = np.zeros_like(design)
    for moment in time[event]:
        at_risk = time >= moment
        mean = hazard[at_risk] @ design[at_risk] / hazard[at_risk].sum()
        residuals[time == moment] += design[time == moment] - mean
        share = hazard[at_risk] / hazard[at_risk].sum()
        residuals[at_risk] -= share[:, np.newaxis] * (design[at_risk] - mean)
    moved = np.array([residuals[groups == each].sum(axis=0) for each in range(45)]) @ found.information
    assert found.covariance == pytest.approx(moved.T @ moved * 45 / 44, rel=1e-6)
    library = PHReg(time, design, status=event.astype(float), ties="efron").fit(groups=groups)
    assert found.covariance * 44 / 45 == pytest.approx(library.cov_params(), rel=1e-4)


def test_doubled_rows_of_one_patient_do_not_count_twice() -> None:
    time, event, design = simulated(60, tied=False)
    once = fit_cox(time, event, design, ties="breslow")
    twice = fit_cox(
        np.tile(time, 2),
        np.tile(event, 2),
        np.tile(design, (2, 1)),
        groups=np.tile(np.arange(60), 2),
        ties="breslow",
    )
    assert twice.coefficients == pytest.approx(once.coefficients, abs=1e-5)
    assert twice.covariance == pytest.approx(once.covariance, rel=1e-3)
    assert twice.information == pytest.approx(once.information / 2, rel=1e-3)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_residuals_of_schoenfeld_add_up_to_the_slope(ties) -> None:
    from voxlake.learning.tables.cox import _schoenfeld

    time, event, design = simulated()
    found = fit_cox(time, event, design, ties=ties)
    residuals, when = _schoenfeld(found, time, event, design)
    assert len(residuals) == event.sum()
    assert (when == time[event]).all()
    assert residuals.sum(axis=0) == pytest.approx([0, 0], abs=0.02)
    first = np.argmin(when)
    at_risk = time >= when[first]
    if (when == when[first]).sum() == 1:
        weights = np.exp(design[at_risk] @ found.coefficients)
        assert residuals[first] == pytest.approx(
            design[event][first] - weights @ design[at_risk] / weights.sum()
        )


def test_an_effect_that_fades_is_noticed() -> None:
    generator = np.random.default_rng(1)
    design = generator.integers(0, 2, (250, 1)).astype(float)
    # Hazard 4 before time 0.2 for the exposed, a half after it; 1 for all others.
    drawn = generator.exponential(size=250)
    exposed = np.where(drawn < 0.8, drawn / 4, 0.2 + (drawn - 0.8) * 2)
    time = np.where(design[:, 0] == 1, exposed, drawn) + 1e-6
    event = np.ones(250, dtype=bool)
    found = fit_cox(time, event, design)
    (one,), together = check_proportional(found, time, event, design)
    assert one.p_value < 1e-3
    assert together.statistic == pytest.approx(one.statistic)
    assert (one.freedom, together.freedom) == (1, 1)


@pytest.mark.slow
def test_proportional_effects_are_called_at_the_level() -> None:
    called = 0
    for seed in range(120):
        time, event, design = simulated(80, seed=seed, tied=False)
        _, together = check_proportional(fit_cox(time, event, design), time, event, design)
        called += together.p_value < 0.1
    assert 3 <= called <= 24


@pytest.mark.slow
def test_intervals_cover() -> None:
    inside = np.zeros(2)
    for seed in range(600):
        time, event, design = simulated(100, seed=seed, tied=False)
        low, high, _ = fit_cox(time, event, design).intervals()
        inside += (low <= [0.8, -0.4]) & (high >= [0.8, -0.4])
    assert ((inside / 600 >= 0.92) & (inside / 600 <= 0.98)).all()


def test_what_cannot_be_fitted_says_why() -> None:
    time, event, design = simulated(60, tied=False)
    with pytest.raises(UsageError, match="0 events cannot carry 2 variables"):
        fit_cox(time, np.zeros(60, dtype=bool), design)
    with pytest.raises(UsageError, match="worked out from the others"):
        fit_cox(time, event, np.column_stack((design, design.sum(axis=1))))
    with pytest.raises(UsageError, match="perfectly"):
        fit_cox(time, np.ones(60, dtype=bool), np.argsort(np.argsort(time))[:, np.newaxis] / 17.0)


def test_columns_that_depend_on_others() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 20))
    design = np.column_stack((first, np.ones(20), second, first - 2 * second + 3))
    assert independent_columns(design) == [0, 2]
