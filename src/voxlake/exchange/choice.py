"""Which volumes are exported: the plan that is named, or the only one that there is."""

from __future__ import annotations

from pathlib import Path

from voxlake.core.errors import UsageError
from voxlake.core.plan import Plan
from voxlake.exchange.dicom_forms import MASK_FORMS
from voxlake.exchange.forms import Form
from voxlake.lake.cohorts import Cohort
from voxlake.volumes.read import plan_digest_of
from voxlake.volumes.segment_work import AS_ASSEMBLED

__all__ = ["chosen_plan"]

# Names the masks of series as assembled where a plan is named.
_NAMED = "as-assembled"


def chosen_plan(cohort: Cohort, to: Form, plan: str | Path | Plan | None) -> str:
    """Digest of the plan of the volumes that are exported.

    Returns
    -------
    str
        Empty for originals; `AS_ASSEMBLED` for masks that were made of series as they are assembled.

    Raises
    ------
    NotFoundError
        The cohort was not prepared.
    UsageError
        Several plans, or masks of both kinds, and none is named; ``"as-assembled"`` for another form.
    """
    if to == "dicom":
        return ""
    if plan == _NAMED:
        if to not in MASK_FORMS:
            raise UsageError(
                f"only masks are kept of series as assembled, as {', '.join(sorted(MASK_FORMS))}; "
                f"run `voxlake prepare {cohort.name}` to export volumes"
            )
        return AS_ASSEMBLED
    if plan is None and to in MASK_FORMS:
        made = cohort.lake.sql(
            "select distinct plan_digest from masks join cohort_members using (series_instance_uid) "
            "where cohort_id = $cohort",
            {"cohort": cohort.cohort_id},
        )
        digests = {row[0] for row in made.rows()}
        if digests == {None}:
            return AS_ASSEMBLED
        if None in digests:
            raise UsageError(
                f"cohort '{cohort.name}' has masks of prepared volumes and of series as assembled; name the "
                f"plan of the volumes, or plan='{_NAMED}'"
            )
    return plan_digest_of(cohort, plan)
