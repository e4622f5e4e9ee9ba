"""An earlier report: what it was asked for, and what it said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from voxlake.core.errors import IntegrityError, NotFoundError, UsageError
from voxlake.evaluation.asked import Asked
from voxlake.evaluation.record import figures_digest
from voxlake.lake.lake import Lake

__all__ = ["earlier", "figures_file", "kept_figures"]


def figures_file(asked: Asked, figures: Mapping[str, Any], digest: str) -> bytes:
    """What lies beside a page: what was asked for, by which code, and all that the page says."""
    content = {
        "asked": asked.to_dict(),
        "code_version": version("voxlake"),
        "digest": digest,
        "figures": dict(figures),
    }
    return json.dumps(content, sort_keys=True, indent=1).encode()


def earlier(lake: Lake, run_id: str) -> dict[str, Any]:
    """Arguments of an earlier run of report.

    Raises
    ------
    NotFoundError
        There is no such run.
    UsageError
        The run is one of another verb, or failed.
    """
    rows = lake.sql("select verb, outcome, arguments from runs where run_id = $run", {"run": run_id}).rows()
    if not rows:
        raise NotFoundError(
            f"no run '{run_id}'; see `voxlake sql \"select run_id from runs where verb = 'report'\"`"
        )
    verb, outcome, arguments = rows[0]
    if verb != "report" or outcome != "done":
        raise UsageError(
            f"run '{run_id}' is a {verb} that is {outcome}; a report that was done can be rebuilt"
        )
    found: dict[str, Any] = json.loads(arguments)
    found.pop("rebuilds", None)
    return found


def kept_figures(lake: Lake, run_id: str) -> tuple[Asked, dict[str, Any], str]:
    """What an earlier report was asked for, what it said, and the digest of that.

    Raises
    ------
    NotFoundError
        Its figures are not there: it is about a study, was made before figures were kept, or was erased with
        a patient.
    IntegrityError
        The figures are not those that were kept.
    """
    name = f"reports/{run_id}/figures.json"
    if not lake.objects.exists(name):
        raise NotFoundError(
            f"no figures of report '{run_id}': it is about a study, was made by an earlier version of "
            "voxlake, or "
            "was erased with a patient; make a new report"
        )
    content = json.loads(lake.objects.get(name))
    if figures_digest(content["figures"]) != content["digest"]:
        raise IntegrityError(
            f"the figures of report '{run_id}' do not have their digest: they were changed; restore them "
            "from a "
            "copy with `voxlake verify --repair-from`"
        )
    return Asked.from_dict(content["asked"]), content["figures"], str(content["digest"])
