"""Similar cases of a lake: what an index that was mined answers."""

from __future__ import annotations

from voxlake.lake.lake import Lake
from voxlake.learning.mined import get_mined
from voxlake.learning.tables.similar import SimilarCases, open_similar

__all__ = ["similar_cases"]


def similar_cases(lake: Lake, model: str) -> SimilarCases:
    """Open the index that a task of kind similarity made.

    Parameters
    ----------
    lake : Lake
        The lake.
    model : str
        Name of the task (the newest of that name), identifier, or its first characters.

    Raises
    ------
    NotFoundError
        There is no such model; a near miss is named.
    UsageError
        The model is of another kind.
    IntegrityError
        The stored index is not what was made.

    Examples
    --------
    >>> similar_cases(lake, "alike").of("2.25.101")  # doctest: +SKIP
    """
    mined = get_mined(lake, model)
    return open_similar(mined, mined.task)
