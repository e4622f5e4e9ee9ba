"""Plans: reading, writing, refusing, and digests that stay."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from voxlake.core.errors import NotFoundError, SettingsError
from voxlake.core.grid import Grid
from voxlake.core.mends import Mends
from voxlake.core.plan import Plan
from voxlake.core.step import Step
from voxlake.core.volume import Volume


class Add(Step):
    name: ClassVar[str] = "add"

    amount: float = 1.0
    label: str | None = None

    def __call__(self, volume: Volume) -> Volume:
        return volume.with_data(volume.numpy() + self.amount, step=self.tag)


class AddAgain(Add):
    version: ClassVar[int] = 2


STEPS = {"add": Add}
TEXT = '[[steps]]\nstep = "add"\namount = 2\n\n[[steps]]\nstep = "add"\nlabel = "x"\n'


def test_reads_text() -> None:
    plan = Plan.from_toml(TEXT, steps=STEPS)
    assert plan == Plan((Add(amount=2.0), Add(label="x")))
    assert len(plan) == 2
    assert [step.tag for step in plan] == ["add@1", "add@1"]


def test_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my plan.toml"
    path.write_text(TEXT, encoding="utf-8")
    assert Plan.from_toml(path, steps=STEPS) == Plan.from_toml(str(path), steps=STEPS)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"'my plan.toml' is not UTF-8"):
        Plan.from_toml(path, steps=STEPS)


def test_applies_in_order_and_records() -> None:
    volume = Volume(np.zeros((1, 2, 2)), Grid.flat_image((2, 2)))
    done = Plan((Add(amount=2), Add(amount=3)))(volume)
    assert np.array_equal(done.numpy(), np.full((1, 2, 2), 5.0))
    assert done.lineage.steps == ("add@1", "add@1")
    assert np.array_equal(volume.numpy(), np.zeros((1, 2, 2)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = [\n", "plan is not valid TOML"),
        ("stepz = []\n", "unknown key 'stepz'; did you mean 'steps'?"),
        ("steps = 3\n", "'steps' must be a list of tables"),
        ("steps = [3]\n", "'steps' must be a list of tables"),
        ("[steps]\n", "'steps' must be a list of tables"),
        ("[[steps]]\namount = 1\n", "step 1: missing key 'step'"),
        ("[[steps]]\nstep = 1\n", "step 1: missing key 'step'"),
        ('[[steps]]\nstep = "ad"\n', "step 1: unknown step 'ad'; did you mean 'add'?"),
        (TEXT + "amonut = 1\n", "step 2 (add): unknown key 'amonut'; did you mean 'amount'?"),
        ('[[steps]]\nstep = "add"\namount = "much"\n', "step 1 (add): 'amount'"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Plan.from_toml(text, steps=STEPS)
    assert message in str(caught.value)


@pytest.mark.parametrize("source", ["nowhere.toml", "steps = []", "# one line, " + "long " * 200, ""])
def test_what_is_no_file_is_not_found(source: str) -> None:
    with pytest.raises(NotFoundError):
        Plan.from_toml(source, steps=STEPS)


def test_empty_plan_round_trips() -> None:
    assert Plan.from_toml(Plan().to_toml(), steps=STEPS) == Plan()


def test_digest_is_fixed() -> None:
    # Rows of existing lakes are keyed by these: if this changes, all that was prepared is done again.
    assert (
        Plan((Add(amount=2),)).digest() == "cddc13d6ca6f0907903bba3541a45a68f53e0a322610efcf15128410664fb3d2"
    )
    assert Plan().digest() == "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"


def test_digest_follows_version_setting_and_order() -> None:
    digests = {
        Plan(steps).digest()
        for steps in (
            (Add(),),
            (AddAgain(),),
            (Add(amount=2),),
            (Add(), Add(amount=2)),
            (Add(amount=2), Add()),
        )
    }
    assert len(digests) == 5
    assert Plan.of([Add(amount=1)]).digest() == Plan((Add(),)).digest()


def test_mends_are_part_of_a_plan_and_of_its_digest_only_if_there_are_any():
    plain = Plan.from_toml("[geometry]\n", steps={})
    assert plain == Plan()
    assert plain.digest() == Plan().digest()
    assert plain.to_tables() == {"steps": []}
    mending = Plan.from_toml('[geometry]\ntilt = "resample"\n', steps={})
    assert mending.geometry == Mends(tilt="resample")
    assert mending.digest() != Plan().digest()
    assert Plan.from_toml(mending.to_toml(), steps={}) == mending


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[geometry]\ntlit = "resample"\n', "did you mean 'tilt'"),
        ('[geometry]\ntilt = "shear"\n', "geometry: 'tilt'"),
        ("geometry = 3\nsteps = []\n", "must be a table"),
        ("[geomtry]\n", "did you mean 'geometry'"),
    ],
)
def test_mistakes_in_the_geometry_of_a_plan(text, message):
    with pytest.raises(SettingsError, match=message):
        Plan.from_toml(text, steps={})
