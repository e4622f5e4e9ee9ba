"""Classification and regression: nested search, models of the folds, and the final one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import digest_json
from voxlake.core.errors import UsageError
from voxlake.learning.mining import MiningTask
from voxlake.learning.seeds import derived_seed
from voxlake.learning.tables.decide import Decision, decide
from voxlake.learning.tables.estimators import Supervised, fit, predict
from voxlake.learning.tables.folds import audit, inner_folds, make_folds, strata_of
from voxlake.learning.tables.importance import importance, mean_importance
from voxlake.learning.tables.judging import default_metric, judge
from voxlake.learning.tables.kinds import ModelParts, Tick
from voxlake.learning.tables.prepare import Preparation, fit_preparation
from voxlake.learning.tables.result import Mined, Predicted
from voxlake.learning.tables.search import Chosen, Problem, search
from voxlake.learning.tables.store import dump_estimator, load_estimator
from voxlake.learning.tables.table import FeatureTable

__all__ = ["Speaker", "load_speaker", "mine_supervised", "speak"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Speaker:
    """A fitted model: preparation, estimator and what is made of its probabilities.

    Parameters
    ----------
    kind : {"classification", "regression"}
        Kind.
    classes : int
        Number of classes, 0 for numbers.
    preparation : Preparation
        From columns to numbers.
    estimator : object
        Of scikit-learn, fitted.
    decision : Decision or None
        Recalibration and threshold; None for numbers.
    """

    kind: Supervised
    classes: int
    preparation: Preparation
    estimator: Any
    decision: Decision | None

    def says(self, table: FeatureTable) -> Floats:
        """float64 (N, classes) or (N,) of the rows of a table."""
        said = predict(self.estimator, self.kind, self.preparation.apply(table), classes=self.classes)
        return said if self.decision is None else self.decision.apply(said)

    def parameters(self) -> int:
        """Coefficients of a linear model, nodes of trees; 0 where rows are kept."""
        if hasattr(self.estimator, "coef_"):
            return int(np.size(self.estimator.coef_) + np.size(self.estimator.intercept_))
        trees = [one for one in getattr(self.estimator, "estimators_", ()) if hasattr(one, "tree_")]
        boosted = getattr(self.estimator, "_predictors", ())
        nodes = [one.tree_.node_count for one in trees]
        nodes += [one.get_n_leaf_nodes() * 2 - 1 for stage in boosted for one in stage]
        return int(sum(nodes))


def mine_supervised(
    table: FeatureTable,
    task: MiningTask,
    target: NDArray[np.int64] | Floats,
    classes: Sequence[str],
    tick: Tick,
) -> Mined:
    """Search, fit and test models by nested cross-validation.

    Everything is fitted on the training rows of a fold: preparation, selection, model; thresholds and
    recalibration on what the inner folds said. The final model is searched and fitted on all rows in the same
    way; the outer folds say how good that procedure is.

    Parameters
    ----------
    table : FeatureTable
        Rows with a known target.
    task : MiningTask
        How.
    target : numpy.ndarray
        int64 (N,), index into `classes`, or float64 (N,).
    classes : sequence of str
        Empty for numbers.
    tick : callable
        Told about the progress.
    """
    kind: Supervised = "classification" if len(classes) else "regression"
    positive = _positive(task, classes) if len(classes) else None
    problem = Problem(table, kind, target, len(classes), positive, task.prepare)
    harmonise = task.prepare.harmonise
    batch = None if harmonise is None else table.column(harmonise.batch)
    strata = strata_of(table, task.folds, batch=batch)
    folds = make_folds(table, strata, task.folds)
    models = [_model(table, fold.train, strata, task, number) for number, fold in enumerate(folds)]
    models.append(_model(table, range(len(table)), strata, task, -1))
    metric = task.search.metric or default_metric(len(classes))
    searched = search(problem, models, task.search, metric, tick)
    artefacts: dict[str, bytes] = {}
    predicted, told, shares = [], [], []
    for model in models:
        speaker, part = _fit(problem, model, task)
        predicted.append(_validation(model, speaker))
        if model.fold >= 0:
            test = folds[model.fold].test
            said = speaker.says(table.take(test))
            predicted.append(_predicted("test", model.fold, test, said, kind))
            part["test_score"] = judge(metric, target[list(test)], said, positive=positive)
            shares.append(importance(speaker, problem, test, metric, seed=task.search.seed))
        name = "final" if model.fold < 0 else f"fold-{model.fold}"
        artefacts[f"{name}.skops"] = dump_estimator(speaker.estimator)
        artefacts[f"{name}.json"] = json.dumps(_stored(speaker)).encode()
        told.append(part)
        tick(f"model {name} fitted")
    return Mined(
        kind=kind,
        classes=tuple(classes),
        predicted=tuple(predicted),
        folds=folds,
        results={
            "folds": told[:-1],
            "final": told[-1],
            "importance": mean_importance(shares),
            "search": {
                "metric": metric,
                "seconds": round(searched.seconds, 3),
                "candidates": searched.candidates,
                "replay": f"[search] candidates = {searched.candidates}",
            },
            "audit": audit(table, folds),
        },
        artefacts=artefacts,
        parameters=speaker.parameters(),
    )


def load_speaker(parts: ModelParts, name: str = "final") -> Speaker:
    """Build a stored model; files are checked against the digests of the card.

    Raises
    ------
    IntegrityError
        A file is not what was stored.
    """
    stored = json.loads(parts.get(f"{name}.json"))
    estimator = load_estimator(
        parts.get(f"{name}.skops"), sha256=str(parts.card["artefacts"][f"{name}.skops"])
    )
    return Speaker(
        kind=stored["kind"],
        classes=int(stored["classes"]),
        preparation=Preparation.from_dict(stored["preparation"]),
        estimator=estimator,
        decision=None if stored["decision"] is None else Decision.from_dict(stored["decision"]),
    )


def _stored(speaker: Speaker) -> dict[str, Any]:
    return {
        "kind": speaker.kind,
        "classes": speaker.classes,
        "preparation": speaker.preparation.to_dict(),
        "decision": None if speaker.decision is None else speaker.decision.to_dict(),
    }


def _positive(task: MiningTask, classes: Sequence[str]) -> int:
    return classes.index(task.positive) if task.positive is not None else len(classes) - 1


def _model(
    table: FeatureTable, rows: Sequence[int], strata: Sequence[str], task: MiningTask, fold: int
) -> Chosen:
    inner = inner_folds(table, rows, strata, task.folds, fold=fold)
    return Chosen(fold, np.asarray(rows, dtype=np.int64), inner)


def _fit(problem: Problem, model: Chosen, task: MiningTask) -> tuple[Speaker, dict[str, Any]]:
    """Fit the chosen candidate on all training rows of a model."""
    train = problem.table.take(model.train)
    target = problem.target[model.train]
    preparation = fit_preparation(
        train,
        problem.prepare,
        kind=problem.kind,
        target=target,
        seed=derived_seed(task.search.seed, "select", model.fold),
    )
    seed = derived_seed(task.search.seed, "fit", model.fold)
    estimator = fit(model.which, problem.kind, preparation.apply(train), target, seed=seed)
    decision = None
    if problem.positive is not None:
        decision = decide(target, model.said, positive=problem.positive, settings=task.decide)
    told = {
        "fold": model.fold,
        "rows": len(model.train),
        "groups": len({problem.table.groups[place] for place in model.train}),
        "chosen": dict(model.which),
        "score": model.score,
        "inner_scores": list(model.scores),
        "columns": list(preparation.names),
        "threshold": None if decision is None else decision.threshold,
        "recalibration": None if decision is None else decision.to_dict()["recalibration"],
        "train_digest": digest_json(sorted(problem.table.subjects[place] for place in model.train)),
    }
    return Speaker(problem.kind, problem.classes, preparation, estimator, decision), told


def _validation(model: Chosen, speaker: Speaker) -> Predicted:
    """What the inner folds said, as thresholds and recalibration were chosen on it."""
    said = model.said if speaker.decision is None else speaker.decision.apply(model.said)
    return _predicted("validation", model.fold, model.train.tolist(), said, speaker.kind)


def _predicted(part: str, fold: int, rows: Sequence[int], said: Floats, kind: Supervised) -> Predicted:
    where = np.asarray(rows, dtype=np.int64)
    if kind == "regression":
        return Predicted(part, fold, where, values=said)
    return Predicted(part, fold, where, probabilities=said)


def speak(parts: ModelParts, task: MiningTask, table: FeatureTable) -> Predicted:
    """Let the final model speak about other rows.

    Raises
    ------
    UsageError
        Another level, a column that is missing or of another kind, or a row of a batch that ComBat has not
        seen.
    """
    if table.level != task.level:
        raise UsageError(f"the model speaks about level '{task.level}', the table is of '{table.level}'")
    speaker = load_speaker(parts)
    return _predicted("new", -1, range(len(table)), speaker.says(table), speaker.kind)
