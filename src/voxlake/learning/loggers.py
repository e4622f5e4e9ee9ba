"""Figures of each epoch for TensorBoard and MLflow, written beside the card of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from voxlake.core.errors import UsageError
from voxlake.learning.checkpoint import EpochRecord

__all__ = ["Log", "open_loggers", "require_loggers"]

Log = Callable[[EpochRecord], None]
# MLflow no longer writes plain files; what it needs for its database is not in every package of it.
_PACKAGES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "tensorboard": (("tensorboard",), "TensorBoard"),
    "mlflow": (("mlflow", "sqlalchemy", "alembic"), "MLflow"),
}


def require_loggers(names: Sequence[str]) -> None:
    """Refuse loggers that are not installed, before anything is learned.

    Raises
    ------
    UsageError
        Names the extra to be installed.
    """
    for name in names:
        packages, title = _PACKAGES[name]
        if any(find_spec(package) is None for package in packages):
            raise UsageError(
                f"loggers = ['{name}'] needs {title}: pip install 'voxlake[track]', or leave it out"
            )


@contextmanager
def open_loggers(
    names: Sequence[str], folder: Path, *, name: str, settings: Mapping[str, Any]
) -> Iterator[Log]:
    """What writes the record of each epoch wherever it is wanted; all is closed with the context.

    Parameters
    ----------
    names : sequence of {"tensorboard", "mlflow"}
        Where.
    folder : Path
        Files of TensorBoard lie in ``folder/tensorboard``, MLflow's database is ``folder/mlflow.db``; open
        it with ``mlflow ui --backend-store-uri sqlite:///mlflow.db``.
    name : str
        Of the training, for example ``"pneumonia, fold 1"``.
    settings : mapping
        How it is trained, as plain values.

    Raises
    ------
    UsageError
        One is not installed; the extra is named.
    """
    require_loggers(names)
    opened = {"tensorboard": _tensorboard, "mlflow": _mlflow}
    with ExitStack() as stack:
        logs = [stack.enter_context(opened[one](folder, name, settings)) for one in names]

        def log(record: EpochRecord) -> None:
            for one in logs:
                one(record)

        yield log


def _values(record: EpochRecord) -> dict[str, float]:
    return {
        "train/loss": record.train_loss,
        **{f"validation/{name}": value for name, value in record.figures.items()},
        "learning_rate": record.learning_rate,
        "seconds": record.seconds,
    }


@contextmanager
def _tensorboard(folder: Path, name: str, settings: Mapping[str, Any]) -> Iterator[Log]:
    # An extra, and slow to load.
    writer_class: Any = import_module("torch.utils.tensorboard").SummaryWriter
    writers: list[Any] = []

    def log(record: EpochRecord) -> None:
        if not writers:
            # Epochs that a killed training had written, and that are run again, are hidden.
            writers.append(writer_class(str(folder / "tensorboard"), purge_step=record.epoch))
            text = "\n".join(f"    {key} = {value}" for key, value in settings.items())
            writers[0].add_text("settings", f"{name}\n\n{text}")
        for key, value in _values(record).items():
            writers[0].add_scalar(key, value, record.epoch)
        writers[0].flush()

    try:
        yield log
    finally:
        for writer in writers:
            writer.close()


@contextmanager
def _mlflow(folder: Path, name: str, settings: Mapping[str, Any]) -> Iterator[Log]:
    # An extra, and slow to load.
    folder.mkdir(parents=True, exist_ok=True)
    database = (folder / "mlflow.db").absolute()
    client: Any = import_module("mlflow.tracking").MlflowClient(tracking_uri=f"sqlite:///{database}")
    known = client.get_experiment_by_name("voxlake")
    experiment = client.create_experiment("voxlake") if known is None else known.experiment_id
    run = client.create_run(experiment, run_name=name).info.run_id
    for key, value in settings.items():
        client.log_param(run, key, value)

    def log(record: EpochRecord) -> None:
        for key, value in _values(record).items():
            client.log_metric(run, key, value, step=record.epoch)

    status = "FAILED"
    try:
        yield log
        status = "FINISHED"
    finally:
        client.set_terminated(run, status)
