"""The verb label: what readers and outside tables say, linked to the lake by pseudonym."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from voxlake.core.digest import digest_bytes, short
from voxlake.core.errors import ItemError, NotFoundError, SettingsError, UsageError
from voxlake.core.hints import hint
from voxlake.core.run import Run
from voxlake.lake.lake import Lake
from voxlake.lake.quarantine import item_id
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.withdrawals import refuse_withdrawn, withdrawn_macs
from voxlake.privacy.pseudonym_list import PseudonymList, Unlisted, load_pseudonyms
from voxlake.privacy.pseudonyms import Pseudonymiser

__all__ = ["Level", "label"]

Level = Literal["patient", "study", "series", "instance"]

_COLUMN = {
    "patient": "patient_id",
    "study": "study_instance_uid",
    "series": "series_instance_uid",
    "instance": "sop_instance_uid",
}
_RESERVED = ("reader", "time", "unit")
_BATCH = 5000


def label(
    lake: Lake,
    file: str | Path,
    *,
    level: Level,
    subject: str | None = None,
    identifiers: Literal["original", "lake"] = "original",
    reader: str | None = None,
    pseudonyms: str | Path | None = None,
    unlisted: Unlisted = "keyed",
) -> Run:
    """Bring labels into the lake from a CSV file, also long after ingest.

    Every column beside the subject (and ``reader``, ``time``, ``unit``) is a label of that name; empty
    cells are no label. Original identifiers pass through the lake's pseudonymiser and are not kept.

    Parameters
    ----------
    lake : Lake
        The lake, with its key.
    file : path
        CSV with a header line, UTF-8.
    level : str
        What a row is about: ``patient``, ``study``, ``series`` or ``instance``.
    subject : str, optional
        Column that holds the identifier; by default the first.
    identifiers : str
        ``"original"`` as the hospital writes them, or ``"lake"`` if they are pseudonyms of this lake.
    reader : str, optional
        Who said so, where the file has no column ``reader``.
    pseudonyms : path, optional
        The list of pseudonyms that the images came in with, as for `ingest`; it counts at level ``patient``.
    unlisted : str
        What becomes of patients who are not in it: ``"keyed"`` or ``"refuse"``, as for `ingest`.

    Returns
    -------
    Run
        Items are rows of the file. ``result["unmatched"]`` counts subjects that the lake does not hold (yet).

    Raises
    ------
    NotFoundError
        The file is not there.
    SettingsError
        The file is no CSV table with a subject and at least one label.

    Examples
    --------
    >>> label(lake, "findings.csv", level="study")  # doctest: +SKIP
    """
    path = Path(file)
    if not path.is_file():
        raise NotFoundError("no such label file; give a path to a CSV file")
    data = path.read_bytes()
    digest = digest_bytes(data)
    columns, lines = _read(data)
    who = _subject_column(columns, subject)
    names = Pseudonymiser(lake.key, _patients(pseudonyms, unlisted))
    withdrawn = withdrawn_macs(lake)
    arguments = {"level": level, "identifiers": identifiers, "file_digest": digest, "reader": reader}
    with start_run(lake, "label", arguments) as recorder:
        subjects: set[str] = set()
        count = 0
        for batch in _batches(lines):
            rows: list[dict[str, Any]] = []
            for number, line in batch:
                recorder.saw()
                original = (line.get(who) or "").strip()
                try:
                    kept = identifiers == "lake" or not original
                    known = original if kept else _pseudonym(names, level, original)
                    if level == "patient":
                        refuse_withdrawn(lake, withdrawn, known)
                except ItemError as error:
                    item = item_id(lake, f"{digest}:{number}")
                    recorder.outcome(item, "failed", reason=error.reason, detail=f"line {number}")
                    continue
                found = _labels(line, who, reader) if original else []
                rows += [{"level": level, "subject": known, "source": short(digest), **one} for one in found]
                if found:
                    subjects.add(known)
                _settle(recorder, item_id(lake, f"{digest}:{number}"), number, found)
            count += recorder.add_missing("labels", rows)
            recorder.commit()
        recorder.input_digest = digest
        recorder.result |= {
            "labels": count,
            "subjects": len(subjects),
            "unmatched": _unmatched(lake, level, subjects),
        }
    return recorder.run


def _patients(pseudonyms: str | Path | None, unlisted: Unlisted) -> PseudonymList | None:
    if pseudonyms is None:
        if unlisted != "keyed":
            raise UsageError(
                f"unlisted '{unlisted}' needs a list: name one with pseudonyms=... or --pseudonyms"
            )
        return None
    return load_pseudonyms(pseudonyms, unlisted=unlisted)


def _settle(recorder: Recorder, item: str, number: int, found: list[dict[str, Any]]) -> None:
    if found:
        recorder.outcome(item, "stored")
    else:
        detail = f"line {number} has no subject or no label"
        recorder.outcome(item, "failed", reason="no_label", detail=detail)


def _read(data: bytes) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError("the label file is not UTF-8 text; save it as CSV in UTF-8") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="")
    columns = [column.strip() for column in reader.fieldnames or ()]
    if len(columns) < 2:
        raise SettingsError(
            f"the label file has {len(columns)} columns; it needs a header line with a subject and a label"
        )
    reader.fieldnames = columns
    return columns, ((reader.line_num, row) for row in reader)


def _subject_column(columns: Sequence[str], subject: str | None) -> str:
    if subject is None:
        return columns[0]
    if subject not in columns:
        raise SettingsError(f"the label file has no column '{subject}'{hint(subject, columns)}")
    return subject


def _batches(
    lines: Iterator[tuple[int, dict[str, str]]],
) -> Iterator[list[tuple[int, dict[str, str]]]]:
    while batch := list(islice(lines, _BATCH)):
        yield batch


def _pseudonym(names: Pseudonymiser, level: Level, original: str) -> str:
    return names.patient(original) if level == "patient" else names.uid(original)


def _labels(line: Mapping[str, str | None], subject: str, reader: str | None) -> list[dict[str, Any]]:
    shared = {
        "reader": line.get("reader") or reader,
        "unit": line.get("unit") or None,
        "labelled_at": _time(line.get("time")),
    }
    cells = (
        (name, (value or "").strip())
        for name, value in line.items()
        if name and name != subject and name not in _RESERVED
    )
    return [
        {"name": name, "value": value, "number": _number(value), **shared} for name, value in cells if value
    ]


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _time(value: str | None) -> datetime | None:
    if not value:
        return None
    try:
        time = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _unmatched(lake: Lake, level: Level, subjects: set[str]) -> int:
    if not subjects:
        return 0
    (found,) = lake.sql(
        f"select count(distinct {_COLUMN[level]}) from instances where {_COLUMN[level]} in "
        "(select unnest($subjects))",
        {"subjects": sorted(subjects)},
    ).rows()[0]
    return len(subjects) - int(found)
