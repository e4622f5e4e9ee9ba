"""Models, what they say and how well."""

from __future__ import annotations

from voxlake.store.schema.column import REAL, TEXT, TEXTS, TIME, WHOLE, Column, Table

__all__ = ["ASSOCIATIONS", "MODELS", "PREDICTIONS", "SCORES"]


MODELS = Table(
    "models",
    "Trained models.",
    ("model_id",),
    (
        Column("model_id", TEXT, "Digest over task, cohort, labels, seed and code"),
        Column("kind", TEXT, "network or table: what the model learns from and which verb made it"),
        Column("task", TEXT, "Name of the task"),
        Column("task_kind", TEXT, "classification, regression, clustering, survival, embedding, ..."),
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
    "What a model says about a volume, or about the subject of a row of a table.",
    ("model_id", "volume_id", "subject", "cohort_id", "part", "fold", "class"),
    (
        Column("model_id", TEXT, "Model"),
        Column("volume_id", TEXT, "Volume; null where the subject is none"),
        Column("subject_level", TEXT, "volume, instance, series, study, patient or row"),
        Column("subject", TEXT, "Identifier of the subject in the lake, or key of the row"),
        Column("patient_id", TEXT, "Pseudonym of the patient"),
        Column("group", TEXT, "Unit that was kept together in the split"),
        Column("part", TEXT, "validation or test of its own cohort; new or seen (by training) in any cohort"),
        Column("fold", WHOLE, "Network that spoke; -1 for the mean of all"),
        Column("class", TEXT, "Class or cluster; null where a number is predicted"),
        Column("probability", REAL, "Probability of the class"),
        Column("value", REAL, "Predicted number: of a regression, or the risk score of a survival model"),
        Column(
            "uncertainty",
            REAL,
            "Standard deviation over the networks that spoke, of the probability or the value; null for one",
        ),
        Column("truth", TEXT, "Label, where known"),
        Column("truth_value", REAL, "Label as a number, where known"),
        Column("cohort_id", TEXT, "Cohort that was predicted"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

SCORES = Table(
    "scores",
    "Figures with intervals.",
    ("model_id", "cohort_id", "part", "metric", "subgroup", "against", "run_id"),
    (
        Column("model_id", TEXT, "Model"),
        Column("cohort_id", TEXT, "Cohort"),
        Column("part", TEXT, "test or new; fit where nothing was held apart"),
        Column(
            "metric",
            TEXT,
            "accuracy, recall, roc_auc, ...; roc_auc_difference and so on against another model",
        ),
        Column(
            "subgroup", TEXT, "Variable and value of the samples, for example patient_sex = F; null for all"
        ),
        Column("against", TEXT, "Model that the difference is taken from; null for figures of one model"),
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

ASSOCIATIONS = Table(
    "associations",
    "How variables go together with a target, each with an interval and corrected for the number of tests.",
    ("model_id", "variable", "target"),
    (
        Column("model_id", TEXT, "Result of `mine` that it belongs to"),
        Column("variable", TEXT, "Variable that was tested"),
        Column("target", TEXT, "Finding, label or number that it was tested against"),
        Column("test", TEXT, "How it was tested"),
        Column("effect", TEXT, "What the effect is: odds_ratio, difference, correlation, hazard_ratio, ..."),
        Column("value", REAL, "Effect"),
        Column("low", REAL, "Lower end of the interval"),
        Column("high", REAL, "Upper end of the interval"),
        Column("level", REAL, "Level of the interval"),
        Column("p_value", REAL, "Two-sided p value of no effect"),
        Column("q_value", REAL, "False discovery rate at which it would be called, Benjamini and Hochberg"),
        Column("samples", WHOLE, "Number of rows"),
        Column("groups", WHOLE, "Number of patients"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)
