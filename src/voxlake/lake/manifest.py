"""Manifests: what a cohort consists of, byte for byte, in a file that can be checked anywhere.

A manifest is text, one JSON object a line: a head, the series and their instances in the order of their
UIDs, and a seal. The seal has the root of a SHA-256 tree over all lines before it (RFC 9162, section 2.1),
which anybody can compute, and a signature of that root with the key of the lake, which only its holders can.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from voxlake.core.digest import canonical_json
from voxlake.core.errors import AlreadyExistsError, IntegrityError, NotFoundError, SettingsError
from voxlake.core.run import Run
from voxlake.lake.cohorts import Cohort, Member
from voxlake.lake.recorder import start_run
from voxlake.lake.series import members_digest
from voxlake.store.keys import LakeKey

__all__ = ["FORMAT", "Manifest", "cohort_export", "read_manifest", "signed_by", "tree_root"]

FORMAT = 1
_SERIES_AT_A_TIME = 500

_INSTANCES = """
select series_instance_uid, policy_digest, sop_instance_uid, sha256, original_sha256, length, modality, format
from instances where series_instance_uid in (select unnest($series)) and committed_at <= $frozen
order by series_instance_uid, policy_digest, sop_instance_uid, sha256
"""


@dataclass(frozen=True)
class Manifest:
    """A manifest that was read, and is whole.

    Parameters
    ----------
    head, seal : dict
        First and last line.
    series, instances : tuple of dict
        The lines between.
    """

    head: dict[str, Any]
    series: tuple[dict[str, Any], ...]
    instances: tuple[dict[str, Any], ...]
    seal: dict[str, Any]


def cohort_export(cohort: Cohort, file: str | Path, *, replace: bool = False) -> Run:
    """Write a manifest of a cohort, with which others can verify that they have the same images.

    It holds pseudonymised UIDs, digests and sizes; no images, no patient identifiers and no paths.

    Parameters
    ----------
    cohort : Cohort
        What to describe.
    file : path
        Where to write it, for example ``brains.manifest``.
    replace : bool
        Whether a file of that name is replaced.

    Returns
    -------
    Run
        Items are series. ``result`` has the root of the tree, which names the content.

    Raises
    ------
    IntegrityError
        A series does not have the content any more that the cohort froze.
    AlreadyExistsError
        The file exists.
    KeyMismatchError
        This machine does not have the key of the lake.

    Examples
    --------
    >>> cohort_export(brains, "brains.manifest")  # doctest: +SKIP
    """
    path = Path(file).expanduser()
    if path.exists() and not replace:
        raise AlreadyExistsError("the manifest exists already; name another file or use --replace")
    lake = cohort.lake
    arguments = {"cohort": f"{cohort.name}@{cohort.version}", "cohort_id": cohort.cohort_id}
    with start_run(lake, "cohort export", arguments) as recorder:
        members = cohort.members()
        recorder.saw(len(members))
        lines = [canonical_json(line) for line in _lines(cohort, members)]
        root = tree_root([line.encode() for line in lines])
        seal = {
            "kind": "seal",
            "lines": len(lines),
            "tree": root.hex(),
            "signature": lake.key.mac("manifest", root).hex(),
            "key_fingerprint": lake.key.fingerprint,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([*lines, canonical_json(seal)]) + "\n", encoding="utf-8")
        for member in members:
            recorder.outcome(member.series_instance_uid, "stored")
        instances = len(lines) - len(members) - 1
        recorder.input_digest = cohort.cohort_id
        recorder.result |= {"series": len(members), "instances": instances, "tree": root.hex()}
    return recorder.run


def read_manifest(file: str | Path) -> Manifest:
    """Read a manifest and check that nothing was added, taken out or changed.

    Raises
    ------
    NotFoundError
        There is no such file.
    SettingsError
        It is no manifest, or of a newer format.
    IntegrityError
        It is not as it was written.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise NotFoundError("no such manifest; give the path of a file that `voxlake cohort export` wrote")
    lines = path.read_text("utf-8").splitlines()
    try:
        parsed = [json.loads(line) for line in lines]
        head, seal = parsed[0], parsed[-1]
        written, kinds = head["manifest"], {line["kind"] for line in parsed[1:-1]}
    except (ValueError, IndexError, KeyError, TypeError):
        raise SettingsError(
            "this file is no manifest: expected lines of JSON with a head and a seal"
        ) from None
    if written != FORMAT or seal.get("kind") != "seal" or not kinds <= {"series", "instance"}:
        raise SettingsError(
            f"a manifest of format {written}, this voxlake reads format {FORMAT}; or it was cut short"
        )
    root = tree_root([line.encode() for line in lines[:-1]])
    if seal.get("lines") != len(lines) - 1 or seal.get("tree") != root.hex():
        raise IntegrityError(
            "the manifest is not as it was written: its lines do not give the root of its tree; get it again"
        )
    by_kind = {
        kind: tuple(line for line in parsed[1:-1] if line["kind"] == kind) for kind in ("series", "instance")
    }
    return Manifest(head, by_kind["series"], by_kind["instance"], seal)


