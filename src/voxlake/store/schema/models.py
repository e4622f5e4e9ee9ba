"""Models, what they say and how well."""

from __future__ import annotations

from voxlake.store.schema.column import REAL, TEXT, TEXTS, TIME, WHOLE, Column, Table

__all__ = ["MODELS", "PREDICTIONS", "SCORES"]


MODELS = Table(
    "models",
    "Trained models.",
    ("model_id",),
    (
        Column("model_id", TEXT, "Digest over task, cohort, labels, seed and code"),
        Column("task", TEXT, "Name of the task"),
        Column("task_digest", TEXT, "Digest of the task file"),
        Column("cohort_id", TEXT, "Cohort that it was trained on"),
        Column("plan_digest", TEXT, "Plan that its inputs must come from"),
        Column("target", TEXT, "Name of the label"),
        Column("classes", TEXTS, "Classes in the order of the outputs"),
        Column("folds", WHOLE, "Number of networks"),
        Column("parameters", WHOLE, "Trainable parameters of one network"),
        Column("samples", WHOLE, "Samples in all parts"),
        Column("seed", WHOLE, "Seed of split, weights and order"),
        Column("split_digest", TEXT, "Digest of the split"),
        Column("seconds", REAL, "Training time", "", "s"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

PREDICTIONS = Table(
    "predictions",
    "What a model says about a volume.",
    ("model_id", "volume_id", "cohort_id", "part", "fold", "class"),
    (
        Column("model_id", TEXT, "Model"),
        Column("volume_id", TEXT, "Volume"),
        Column("patient_id", TEXT, "Pseudonym of the patient"),
        Column("group", TEXT, "Unit that was kept together in the split"),
        Column("part", TEXT, "validation or test of its own cohort; new or seen (by training) in any cohort"),
        Column("fold", WHOLE, "Network that spoke; -1 for the mean of all"),
        Column("class", TEXT, "Class"),
        Column("probability", REAL, "Probability of the class"),
        Column("truth", TEXT, "Label, where known"),
        Column("cohort_id", TEXT, "Cohort that was predicted"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

SCORES = Table(
    "scores",
    "Figures with intervals.",
    ("model_id", "cohort_id", "part", "metric", "run_id"),
    (
        Column("model_id", TEXT, "Model"),
        Column("cohort_id", TEXT, "Cohort"),
        Column("part", TEXT, "test or new"),
        Column("metric", TEXT, "accuracy, recall, roc_auc, ..."),
        Column("value", REAL, "Estimate"),
        Column("low", REAL, "Lower end of the interval"),
        Column("high", REAL, "Upper end of the interval"),
        Column("level", REAL, "Level of the interval, for example 0.95"),
        Column("method", TEXT, "How the interval was made"),
        Column("samples", WHOLE, "Number of images or volumes"),
        Column("groups", WHOLE, "Number of patients"),
        Column("threshold", REAL, "Operating point, where the metric has one"),
        Column("inputs_digest", TEXT, "Digest over the predictions that went in"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)
