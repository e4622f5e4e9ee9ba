"""The verb cohort verify: whether a lake or a folder holds what a manifest says."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any, Literal

from voxlake.core.errors import IntegrityError, NotFoundError
from voxlake.lake.checked import Checked
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.manifest import Manifest, read_manifest, signed_by
from voxlake.sources.ignore import is_system_file
from voxlake.store.keys import LakeKey, default_key_file
from voxlake.store.objects import is_remote
from voxlake.store.packs import read_member

__all__ = ["cohort_verify"]

_SETTINGS = "lake.toml"
_AT_ONCE = 5000

State = Literal["present", "changed", "missing"]


@dataclass(frozen=True)
class _Found:
    """What became of the instances of a manifest at a place, and what else is there."""

    states: Sequence[State]
    extra: Sequence[str]


def cohort_verify(
    manifest: str | Path, place: str | Path, *, key: str | Path | None = None, read_bytes: bool = False
) -> Checked:
    """Verify a manifest against another lake or a folder of files.

    Neither the lake that wrote it is needed nor its key.

    Files of a folder are hashed, whatever they are called. In a lake the catalogue is compared; what was
    stored with `--compress` counts by its digest before. A file or object that is named by the UID of an
    instance and has other content is ``changed``.

    Parameters
    ----------
    manifest : path
        File that `cohort export` wrote.
    place : path
        A lake (folder or URL), or a folder of files.
    key : path, optional
        Key file of the lake that wrote it, to check the signature too.
    read_bytes : bool
        In a lake, also read and hash the stored bytes.

    Returns
    -------
    Checked
        It holds if every instance is there unchanged and its series have no others; the command line exits
        with 1 otherwise.

    Raises
    ------
    NotFoundError
        There is no such manifest or place.
    IntegrityError
        The manifest itself was changed.

    Examples
    --------
    >>> cohort_verify("brains.manifest", "received/")  # doctest: +SKIP
    """
    whole = read_manifest(manifest)
    root = Path(place).expanduser()
    if is_remote(place):
        found = _in_lake(open_lake(place, create=False), whole, read_bytes=read_bytes)
    elif not root.is_dir():
        raise NotFoundError("there is no such folder; name a lake or a folder of files")
    elif (root / _SETTINGS).is_file():
        found = _in_lake(open_lake(root, create=False), whole, read_bytes=read_bytes)
    else:
        found = _in_folder(root, whole, Path(manifest).expanduser())
    signature = _signature(whole, key)
    counts = Counter(found.states)
    holds = counts["present"] == len(whole.instances) and not found.extra and signature != "wrong"
    head = whole.head
    return Checked(
        holds,
        {
            "holds": holds,
            "cohort": f"{head['cohort']}@{head['version']}",
            "tree": whole.seal["tree"],
            "signature": signature,
            "instances": len(whole.instances),
            **{state: counts[state] for state in ("present", "changed", "missing")},
            "extra": len(found.extra),
            "differences": _differences(whole, found),
        },
    )


def _signature(manifest: Manifest, key: str | Path | None) -> str:
    """``right``, ``wrong``, or ``not checked`` without the key of the lake that wrote it."""
    file = Path(key).expanduser() if key is not None else default_key_file(manifest.head["lake_id"])
    if not file.is_file():
        return "not checked"
    return "right" if signed_by(LakeKey.from_file(file), manifest) else "wrong"


def _in_folder(root: Path, manifest: Manifest, itself: Path) -> _Found:
    by_digest: defaultdict[str, list[str]] = defaultdict(list)
    names: dict[str, str] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not path.is_file() or is_system_file(name) or path.resolve() == itself.resolve():
            continue
        with path.open("rb") as file:
            by_digest[file_digest(file, "sha256").hexdigest()].append(name)
        names[path.name] = names[path.stem] = name
    states: list[State] = []
    accounted: set[str] = set()
    for line in manifest.instances:
        same = [name for digest in _digests(line) for name in by_digest.get(digest, ())]
        accounted.update(same)
        if same:
            states.append("present")
        elif line["instance"] in names:
            states.append("changed")
            accounted.add(names[line["instance"]])
        else:
            states.append("missing")
    extra = [name for found in by_digest.values() for name in found if name not in accounted]
    return _Found(states, sorted(extra))


def _in_lake(lake: Lake, manifest: Manifest, *, read_bytes: bool) -> _Found:
    states: list[State] = []
    extra: list[str] = []
    known = {digest for line in manifest.instances for digest in _digests(line)}
    for part in _parts(manifest.instances):
        by_digest, by_name = _stored(lake, part)
        for line in part:
            rows = [row for digest in _digests(line) for row in by_digest.get(digest, ())]
            whole = [row for row in rows if not read_bytes or _is_whole(lake, row)]
            other = rows or by_name.get(line["instance"])
            states.append("present" if whole else "changed" if other else "missing")
    series = [line["series"] for line in manifest.series]
    for start in range(0, len(series), _AT_ONCE):
        stored = lake.sql(
            "select sop_instance_uid, sha256, original_sha256 from instances "
            "where series_instance_uid in (select unnest($series)) order by 1, 2",
            {"series": series[start : start + _AT_ONCE]},
        ).rows()
        named = {line["instance"] for line in manifest.instances}
        extra += [
            uid for uid, digest, before in stored if known.isdisjoint({digest, before}) and uid not in named
        ]
    return _Found(states, extra)


def _stored(
    lake: Lake, lines: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, list[dict[str, Any]]]]:
    """Rows of `instances` by digest of content, and by SOPInstanceUID."""
    digests = sorted({digest for line in lines for digest in _digests(line)})
    rows = lake.sql(
        'select sop_instance_uid, sha256, original_sha256, pack, "offset", length from instances where '
        "sha256 in (select unnest($digests)) or original_sha256 in (select unnest($digests)) "
        "or sop_instance_uid in (select unnest($uids)) order by 1, 2",
        {"digests": digests, "uids": [line["instance"] for line in lines]},
    ).dicts()
    by_digest: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    by_name: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_name[row["sop_instance_uid"]].append(row)
        for digest in {row["sha256"], row["original_sha256"]} - {None}:
            by_digest[digest].append(row)
    return by_digest, by_name


def _is_whole(lake: Lake, row: Mapping[str, Any]) -> bool:
    try:
        read_member(lake.objects, row["pack"], row["offset"], row["length"], sha256=row["sha256"])
    except IntegrityError:
        return False
    return True


def _digests(line: Mapping[str, Any]) -> list[str]:
    return [digest for digest in (line["sha256"], line["original_sha256"]) if digest is not None]


def _parts(lines: Sequence[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    for start in range(0, len(lines), _AT_ONCE):
        yield lines[start : start + _AT_ONCE]


def _differences(manifest: Manifest, found: _Found) -> list[dict[str, str]]:
    rows = [
        {"state": state, "series": line["series"], "what": line["instance"]}
        for line, state in zip(manifest.instances, found.states, strict=True)
        if state != "present"
    ]
    return rows + [{"state": "extra", "series": "", "what": what} for what in found.extra]
