"""Under which policies the objects of a lake came in: from their digests back to the policies."""

from __future__ import annotations

import json

from voxlake.core.errors import LakeError
from voxlake.lake.lake import Lake
from voxlake.privacy.policy import PRESETS, Policy

__all__ = ["stored_policies"]


def stored_policies(lake: Lake) -> dict[str, Policy]:
    """Return the policy of every digest under which an object is stored.

    Raises
    ------
    LakeError
        No run says what a digest stands for.
    """
    digests = {row[0] for row in lake.sql("select distinct policy_digest from instances").rows()}
    known = {policy.digest(): policy for policy in (*PRESETS.values(), lake.policy)}
    runs = lake.sql("select verb, arguments from runs where verb in ('ingest', 'keys rekey') order by run_id")
    for verb, text in runs.rows():
        arguments = json.loads(text)
        if verb == "ingest":
            said = {arguments["policy_digest"]: arguments["policy"]}
        else:
            said = arguments["policies"]
        for digest, settings in said.items():
            if digest in digests and digest not in known:
                known[digest] = Policy.read(settings, where="the policy of an earlier run")
    unknown = digests - known.keys()
    if unknown:
        raise LakeError(
            f"{len(unknown)} policies under which objects came in are not recorded, because their ingest was "
            "stopped and not run again; run it again to its end"
        )
    return {digest: known[digest] for digest in sorted(digests)}
