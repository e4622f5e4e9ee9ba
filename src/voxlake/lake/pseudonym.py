"""The verb pseudonym: how a patient is called in the lake, for those who hold its key."""

from __future__ import annotations

from pathlib import Path

from voxlake.core.errors import ItemError, UsageError
from voxlake.lake.lake import Lake
from voxlake.privacy.pseudonym_list import Unlisted, load_pseudonyms
from voxlake.privacy.pseudonyms import Pseudonymiser, normalise_identifier

__all__ = ["pseudonym"]


def pseudonym(
    lake: Lake, identifier: str, *, pseudonyms: str | Path | None = None, unlisted: Unlisted = "keyed"
) -> str:
    """Give the pseudonym of an original patient identifier; for holders of the key only.

    Nothing is written and nothing is looked up: it is computed, whether the patient is in the lake or not.

    Parameters
    ----------
    lake : Lake
        The lake, with its key.
    identifier : str
        PatientID as the hospital writes it.
    pseudonyms : path, optional
        The list of pseudonyms that the images came in with, as for `ingest`.
    unlisted : str
        With `pseudonyms`, whether patients who are not in it have a ``"keyed"`` pseudonym or none
        (``"refuse"``).

    Returns
    -------
    str

    Raises
    ------
    KeyMismatchError
        This machine does not have the key of the lake.
    UsageError
        The identifier is empty, or not in the list.

    Examples
    --------
    >>> pseudonym(lake, "4711")  # doctest: +SKIP
    'P-7KQ2M5XH4TRAB'
    """
    key = lake.key
    if not normalise_identifier(identifier):
        raise UsageError("the identifier is empty; give a PatientID as the hospital writes it")
    patients = None if pseudonyms is None else load_pseudonyms(pseudonyms, unlisted=unlisted)
    try:
        return Pseudonymiser(key, patients).patient(identifier)
    except ItemError as error:
        raise UsageError(error.message) from None
