"""Figures of epochs in TensorBoard and MLflow."""

from __future__ import annotations

import pytest

from voxlake.core.errors import UsageError
from voxlake.learning.checkpoint import EpochRecord
from voxlake.learning.loggers import open_loggers


def _record(epoch: int, loss: float = 0.5) -> EpochRecord:
    return EpochRecord(epoch, loss, {"loss": loss / 2, "roc_auc": 0.8}, 0.01, 1.5)


def test_what_is_written_for_tensorboard_can_be_read_back(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for epochs in ([1, 2], [2, 3]):
        with open_loggers(["tensorboard"], tmp_path, name="a", settings={"epochs": 3}) as log:
            for epoch in epochs:
                log(_record(epoch, 1 / epoch))
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert set(found.Tags()["scalars"]) == {
        "train/loss", "validation/loss", "validation/roc_auc", "learning_rate", "seconds",
    }  # fmt: skip
    losses = [(event.step, event.value) for event in found.Scalars("train/loss")]
    assert losses == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert [event.value for event in found.Scalars("validation/roc_auc")] == [pytest.approx(0.8)] * 3


def test_a_logger_that_is_not_installed_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("voxlake.learning.loggers.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs MLflow: pip install 'voxlake\[track\]'"):
        open_loggers(["mlflow"], tmp_path, name="a", settings={}).__enter__()


# SQLAlchemy's warning about a strategy that MLflow's own models use.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
def test_what_is_written_for_mlflow_can_be_read_back(tmp_path):
    from mlflow.tracking import MlflowClient

    with open_loggers(["mlflow"], tmp_path, name="a, fold 1", settings={"epochs": 3}) as log:
        for epoch in (1, 2):
            log(_record(epoch, 1 / epoch))
    with pytest.raises(ValueError, match="stop"):
        _stopped(tmp_path)

    client = MlflowClient(tracking_uri=f"sqlite:///{(tmp_path / 'mlflow.db').absolute()}")
    experiment = client.get_experiment_by_name("voxlake").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert {name: run.info.status for name, run in runs.items()} == {"a, fold 1": "FINISHED", "b": "FAILED"}
    whole = runs["a, fold 1"]
    assert whole.data.params == {"epochs": "3"}
    assert whole.data.metrics["validation/roc_auc"] == 0.8
    losses = client.get_metric_history(whole.info.run_id, "train/loss")
    assert [(one.step, one.value) for one in losses] == [(1, 1.0), (2, 0.5)]


def _stopped(folder):
    with open_loggers(["mlflow"], folder, name="b", settings={}) as log:
        log(_record(1))
        raise ValueError("stop")
