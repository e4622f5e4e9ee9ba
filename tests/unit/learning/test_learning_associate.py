"""Association of variables with a target: by definition, and against statsmodels and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import statsmodels.api as sm
from statsmodels.stats.multitest import multipletests

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.learning.tables.associate import associate, mine_associate, variables_of
from voxlake.learning.tables.association import Finding, Untested, Variable, relate
from voxlake.learning.tables.correlation import correlation_effect, pearson_influence, spearman_influence
from voxlake.learning.tables.make import column_from, table_from_arrays
from voxlake.learning.tables.options import AssociationOptions
from voxlake.learning.tables.rates import discovery_rates
from voxlake.learning.tables.robust import linear_effect, logistic_effect, robust_deviation


def dense(design, residuals, codes):
    """CR2 and Satterthwaite's degrees of freedom as they are written down, with n by n matrices."""
    count = len(design)
    bread = np.linalg.inv(design.T @ design)
    hat = design @ bread @ design.T
    moved, columns = [], []
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        values, vectors = np.linalg.eigh(np.eye(len(rows)) - hat[np.ix_(rows, rows)])
        root = np.where(values > 1e-10, 1 / np.sqrt(np.maximum(values, 1e-10)), 0)
        weights = (vectors * root) @ vectors.T @ design[rows] @ bread[:, 0]
        moved.append(weights @ residuals[rows])
        columns.append((np.eye(count) - hat)[rows].T @ weights)
    gram = np.array(columns) @ np.array(columns).T
    return math.sqrt(sum(each**2 for each in moved)), np.trace(gram) ** 2 / np.trace(gram @ gram)


@pytest.fixture
def drawn():
    generator = np.random.default_rng(3)
    codes = np.sort(generator.integers(0, 25, 90))
    codes = np.unique(codes, return_inverse=True)[1]
    shared = generator.normal(size=codes.max() + 1)[codes]
    variable = generator.normal(size=90) + shared
    covariate = generator.normal(size=90)
    outcome = 0.4 * variable + covariate + shared + generator.normal(size=90)
    return codes, variable, covariate, outcome


def test_robust_deviation_is_its_definition(drawn) -> None:
    codes, variable, covariate, outcome = drawn
    design = np.column_stack((variable, np.ones(90), covariate))
    residuals = outcome - design @ np.linalg.lstsq(design, outcome, rcond=None)[0]
    assert robust_deviation(design, residuals, codes) == pytest.approx(
        dense(design, residuals, codes), rel=1e-10
    )


def test_robust_deviation_where_a_group_has_the_variable_to_itself() -> None:
    codes = np.array([0, 0, 1, 1, 2, 2])
    design = np.column_stack(([1.0, 1, 0, 0, 0, 0], np.ones(6)))
    outcome = np.array([1.0, 2, 3, 5, 4, 7])
    residuals = outcome - design @ np.linalg.lstsq(design, outcome, rcond=None)[0]
    assert robust_deviation(design, residuals, codes) == pytest.approx(dense(design, residuals, codes))


def test_two_groups_of_single_rows_have_the_error_of_welch() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(0, 1, 12), generator.normal(1, 3, 31)
    values, flag = np.concatenate((first, second)), np.repeat([0.0, 1.0], (12, 31))
    found = linear_effect(values, np.column_stack((flag, np.ones(43))), np.arange(43))
    assert found.value == pytest.approx(second.mean() - first.mean())
    assert found.deviation == pytest.approx(math.sqrt(first.var(ddof=1) / 12 + second.var(ddof=1) / 31))
    least, most = 11, 41
    assert least <= found.freedom <= most
    assert found.freedom == pytest.approx((1 / 12 + 1 / 31) ** 2 / (1 / 12**2 / 11 + 1 / 31**2 / 30))
    assert found.p_value == pytest.approx(
        2 * scipy.stats.t.sf(abs(found.value / found.deviation), found.freedom)
    )


def test_coefficients_are_those_of_statsmodels(drawn) -> None:
    codes, variable, covariate, outcome = drawn
    design = np.column_stack((variable, np.ones(90), covariate))
    linear = sm.OLS(outcome, design).fit()
    assert linear_effect(outcome, design, codes).value == pytest.approx(linear.params[0], rel=1e-9)
    above = (outcome > 0).astype(float)
    logistic = sm.Logit(above, design).fit(disp=0, tol=1e-10)
    found = logistic_effect(above, design, codes)
    assert found.value == pytest.approx(logistic.params[0], rel=1e-6)
    # The ordinary sandwich is a little smaller than the bias-reduced one.
    plain = sm.Logit(above, design).fit(
        disp=0, cov_type="cluster", cov_kwds={"groups": codes, "use_correction": False}
    )
    assert 1 < found.deviation / plain.bse[0] < 1.25


