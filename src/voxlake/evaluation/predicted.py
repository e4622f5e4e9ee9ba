"""What predicted classes and predicted numbers of one part have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import NotFoundError
from voxlake.evaluation.speaker import Speaker

__all__ = ["Predicted", "independent_unit", "nothing_to_score"]


@dataclass(frozen=True)
class Predicted:
    """Predictions of one part, in the order of the subjects.

    A subclass adds arrays whose first axis is the samples and names them in `arrays`.

    Parameters
    ----------
    model : Speaker
        Who spoke.
    cohort_id, part : str
        About whom: ``test`` (each subject by the model of the fold that has not seen its patient) or ``new``.
    subjects, groups : tuple of str
        Subject (volume, image, patient, row, ...) and patient of each sample.
    unit : str
        What is independent, in the plural: ``"patients"``, or what stands in for them where none is known.
    folds : numpy.ndarray
        int (N,), which fold spoke; -1 for the mean of all, or the final model.
    """

    model: Speaker
    cohort_id: str
    part: str
    subjects: tuple[str, ...]
    groups: tuple[str, ...]
    unit: str
    folds: NDArray[np.int64]

    arrays: ClassVar[tuple[str, ...]] = ()
    """Names of the subclass's arrays over the samples; one that is None stays None."""

    def take(self, chosen: NDArray[np.bool_] | Sequence[int]) -> Self:
        """Some of the samples: where bool (N,) is true, or at the given places in the given order."""
        places = np.arange(len(self.subjects))[np.asarray(chosen)]
        arrays = {name: getattr(self, name) for name in ("folds", *self.arrays)}
        return replace(
            self,
            subjects=tuple(self.subjects[place] for place in places),
            groups=tuple(self.groups[place] for place in places),
            **{name: array[places] for name, array in arrays.items() if array is not None},
        )


def nothing_to_score(model: Speaker) -> NotFoundError:
    """The error for a model without a prediction that can be scored."""
    return NotFoundError(
        f"model '{model.name}' has no prediction with a known truth here; predict a labelled "
        "cohort of patients that it has not seen with `voxlake predict`"
    )


def independent_unit(
    patients: Sequence[str | None], groups: Sequence[str], model: Speaker
) -> tuple[tuple[str, ...], str]:
    """Groups for the intervals and what they are: patients; where none is known, studies or samples."""
    if any(patient is not None for patient in patients) or model.level == "patient":
        return tuple(groups), "patients"
    if len(set(groups)) == len(groups):
        return tuple(groups), model.unit
    return tuple(groups), "groups" if model.level == "row" else "studies"
