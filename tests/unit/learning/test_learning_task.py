"""Tasks: read from TOML, written back, refused with the near miss."""

from __future__ import annotations

import pytest

from voxlake.core.errors import NotFoundError, SettingsError
from voxlake.learning.task import Task, load_task

TEXT = """
name = "pneumonia"
cohort = "chest"
target = "finding"
classes = ["NORMAL", "PNEUMONIA"]
positive = "PNEUMONIA"
plan = "xray-64"

[split]
kind = "holdout"
test = 0.25

[network]
name = "cnn"
blocks = [8, 16]

[training]
epochs = 7
patience = 3

[training.augmentation]
flip = ["column"]
shift = 0.05
"""


def test_a_task_is_read_with_defaults_filled_in():
    task = load_task(TEXT)
    assert (task.level, task.group, task.kind) == ("volume", "patient", "classification")
    assert (task.split.kind, task.split.test, task.split.validation) == ("holdout", 0.25, 0.15)
    assert task.network["blocks"] == [8, 16]
    assert task.network["activation"] == "relu"
    assert task.network_name == "cnn"
    assert task.network_settings.model_dump()["blocks"] == (8, 16)
    assert task.training.augmentation.flip == ("column",)
    assert task.metrics == ("accuracy", "recall", "precision", "f1", "roc_auc")


def test_a_task_is_written_and_read_back():
    task = load_task(TEXT)
    again = load_task(task.to_toml())
    assert again == task
    assert again.digest() == task.digest()
    assert load_task(TEXT.replace("shift = 0.05", "shift = 0.06")).digest() != task.digest()


def test_a_default_that_is_written_out_does_not_change_the_digest():
    assert load_task(TEXT + "\nrotate = 0.0").digest() == load_task(TEXT).digest()


def test_a_plan_may_stand_in_the_task():
    inline = TEXT.replace('plan = "xray-64"', "") + '\n[[plan.steps]]\nstep = "resize"\nshape = [1, 64, 64]\n'
    task = load_task(inline)
    assert task.plan == {"steps": [{"step": "resize", "shape": [1, 64, 64]}]}
    assert [step.name for step in task.load_plan()] == ["resize"]
    assert load_task(task.to_toml()) == task


def test_a_plan_file_is_found_beside_the_task_and_read_into_it(tmp_path):
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "a.toml").write_text('[[steps]]\nstep = "window"\nlow = -1000\n')
    (tmp_path / "task.toml").write_text(TEXT.replace("xray-64", "plans/a.toml"))
    task = load_task(tmp_path / "task.toml")
    assert task.plan == {"steps": [{"step": "window", "low": -1000}]}
    (tmp_path / "plans" / "a.toml").write_text('[[steps]]\nstep = "window"\nlow = -900\n')
    assert load_task(tmp_path / "task.toml").digest() != task.digest()
    (tmp_path / "plans" / "a.toml").unlink()
    with pytest.raises(NotFoundError, match=r"plan file .*a\.toml"):
        load_task(tmp_path / "task.toml")


def test_a_plan_is_loaded_by_name_and_near_misses_are_named():
    assert "resize" in [step.name for step in load_task(TEXT).load_plan()]
    with pytest.raises(NotFoundError, match="did you mean 'xray-64'"):
        load_task(TEXT.replace("xray-64", "xray-46")).load_plan()
    inline = TEXT.replace('plan = "xray-64"', "") + '\n[[plan.steps]]\nstep = "resiz"\n'
    with pytest.raises(SettingsError, match=r"task 'pneumonia', plan, step 1.*did you mean 'resize'"):
        load_task(inline).load_plan()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("cohort =", "cohorte =", "did you mean 'cohort'"),
        ('target = "finding"', "", "missing key 'target'"),
        ("epochs = 7", "epoch = 7", "did you mean 'epochs'"),
        ("epochs = 7", "epochs = 0", "greater than 0"),
        ("patience = 3", "patience = 7", "never stops 7 epochs early"),
        (
            "blocks = [8, 16]",
            "block = [8, 16]",
            r"network \(cnn\): unknown key 'block'; did you mean 'blocks'",
        ),
        ('name = "cnn"', 'name = "cnm"', "did you mean 'cnn'"),
        ('name = "cnn"', "", "missing key 'name'"),
        ('positive = "PNEUMONIA"', 'positive = "pneumonia"', "none of the classes"),
        ('["NORMAL", "PNEUMONIA"]', '["PNEUMONIA"]', "two or more"),
        ('["NORMAL", "PNEUMONIA"]', '["PNEUMONIA", "PNEUMONIA"]', "two or more"),
        ('flip = ["column"]', 'flip = ["columns"]', "column"),
        ("[split]", "[split", "not valid TOML"),
    ],
)
def test_what_does_not_fit_is_refused(before, after, message):
    assert before in TEXT
    with pytest.raises(SettingsError, match=message):
        load_task(TEXT.replace(before, after))


def test_files_that_are_no_task_are_refused(tmp_path):
    with pytest.raises(NotFoundError, match="no task file"):
        load_task(tmp_path / "absent.toml")
    (tmp_path / "task.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load_task(tmp_path / "task.toml")


def test_a_task_is_frozen():
    task = load_task(TEXT)
    with pytest.raises(ValueError, match="frozen"):
        task.name = "other"
    assert isinstance(task, Task)