@pytest.mark.parametrize(
    "design",
    [
        np.column_stack((np.arange(6.0), 2 * np.arange(6.0))),
        np.column_stack((np.zeros(6), np.ones(6))),
        np.ones((1, 2)),
    ],
)
def test_dependent_columns_give_nothing(design) -> None:
    outcome, codes = np.arange(float(len(design))), np.arange(len(design))
    assert math.isnan(linear_effect(outcome, design, codes).value)
    assert math.isnan(logistic_effect((outcome > 2).astype(float), design, codes).value)


def test_separated_classes_have_no_odds_ratio() -> None:
    values = np.arange(10.0)
    found = logistic_effect((values > 4).astype(float), np.column_stack((values, np.ones(10))), np.arange(10))
    assert math.isnan(found.value)


def test_correlations_are_those_of_scipy(drawn) -> None:
    _, variable, covariate, outcome = drawn
    rounded = np.round(variable)
    assert pearson_influence(variable, outcome)[0] == pytest.approx(
        scipy.stats.pearsonr(variable, outcome).statistic
    )
    for first, second in ((variable, outcome), (rounded, np.round(covariate)), (rounded, rounded)):
        assert spearman_influence(first, second)[0] == pytest.approx(
            scipy.stats.spearmanr(first, second).statistic
        )


@pytest.mark.parametrize("digits", [8, 0])
def test_influence_is_what_leaving_a_row_out_does(digits) -> None:
    generator = np.random.default_rng(1)
    first = np.round(generator.normal(size=400), digits)
    second = np.round(first + generator.normal(size=400), digits)
    for influence, reference in (
        (pearson_influence, scipy.stats.pearsonr),
        (spearman_influence, scipy.stats.spearmanr),
    ):
        value, moved = influence(first, second)
        left = [
            reference(np.delete(first, row), np.delete(second, row)).statistic for row in range(0, 400, 20)
        ]
        assert -399 * (np.array(left) - value) == pytest.approx(moved[::20], abs=0.03)


def test_groups_widen_a_correlation() -> None:
    generator = np.random.default_rng(4)
    first, second = generator.normal(size=(2, 40))
    alone = correlation_effect(first, second, np.arange(40), kind="pearson")
    copied = correlation_effect(
        np.repeat(first, 5), np.repeat(second, 5), np.repeat(np.arange(40), 5), kind="pearson"
    )
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))
    as_rows = correlation_effect(np.repeat(first, 5), np.repeat(second, 5), np.arange(200), kind="pearson")
    assert as_rows.high - as_rows.low < 0.6 * (alone.high - alone.low)


def test_correlation_without_variation_or_groups() -> None:
    values = np.arange(12.0)
    assert math.isnan(correlation_effect(values, np.ones(12), np.arange(12)).value)
    few = correlation_effect(values, values[::-1] ** 2, np.repeat([0, 1, 2], 4))
    assert few.value == pytest.approx(-1)
    assert math.isnan(few.p_value)


def test_fisher_on_the_lady_who_tasted_tea() -> None:
    first = np.array([1.0, 1, 1, 1, 0, 0, 0, 0])
    second = np.array([1.0, 1, 1, 0, 1, 0, 0, 0])
    found = relate(
        Variable("a=1", first, binary=True),
        Variable("b=1", second, binary=True),
        [str(row) for row in range(8)],
        AssociationOptions(),
    )
    assert isinstance(found, Finding)
    assert (found.test, found.effect) == ("Fisher exact", "odds_ratio")
    # What R's fisher.test says of this table.
    assert found.value == pytest.approx(6.408309, rel=1e-5)
    assert found.p_value == pytest.approx(0.4857143)
    # At the ends, what was seen or more extreme has a probability of 2.5%; 3 of 4 with 4 of 8 in the column.
    chance = scipy.stats.nchypergeom_fisher
    assert chance(8, 4, 4, found.low).sf(2) == pytest.approx(0.025, rel=1e-5)
    assert chance(8, 4, 4, found.high).cdf(3) == pytest.approx(0.025, rel=1e-5)


