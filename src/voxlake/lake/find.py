"""The verb find."""

from __future__ import annotations

from voxlake.core.errors import NotFoundError
from voxlake.lake.lake import Lake
from voxlake.store.find import rows_of
from voxlake.store.query import Result

__all__ = ["find"]


def find(lake: Lake, uid: str) -> Result:
    """Say what a SOP, series or study UID names: one row for each instance, with the place of its bytes.

    Among tens of millions of instances this takes milliseconds, by an index on this machine that is made when
    it is missing. `Lake.find` gives the places alone.

    Parameters
    ----------
    lake : Lake
        The lake; no key is needed.
    uid : str
        SOPInstanceUID, SeriesInstanceUID or StudyInstanceUID, as in the lake (pseudonymised).

    Returns
    -------
    Result
        Columns study_instance_uid, series_instance_uid, sop_instance_uid, patient_id, modality,
        instance_number, pack, offset (byte), length (byte), sha256.

    Raises
    ------
    NotFoundError
        Nothing in the lake has this UID.

    Examples
    --------
    >>> find(lake, "2.25.1234").dicts()  # doctest: +SKIP
    """
    found = lake.find(uid)
    if found is None:
        raise NotFoundError(
            "nothing in the lake has this SOP, series or study UID; under most policies UIDs are replaced at "
            "ingest: look for the new one, as it stands in `instances`"
        )
    return rows_of(lake.tables, lake.cache, uid, found.kind)
