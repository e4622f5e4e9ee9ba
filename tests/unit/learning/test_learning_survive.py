"""Mining of kind survival."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from voxlake.core.errors import UsageError
from voxlake.learning.mining import MiningTask
from voxlake.learning.tables.cox import fit_cox
from voxlake.learning.tables.make import table_from_arrays
from voxlake.learning.tables.options import SurvivalOptions
from voxlake.learning.tables.survive import mine_survive, read_events, speak
from voxlake.store.schema.models import ASSOCIATIONS

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("survive")


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for each other on a busy machine take longer than one alone."""
    with threadpool_limits(1):
        yield


def patients(rows=200, seed=1):
    generator = np.random.default_rng(seed)
    volume, noise = generator.normal(size=(2, rows))
    treated = generator.integers(0, 2, rows)
    time = generator.exponential(np.exp(-(0.9 * volume - 0.8 * treated)))
    until = generator.exponential(3, rows)
    return table_from_arrays(
        {"volume": 10 + 3 * volume, "noise": noise, "arm": np.where(treated, "treated", "control")},
        asides={"months": np.minimum(time, until) + 1e-3, "died": np.where(time <= until, "yes", "no")},
        groups=[f"p{row}" for row in range(rows)],
    )


def task(**options):
    return MiningTask.read(
        {
            "name": "life",
            "kind": "survival",
            "level": "row",
            "inputs": [{"source": "file", "path": "x.csv"}],
            "folds": {"outer": 4},
            "options": {"time": "months", "event": "died", "replicates": 200, **options},
        }
    )


class Parts:
    """What a stored model would offer."""

    def __init__(self, mined) -> None:
        self.card = {"results": mined.results}
        self.get = mined.artefacts.__getitem__


@pytest.fixture(scope="module")
def mined():
    return mine_survive(patients(), task(), lambda _: None)


def test_hazard_ratios_are_those_that_were_planted(mined) -> None:
    rows = {row["variable"]: row for row in mined.associations}
    assert set(rows) == {"volume", "noise", "arm=treated"}
    # The volume was scaled to one standard deviation, which was drawn as 1; the arm was scaled as well.
    assert np.log(rows["volume"]["value"]) == pytest.approx(0.9, abs=0.25)
    assert np.log(rows["arm=treated"]["value"]) == pytest.approx(-0.8 * 0.5, abs=0.2)
    assert rows["volume"]["q_value"] < 1e-6 < rows["noise"]["p_value"]
    assert rows["noise"]["low"] < 1 < rows["noise"]["high"]
    known = {column.name for column in ASSOCIATIONS.columns} - {"model_id", "run_id", "committed_at"}
    assert all(set(row) == known for row in rows.values())
    checks = mined.results["proportional_hazards"]
    assert checks["together"]["freedom"] == 3
    assert len(checks["variables"]) == 3


def test_the_c_index_is_that_of_unseen_patients(mined) -> None:
    table = patients()
    (figure,) = mined.results["estimates"]
    assert figure["low"] < figure["value"] < figure["high"]
    assert 0.65 < figure["value"] < 0.85
    tested = np.concatenate([part.rows for part in mined.predicted])
    assert sorted(tested) == list(range(200))
    time, event = read_events(table, SurvivalOptions(time="months", event="died"))
    fold, part = mined.folds[2], mined.predicted[2]
    assert set(part.rows) == set(fold.test)
    # The preparation and the model of the fold, by hand: everything from its training rows.
    train, test = list(fold.train), list(fold.test)
    columns = []
    for values in (
        table.column("volume").values,
        table.column("noise").values,
        (table.column("arm").values == "treated").astype(float),
    ):
        columns.append((values - values[train].mean()) / values[train].std())
    design = np.column_stack(columns)
    model = fit_cox(time[train], event[train], design[train])
    assert part.values == pytest.approx(model.risk(design[test]), abs=1e-4)


def test_new_patients_get_a_risk(mined) -> None:
    table = patients(30, seed=9)
    spoken = speak(Parts(mined), task(), table)
    assert (spoken.part, len(spoken.values)) == ("new", 30)
    assert np.corrcoef(spoken.values, table.column("volume").values)[0, 1] > 0.7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"months": np.r_[-1.0, np.ones(199)]}, "1 rows have no time 'months' above 0"),
        ({"months": np.array(["a"] * 200)}, "must be a number"),
        ({"died": np.array(["maybe"] * 200)}, "got 'maybe'"),
    ],
)
def test_times_and_events_that_are_none(change, message) -> None:
    table = patients()
    asides = {"months": table.column("months").values, "died": table.column("died").values, **change}
    wrong = table_from_arrays({"x": np.arange(200.0)}, asides=asides)
    with pytest.raises(UsageError, match=message):
        mine_survive(wrong, task(), lambda _: None)


def test_events_as_numbers() -> None:
    table = table_from_arrays({"x": [1.0, 2]}, asides={"t": [3.0, 4], "e": [1, 0]})
    time, event = read_events(table, SurvivalOptions(time="t", event="e"))
    assert (time.tolist(), event.tolist()) == ([3, 4], [True, False])