def test_rows_of_one_patient_are_not_fishers() -> None:
    generator = np.random.default_rng(5)
    first = generator.integers(0, 2, 60).astype(float)
    second = np.where(generator.random(60) < 0.3, 1 - first, first)
    patients = [f"p{row // 2}" for row in range(60)]
    pair = (Variable("a", first, binary=True), Variable("b", second, binary=True))
    found = relate(*pair, patients, AssociationOptions())
    assert isinstance(found, Finding)
    assert (found.test, found.samples, found.groups) == ("logistic, CR2", 60, 30)
    table = [[((first == a) & (second == b)).sum() for b in (1, 0)] for a in (1, 0)]
    assert found.value == pytest.approx(table[0][0] * table[1][1] / (table[0][1] * table[1][0]), rel=1e-6)
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ([1, 2, np.nan, 4], [1, 2, 3, 4], "only 3 rows"),
        ([1, 1, 1, 1], [1, 2, 3, 4], "variable has one value"),
        ([1, 2, 3, 4], [2, 2, 2, 2], "target has one value"),
    ],
)
def test_what_cannot_be_tested_says_why(first, second, reason) -> None:
    pair = (
        Variable("a", np.array(first, float), binary=False),
        Variable("b", np.array(second, float), binary=False),
    )
    found = relate(*pair, list("wxyz"), AssociationOptions())
    assert isinstance(found, Untested)
    assert reason in found.reason


def test_discovery_rates_by_definition_and_against_statsmodels() -> None:
    values = [0.01, 0.04, 0.03, math.nan, 0.5, 0.04]
    rates = discovery_rates(values)
    assert math.isnan(rates[3])
    made = [value for value in values if not math.isnan(value)]
    by_hand = [
        min(1, *(other * len(made) / sum(x <= other for x in made) for other in made if other >= value))
        for value in made
    ]
    assert rates[[0, 1, 2, 4, 5]] == pytest.approx(by_hand)
    assert rates[[0, 1, 2, 4, 5]] == pytest.approx(multipletests(made, method="fdr_bh")[1])
    assert discovery_rates([]).shape == (0,)


def planted(rows: int = 120):
    generator = np.random.default_rng(9)
    finding = generator.integers(0, 2, rows)
    return table_from_arrays(
        {
            "density": generator.normal(size=rows) + 1.5 * finding,
            "noise": generator.normal(size=rows),
            "sex": np.where(generator.random(rows) < 0.5, "F", "M"),
            "site": np.array(["a", "b", "c"])[generator.integers(0, 3, rows)],
            "name": [f"n{row}" for row in range(rows)],
            "age": generator.normal(60, 10, rows),
        },
        target=np.where(finding, "yes", "no"),
        groups=[f"p{row // 2}" for row in range(rows)],
    )


def test_every_column_against_the_target() -> None:
    findings, untested, targets = associate(planted(), AssociationOptions())
    by_name = {one.variable: one for one in findings}
    assert targets == ["target=yes"]
    assert list(by_name) == ["density", "noise", "sex=M", "site=a", "site=b", "site=c", "age"]
    assert [one.variable for one in untested] == ["name"]
    assert by_name["density"].low > 0.7 > 0.05 > by_name["density"].p_value
    assert by_name["noise"].p_value > 0.01
    assert by_name["sex=M"].effect == "odds_ratio"


def test_odds_ratio_of_a_number_is_for_one_deviation() -> None:
    table = planted()
    options = AssociationOptions(numbers="odds_ratio", adjust=("age",))
    findings, _, _ = associate(table, options)
    assert "age" not in {one.variable for one in findings}
    values, age = table.column("density").values, table.column("age").values
    design = sm.add_constant(np.column_stack((values / values.std(ddof=1), age)))
    oracle = sm.Logit((table.target.values == "yes").astype(float), design).fit(disp=0)
    found = next(one for one in findings if one.variable == "density")
    assert found.value == pytest.approx(math.exp(oracle.params[1]), rel=1e-5)


