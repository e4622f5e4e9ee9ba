"""The Brain Imaging Data Structure (https://bids-specification.readthedocs.io, version 1.10).

MR images whose weighting follows from their description or their times lie under ``anat``, as the
specification says. For all others (CT, X-ray, ...; diffusion without its gradients) it has no place: they
lie under ``other``, which ``.bidsignore`` names. Masks are a derived data set of their own; where images come
from stands under ``sourcedata``.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.grid import Grid
from voxlake.exchange.nifti import nifti_bytes
from voxlake.exchange.record import json_bytes, mask_record
from voxlake.exchange.selection import Task

__all__ = ["bids_dataset", "bids_files", "participant_of", "suffix_of"]

_BIDS = "1.10.0"
_OWN_PSEUDONYM = re.compile(r"P-[A-Z2-7]{8,}")
_AGE = re.compile(r"(\d{3})Y")
_DERIVED = "derivatives/voxlake"
# What a description says comes before times; longer words come first.
_WORDS = (
    ("FLAIR", "FLAIR"), ("T2STAR", "T2starw"), ("T2*", "T2starw"), ("SWI", "T2starw"), ("T1", "T1w"),
    ("MPRAGE", "T1w"), ("T2", "T2w"), ("PD", "PDw"),
)  # fmt: skip
_NOT_ANATOMY = re.compile(r"DWI|DTI|ADC|DIFF|BOLD|FMRI|PERF|ASL|TRACE|LOCALI|SCOUT|MAP", re.IGNORECASE)
_IGNORED = "**/other\nvoxlake-export.jsonl\nSHA256SUMS\n"
_README = """Exported from an imaging lake by voxlake.

