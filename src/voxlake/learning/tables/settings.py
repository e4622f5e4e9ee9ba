"""Settings of preparation, folds, search and decision of a mining task."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from voxlake.core.hints import hint
from voxlake.core.settings import Settings

__all__ = ["DecideSettings", "FoldSettings", "HarmoniseSettings", "PrepareSettings", "SearchSettings"]

ESTIMATORS = ("logistic", "linear", "neighbours", "forest", "extra_trees", "boosting")
METRICS = (
    "roc_auc",
    "average_precision",
    "balanced_accuracy",
    "log_loss",
    "brier_score",
    "rmse",
    "mae",
    "r2",
)


class HarmoniseSettings(Settings):
    """ComBat: differences between scanners or centres are taken out of the numbers (Johnson et al., 2007).

    Parameters
    ----------
    batch : str
        Column that says where a row is from; rows of a batch that was not fitted are refused.
    covariates : tuple of str
        Columns whose influence is kept; never the target, which is not known of new rows.
    parametric : bool
        Whether the priors are the parametric ones.
    mean_only : bool
        Leave the variances as they are.
    """

    batch: Annotated[str, Field(min_length=1)]
    covariates: tuple[str, ...] = ()
    parametric: bool = True
    mean_only: bool = False


class PrepareSettings(Settings):
    """What is done to the variables; all of it is fitted on the training rows of a fold alone.

    Parameters
    ----------
    impute : {"median", "mean", "zero"}
        What stands in for a missing number; a missing category is a category of its own.
    indicate : bool
        Add a column that says where a number was missing.
    scale : {"standard", "robust", "range", "none"}
        To mean 0 and deviation 1; median 0 and quartile range 1; 0 to 1; not at all.
    correlated : float, optional
        Leave out the later one of two columns whose correlation is greater than this.
    select : {"none", "univariate", "mutual_information", "lasso"}
        Which columns are kept: all; the `keep` with the largest F; with the largest mutual information; those
        with the largest coefficients in a linear model with an L1 penalty.
    keep : int
        How many columns a selection keeps.
    harmonise : HarmoniseSettings, optional
        ComBat, after imputation and before scaling.
    """

    impute: Literal["median", "mean", "zero"] = "median"
    indicate: bool = False
    scale: Literal["standard", "robust", "range", "none"] = "standard"
    correlated: Annotated[float, Field(gt=0, le=1)] | None = None
    select: Literal["none", "univariate", "mutual_information", "lasso"] = "none"
    keep: PositiveInt = 20
    harmonise: HarmoniseSettings | None = None


class FoldSettings(Settings):
    """Nested cross-validation: outer folds test, inner folds choose.

    Parameters
    ----------
    outer, inner : int
        Numbers of folds.
    seed : int
        Of the drawing of both.
    stratify : bool
        Keep the classes (of a number: its quintiles) in the same proportion in every fold.
    """

    outer: Annotated[int, Field(ge=2)] = 5
    inner: Annotated[int, Field(ge=2)] = 4
    seed: NonNegativeInt = 0
    stratify: bool = True


class SearchSettings(Settings):
    """Which models are tried, in an order that depends on the seed alone.

    Parameters
    ----------
    estimators : tuple of str
        Families of models; all that suit the kind if empty.
    seconds : float
        Time for the whole search. Candidates are tried one after the other in all folds; how many it was is
        written down.
    candidates : int, optional
        Try exactly so many, whatever the time: with the number of an earlier search it is repeated exactly.
    metric : str, optional
        What the inner folds choose by; ``roc_auc`` for two classes, ``log_loss`` for more, ``rmse`` for
        numbers if absent.
    seed : int
        Of the order of the candidates and of models that draw.
    """

    estimators: tuple[str, ...] = ()
    seconds: Annotated[float, Field(gt=0)] = 60.0
    candidates: PositiveInt | None = None
    metric: str | None = None
    seed: NonNegativeInt = 0

    @field_validator("estimators")
    @classmethod
    def _known_estimators(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in ESTIMATORS:
                raise ValueError(f"unknown estimator '{name}'{hint(name, ESTIMATORS)}")
        return names

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, name: str | None) -> str | None:
        if name is not None and name not in METRICS:
            raise ValueError(f"unknown metric '{name}'{hint(name, METRICS)}")
        return name


class DecideSettings(Settings):
    """How probabilities become decisions; chosen on inner folds alone.

    Parameters
    ----------
    threshold : {"youden", "recall"}
        The greatest sum of recall and specificity, or the highest threshold with the wanted recall.
    recall : float
        That recall.
    recalibrate : {"none", "platt", "isotonic", "temperature"}
        How probabilities are corrected.
    """

    threshold: Literal["youden", "recall"] = "youden"
    recall: Annotated[float, Field(gt=0, le=1)] = 0.95
    recalibrate: Literal["none", "platt", "isotonic", "temperature"] = "none"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.threshold != "recall" and self.recall != 0.95:
            raise ValueError("a recall is wanted, but threshold is not 'recall'")
        return self