def test_numbers_against_a_number() -> None:
    generator = np.random.default_rng(2)
    volume = generator.normal(size=50)
    table = table_from_arrays(
        {"age": volume + generator.normal(size=50), "sex": np.where(volume > 0, "F", "M")}, target=volume
    )
    findings, _, _ = associate(table, AssociationOptions())
    assert [(one.variable, one.effect) for one in findings] == [
        ("age", "correlation"),
        ("sex=M", "difference"),
    ]
    assert findings[0].value == pytest.approx(
        scipy.stats.spearmanr(table.column("age").values, volume).statistic
    )
    adjusted, _, _ = associate(table, AssociationOptions(adjust=("sex",)))
    assert [(one.variable, one.effect) for one in adjusted] == [("age", "slope")]


def test_classes_and_what_is_unknown() -> None:
    table = planted()
    with pytest.raises(UsageError, match=r"never 'yess'.*'yes'"):
        associate(table, AssociationOptions(), positive="yess")
    with pytest.raises(NotFoundError, match="no column 'agee'"):
        associate(table, AssociationOptions(adjust=("agee",)))
    with pytest.raises(UsageError, match="needs a target"):
        associate(table.with_target(None), AssociationOptions())
    with pytest.raises(UsageError, match="none of 1 variables"):
        associate(table.with_inputs([column_from("k", ["a"] * 120)]), AssociationOptions())
    more = table.with_target(column_from("kind", ["a", "b", "c"] * 40))
    findings, _, targets = associate(more, AssociationOptions())
    assert targets == ["kind=a", "kind=b", "kind=c"]
    assert len(findings) == 7 * 3
    two, _, targets = associate(more, AssociationOptions(), classes=("a", "c"), positive="a")
    assert targets == ["kind=a"]
    assert {one.samples for one in two} == {80}


def test_levels_of_a_category() -> None:
    column = column_from("c", ["b", None, "a", "b"])
    (found,) = variables_of(column)
    assert found.name == "c=b"
    assert found.values == pytest.approx([1, math.nan, 0, 1], nan_ok=True)


@pytest.fixture
def mining_task():
    from voxlake.learning.mining import MiningTask

    def make(**values):
        return MiningTask.read(
            {"name": "t", "level": "row", "inputs": [{"source": "file", "path": "x.csv"}], **values}
        )

    return make


def test_mined_rows_fit_the_table_of_associations(mining_task) -> None:
    from voxlake.store.schema.models import ASSOCIATIONS

    notes = []
    mined = mine_associate(
        planted(), mining_task(kind="association", target="target", options={"level": 0.9}), notes.append
    )
    assert notes == ["density", "noise", "sex", "site", "name", "age"]
    assert mined.results["tests"] == 7
    assert mined.results["estimates"][0]["name"].startswith("difference: density")
    known = {column.name for column in ASSOCIATIONS.columns} - {"model_id", "run_id", "committed_at"}
    assert all(set(row) == known for row in mined.associations)
    assert {row["level"] for row in mined.associations} == {0.9}
    assert mined.results["called"] == sum(row["q_value"] <= 0.1 + 1e-12 for row in mined.associations)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["difference", "odds_ratio", "spearman", "pearson"])
def test_intervals_cover(what) -> None:
    generator = np.random.default_rng(77)
    inside, draws = 0, 1500
    for _ in range(draws):
        patients = 40
        sizes = generator.integers(1, 5, patients)
        codes = np.repeat(np.arange(patients), sizes)
        shared = generator.normal(size=patients)[codes]
        own = generator.normal(size=len(codes))
        if what == "difference":
            flag = (generator.random(patients) < 0.4)[codes].astype(float)
            found = linear_effect(
                0.5 * flag + shared + own, np.column_stack((flag, np.ones(len(codes)))), codes
            )
            truth = 0.5
        elif what == "odds_ratio":
            # A logistic model that holds for single rows, with the variable shared within a patient.
            outcome = (generator.random(len(codes)) < 1 / (1 + np.exp(-0.8 * shared))).astype(float)
            found = logistic_effect(outcome, np.column_stack((shared, np.ones(len(codes)))), codes)
            truth = 0.8
        else:
            other = 0.6 * shared + 0.8 * generator.normal(size=patients)[codes]
            noisy = other + generator.normal(size=len(codes))
            found = correlation_effect(shared + own, noisy, codes, kind=what)
            pearson = 0.6 / 2
            truth = pearson if what == "pearson" else 6 / math.pi * math.asin(pearson / 2)
        inside += found.low <= truth <= found.high
    assert 0.92 <= inside / draws <= 0.98
