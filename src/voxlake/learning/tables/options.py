"""Settings of the kinds of mining that group, place, retrieve, relate and compare the rows of a table."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from voxlake.core.errors import UsageError
from voxlake.core.settings import Settings

__all__ = [
    "AssociationOptions",
    "ClusterOptions",
    "DriftOptions",
    "ReduceOptions",
    "SimilarityOptions",
    "SurvivalOptions",
    "options_as",
]

Kind = TypeVar("Kind", bound=Settings)
Name = Annotated[str, Field(min_length=1)]
Level = Annotated[float, Field(gt=0, lt=1)]
Replicates = Annotated[int, Field(ge=100, le=100_000)]


class ClusterOptions(Settings):
    """How rows are grouped.

    Parameters
    ----------
    method : {"kmeans", "mixture", "agglomerative"}
        k-means; a mixture of normal distributions; or Ward's joining of the closest groups.
    clusters : int, optional
        Number of groups; without it the number from `smallest` to `largest` with the largest mean silhouette.
    smallest, largest : int
        What is tried where `clusters` is not given.
    components : int, optional
        Group on so many principal components instead of on all variables.
    subsamples : int
        Subsamples of patients for the stability.
    share : float
        Share of the patients in each subsample.
    silhouette_rows : int
        Most rows on which silhouettes are computed: their cost grows with the square of the rows.
    replicates : int
        Draws of the bootstrap over patients.
    level : float
        Level of the intervals.
    """

    method: Literal["kmeans", "mixture", "agglomerative"] = "kmeans"
    clusters: int | None = Field(default=None, ge=2)
    smallest: int = Field(default=2, ge=2)
    largest: int = Field(default=8, ge=2)
    components: int | None = Field(default=None, ge=1)
    subsamples: int = Field(default=30, ge=2)
    share: float = Field(default=0.8, gt=0, lt=1)
    silhouette_rows: int = Field(default=5000, ge=100)
    replicates: Replicates = 1000
    level: Level = 0.95

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.largest < self.smallest:
            raise ValueError(f"largest = {self.largest} lies below smallest = {self.smallest}")
        return self


class ReduceOptions(Settings):
    """How rows are placed in few dimensions.

    Parameters
    ----------
    method : {"pca", "isomap", "tsne"}
        Principal components; distances along neighbours; or neighbourhoods only, which has no place for new
        rows.
    components : int
        Number of dimensions.
    neighbours : int
        Neighbours of each row: of Isomap, and for the trustworthiness.
    perplexity : float
        Size of the neighbourhoods of t-SNE.
    """

    method: Literal["pca", "isomap", "tsne"] = "pca"
    components: int = Field(default=2, ge=1)
    neighbours: int = Field(default=10, ge=1)
    perplexity: float = Field(default=30.0, gt=1)


class SimilarityOptions(Settings):
    """How similar cases are found.

    Parameters
    ----------
    metric : {"euclidean", "cosine"}
        What a small distance is.
    neighbours : int
        How many are retrieved.
    other_patients : bool
        Leave out cases of the patient who is asked about.
    recall : float
        Share of the true neighbours that the index of a large table has to find.
    exact_below : int
        Tables with fewer rows are searched through whole.
    replicates : int
        Draws of the bootstrap over patients.
    level : float
        Level of the intervals.
    """

    metric: Literal["euclidean", "cosine"] = "euclidean"
    neighbours: int = Field(default=10, ge=1)
    other_patients: bool = True
    recall: float = Field(default=0.99, gt=0, le=1)
    exact_below: int = Field(default=50_000, ge=1)
    replicates: Replicates = 2000
    level: Level = 0.95


class AssociationOptions(Settings):
    """How variables are tested against the target.

    Parameters
    ----------
    numbers : {"difference", "odds_ratio"}
        Effect of a number on a class: difference of means, or odds ratio for one standard deviation.
    correlation : {"spearman", "pearson"}
        Where target and variable are numbers.
    adjust : tuple of str
        Columns that every effect is adjusted for; correlations cannot be.
    level : float
        Level of the intervals.
    """

    numbers: Literal["difference", "odds_ratio"] = "difference"
    correlation: Literal["spearman", "pearson"] = "spearman"
    adjust: tuple[Name, ...] = ()
    level: Level = 0.95


class SurvivalOptions(Settings):
    """How times until an event are modelled.

    Parameters
    ----------
    time : str
        Column with the time until the event, or until the last look.
    event : str
        Column that says whether the event was seen: 1 or 0, true or false, yes or no.
    ties : {"efron", "breslow"}
        How events at the same time are counted.
    replicates : int
        Draws of the bootstrap over patients.
    level : float
        Level of the intervals.
    """

    time: Name
    event: Name
    ties: Literal["efron", "breslow"] = "efron"
    replicates: Replicates = 1000
    level: Level = 0.95


class DriftOptions(Settings):
    """How centres or cohorts are compared.

    Parameters
    ----------
    centre : str
        Column that says where a row is from.
    reference : str, optional
        Centre that the others are compared with; without it the one with most rows.
    fewest : int
        Centres with fewer rows are left out, and named.
    bins : int
        Bins of the population stability index.
    permutations : int
        Draws of the test where patients have several rows.
    level : float
        Level of the intervals.
    """

    centre: Name
    reference: str | None = None
    fewest: int = Field(default=10, ge=4)
    bins: int = Field(default=10, ge=2)
    permutations: int = Field(default=1999, ge=99)
    level: Level = 0.95


def options_as(settings: Settings, kind: type[Kind]) -> Kind:
    """Settings of a task as those of one kind.

    Raises
    ------
    UsageError
        The task is of another kind.
    """
    if not isinstance(settings, kind):
        raise UsageError(f"expected a task with {kind.__name__}, got one with {type(settings).__name__}")
    return settings