def signed_by(key: LakeKey, manifest: Manifest) -> bool:
    """Whether a manifest was signed with this key."""
    right = key.mac("manifest", bytes.fromhex(manifest.seal["tree"])).hex()
    return hmac.compare_digest(right, str(manifest.seal.get("signature", "")))


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Root of the SHA-256 tree over leaves in their order (RFC 9162, section 2.1.1)."""
    if not leaves:
        return sha256().digest()
    level = [sha256(b"\0" + leaf).digest() for leaf in leaves]
    # A level of odd length hands its last node up, which gives the tree of the RFC.
    while len(level) > 1:
        paired = [
            sha256(b"\1" + level[place] + level[place + 1]).digest() for place in range(0, len(level) - 1, 2)
        ]
        level = [*paired, level[-1]] if len(level) % 2 else paired
    return level[0]


def _lines(cohort: Cohort, members: Sequence[Member]) -> Iterator[dict[str, Any]]:
    lake = cohort.lake
    versions = lake.sql(
        "select table_versions from cohorts where name = $name and version = $version",
        {"name": cohort.name, "version": cohort.version},
    ).rows()
    body: list[dict[str, Any]] = []
    for start in range(0, len(members), _SERIES_AT_A_TIME):
        body += _described(cohort, members[start : start + _SERIES_AT_A_TIME])
    yield {
        "kind": "head",
        "manifest": FORMAT,
        "cohort": cohort.name,
        "version": cohort.version,
        "cohort_id": cohort.cohort_id,
        "condition": cohort.condition,
        "frozen_at": cohort.frozen_at.isoformat(),
        "table_versions": json.loads(versions[0][0]),
        "lake_id": lake.settings.lake_id,
        "policy_digests": sorted({line["policy_digest"] for line in body if line["kind"] == "series"}),
        "left_out": cohort.series - len(members),
        "code_version": version("voxlake"),
    }
    yield from body


def _described(cohort: Cohort, members: Sequence[Member]) -> Iterator[dict[str, Any]]:
    uids = [member.series_instance_uid for member in members]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in cohort.lake.sql(_INSTANCES, {"series": uids, "frozen": cohort.frozen_at}).dicts():
        found.setdefault((row["series_instance_uid"], row["policy_digest"]), []).append(row)
    for member in members:
        policy, rows = _frozen(member, found)
        yield {
            "kind": "series",
            "series": member.series_instance_uid,
            "study": member.study_instance_uid,
            "members_digest": member.members_digest,
            "policy_digest": policy,
            "instances": len(rows),
        }
        for row in rows:
            yield {
                "kind": "instance",
                "series": member.series_instance_uid,
                "instance": row["sop_instance_uid"],
                "sha256": row["sha256"],
                "original_sha256": row["original_sha256"],
                "length": row["length"],
                "modality": row["modality"],
                "format": row["format"],
            }


def _frozen(
    member: Member, found: dict[tuple[str, str], list[dict[str, Any]]]
) -> tuple[str, list[dict[str, Any]]]:
    for (series, policy), rows in found.items():
        fits = series == member.series_instance_uid
        if fits and members_digest(row["sha256"] for row in rows) == member.members_digest:
            return policy, rows
    raise IntegrityError(
        f"series {member.series_instance_uid} does not have the content any more that the cohort froze; "
        "select the cohort again"
    )