Where each image comes from (series, instances, SHA-256, plan, run) stands in sourcedata/voxlake. SHA256SUMS
lists the digests of all files. Images that BIDS has no place for lie in folders named other.
"""


def bids_files(
    task: Task,
    values: NDArray[Any],
    grid: Grid,
    masks: Sequence[tuple[Mapping[str, Any], NDArray[Any], Grid]],
    record: Mapping[str, Any],
) -> dict[str, bytes]:
    """The files of one volume: image, sidecar, masks with their tables of labels, lineage.

    Parameters
    ----------
    task : Task
        Whose files.
    values, grid : array and Grid
        The volume.
    masks : sequence of (row, values, grid)
        Its masks.
    record : mapping
        Where it comes from.
    """
    row = task.rows[0]
    subject, session = (
        participant_of(row["patient_id"], row["study_instance_uid"]),
        _label(row["study_instance_uid"]),
    )
    suffix = suffix_of(row)
    folder = "anat" if suffix[0].isupper() else "other"
    base = f"sub-{subject}_ses-{session}_acq-{task.item[:10]}"
    place = f"sub-{subject}/ses-{session}/{folder}"
    made = {
        f"{place}/{base}_{suffix}.nii.gz": nifti_bytes(values, grid),
        f"{place}/{base}_{suffix}.json": json_bytes(_sidecar(row, record)),
        f"sourcedata/voxlake/sub-{subject}/ses-{session}/{base}.json": json_bytes(record),
    }
    for mask, labels, lattice in masks:
        name = f"{_DERIVED}/{place}/{base}_desc-{mask['mask_id'][:10]}_dseg"
        about = mask_record(mask)
        table = ["index\tname"] + [f"{one['value']}\t{_cell(one['name'])}" for one in about["labels"]]
        made[f"{name}.nii.gz"] = nifti_bytes(labels, lattice)
        made[f"{name}.tsv"] = ("\n".join(table) + "\n").encode()
        made[f"{name}.json"] = json_bytes(
            {"Sources": [f"bids:raw:{place}/{base}_{suffix}.nii.gz"], "voxlake": about}
        )
    return made


def bids_dataset(people: Iterable[Mapping[str, Any]], *, masks: bool) -> dict[str, bytes]:
    """The files that describe the whole data set.

    Parameters
    ----------
    people : iterable of mapping
        ``participant``, ``sex`` and ``age`` of every image.
    masks : bool
        Whether there is a derived data set.
    """
    rows = {one["participant"]: (_age(one["age"]), _sex(one["sex"])) for one in people}
    table = ["participant_id\tage\tsex"]
    table += [f"sub-{subject}\t{age}\t{sex}" for subject, (age, sex) in sorted(rows.items())]
    maker = [{"Name": "voxlake", "Version": version("voxlake")}]
    made = {
        "dataset_description.json": json_bytes(
            {
                "Name": "Export of an imaging lake",
                "BIDSVersion": _BIDS,
                "DatasetType": "raw",
                "GeneratedBy": maker,
            }
        ),
        "README": _README.encode(),
        ".bidsignore": _IGNORED.encode(),
        "participants.tsv": ("\n".join(table) + "\n").encode(),
        "participants.json": json_bytes(
            {
                "age": {
                    "Description": "Age at the study; 90 stands for over 89",
                    "Units": "year",
                },
                "sex": {
                    "Description": "Sex as the header says",
                    "Levels": {"M": "male", "F": "female", "O": "other"},
                },
            }
        ),
    }
    if masks:
        made[f"{_DERIVED}/.bidsignore"] = _IGNORED.encode()
        made[f"{_DERIVED}/README"] = _README.encode()
        made[f"{_DERIVED}/dataset_description.json"] = json_bytes(
            {
                "Name": "Masks of an imaging lake",
                "BIDSVersion": _BIDS,
                "DatasetType": "derivative",
                "GeneratedBy": maker,
                "DatasetLinks": {"raw": "../.."},
            }
        )
    return made


def participant_of(patient_id: str | None, study_instance_uid: str) -> str:
    """Letters and digits that stand for a patient; where none is known, for the study."""
    if patient_id is not None and _OWN_PSEUDONYM.fullmatch(patient_id):
        return patient_id.replace("-", "")
    # Pseudonyms of an outside list may differ in characters only that BIDS does not allow.
    return "X" + _label(f"patient {patient_id}" if patient_id else f"study {study_instance_uid}")


def suffix_of(row: Mapping[str, Any]) -> str:
    """What BIDS calls an image: T1w, T2w, FLAIR, ...; in small letters where it has no name for it.

    Parameters
    ----------
    row : mapping
        Columns of `instances`. Descriptions count first; then, for spin echoes, the usual bounds of echo and
        repetition time (Westbrook, MRI in Practice): TE below 30 and TR below 1000 ms T1, TE over 60 and TR
        over 2000 ms T2, with an inversion time over 1500 ms FLAIR.
    """
    if row["modality"] != "MR":
        return {"CT": "ct", "PT": "pet"}.get(row["modality"] or "", "image")
    described = f"{row['series_description'] or ''} {row['protocol_name'] or ''}".upper()
    if _NOT_ANATOMY.search(described):
        return "image"
    for word, suffix in _WORDS:
        if word in described:
            return suffix
    echo, repetition = row["echo_time"] or 0.0, row["repetition_time"] or 0.0
    if echo > 60 and repetition > 2000:
        return "FLAIR" if (row["inversion_time"] or 0.0) > 1500 else "T2w"
    return "T1w" if 0 < echo < 30 and 0 < repetition < 1000 else "image"


def _sidecar(row: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    said = {
        "Modality": row["modality"],
        "Manufacturer": row["manufacturer"],
        "ManufacturersModelName": row["manufacturer_model_name"],
        "MagneticFieldStrength": row["magnetic_field_strength"],
        "FlipAngle": row["flip_angle"],
        # BIDS has seconds, DICOM milliseconds.
        "EchoTime": _seconds(row["echo_time"]),
        "RepetitionTimeExcitation": _seconds(row["repetition_time"]),
        "InversionTime": _seconds(row["inversion_time"]),
        "SeriesInstanceUID": row["series_instance_uid"],
        "Units": record["unit"],
        "voxlake": {name: record[name] for name in ("volume_id", "plan_digest", "steps", "run_id")},
    }
    return {name: value for name, value in said.items() if value is not None}


def _seconds(milliseconds: float | None) -> float | None:
    return None if not milliseconds else float(np.round(milliseconds / 1000, 9))


def _label(text: str) -> str:
    return base64.b32encode(sha256(text.encode()).digest()).decode()[:12]


def _age(text: str | None) -> str:
    match = _AGE.fullmatch(text or "")
    return "n/a" if match is None else str(int(match[1]))


def _sex(text: str | None) -> str:
    return text if text in ("M", "F", "O") else "n/a"


def _cell(text: str) -> str:
    return " ".join(text.split()) or "n/a"
