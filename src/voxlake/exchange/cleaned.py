"""One source file to one file without identities: what a worker does for `voxlake deidentify`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from voxlake.core.errors import ItemError
from voxlake.dicom.read import is_dicomdir, read_dataset
from voxlake.privacy.deidentify import deidentify
from voxlake.privacy.images import Format, metadata_format, strip_metadata
from voxlake.privacy.pixel_facts import dicom_facts
from voxlake.privacy.pixels import PixelFacts, check_pixels
from voxlake.privacy.policy import Policy
from voxlake.privacy.pseudonym_list import PseudonymListReference
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.privacy.shapes import Shape, dicom_shape, image_shape
from voxlake.sources.images import sniff
from voxlake.sources.item import Item
from voxlake.store.keys import LakeKey

__all__ = ["CleanedFile", "Cleaning"]

_EXTENSIONS = {"png": "png", "jpeg": "jpg", "tiff": "tif", "nifti": "nii", "nrrd": "nrrd"}
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class CleanedFile:
    """What became of one source file.

    Parameters
    ----------
    outcome : str
        ``stored`` (written), ``already`` (there byte for byte), ``rejected``, ``failed`` or ``ignored``.
    reason, detail : str or None
        Why it was not written.
    name : str or None
        Path of the file in the output folder; made of pseudonyms only.
    sha256 : str or None
        Of the bytes written.
    study, series, patient : str or None
        Pseudonyms.
    changes : mapping of str to int
        How many elements were removed, emptied, ...
    waived : tuple of str
        Rules on pixels that a waiver of the policy overruled.
    shape : Shape or None
        What was done to each element and what remains.
    """

    outcome: Literal["stored", "already", "rejected", "failed", "ignored"]
    reason: str | None = None
    detail: str | None = None
    name: str | None = None
    sha256: str | None = None
    study: str | None = None
    series: str | None = None
    patient: str | None = None
    changes: Mapping[str, int] = field(default_factory=dict)
    waived: tuple[str, ...] = ()
    shape: Shape | None = None


@dataclass(frozen=True)
class _Clean:
    data: bytes
    name: str
    study: str | None
    series: str | None
    patient: str | None
    changes: Mapping[str, int]
    shape: Shape


@dataclass
class Cleaning:
    """Function of a group of items, for `Engine.map`.

    Parameters
    ----------
    policy : Policy
        What to do.
    key_file : Path
        Key of the pseudonyms; the worker reads it itself.
    output : Path or None
        Folder for the files; None writes nothing.
    limit : int
        Largest file in bytes.
    patients : PseudonymListReference, optional
        Where the list of pseudonyms lies.
    """

    policy: Policy
    key_file: Path
    output: Path | None
    limit: int
    patients: PseudonymListReference | None = None
    _cache: dict[str, Pseudonymiser] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_cache": {}}

    def __call__(self, group: Sequence[Item]) -> list[CleanedFile]:
        """De-identify a group; one `CleanedFile` for each item, in order."""
        names = self._pseudonymiser()
        return [self._one(item, names) for item in group]

    def _pseudonymiser(self) -> Pseudonymiser:
        if "it" not in self._cache:
            key = LakeKey.from_file(self.key_file)
            patients = None if self.patients is None else self.patients.open(key)
            self._cache["it"] = Pseudonymiser(key, patients)
        return self._cache["it"]

    def _one(self, item: Item, names: Pseudonymiser) -> CleanedFile:
        try:
            return self._cleaned(item, item.read(self.limit), names)
        except ItemError as error:
            rejected = error.reason in ("policy_rejected", "pixels_unchecked")
            return CleanedFile("rejected" if rejected else "failed", error.reason, error.message)

    def _cleaned(self, item: Item, data: bytes, names: Pseudonymiser) -> CleanedFile:
        kind = sniff(data, item.name) or metadata_format(data)
        if kind is None:
            raise ItemError(
                "unknown_format", f"{len(data)} bytes that are no DICOM, PNG, JPEG, TIFF, NIfTI or NRRD"
            )
        if kind == "dicom":
            return self._dicom(item, data, names)
        waived = check_pixels(PixelFacts(kind), self.policy)
        return self._finish(self._image(item, data, kind, names, waived), waived)

    def _dicom(self, item: Item, data: bytes, names: Pseudonymiser) -> CleanedFile:
        original = read_dataset(data)
        if is_dicomdir(original):
            return CleanedFile("ignored", "ignored_system_file")
        waived = check_pixels(dicom_facts(original, data, modality=item.hints.modality), self.policy)
        result = deidentify(data, self.policy, names, patient=item.hints.patient)
        patient, study, series, instance = result.names()
        name = f"{_folder(patient)}/{study}/{series}/{instance}.dcm"
        shape = dicom_shape(result, self.policy, waived)
        return self._finish(_Clean(result.data, name, study, series, patient, result.changes, shape), waived)

    def _image(
        self,
        item: Item,
        data: bytes,
        kind: Format,
        names: Pseudonymiser,
        waived: tuple[str, ...],
    ) -> _Clean:
        clean = strip_metadata(data, kind)
        names.check_listed(item.hints.patient)
        patient = names.patient(item.hints.patient) if item.hints.patient else None
        token = names.token("image", sha256(data).hexdigest())
        packed = ".gz" if kind == "nifti" and clean.startswith(_GZIP) else ""
        name = f"{_folder(patient or 'no-patient')}/{token}.{_EXTENSIONS[kind]}{packed}"
        changes = {"metadata_stripped": 1} if clean != data else {}
        shape = image_shape(kind, self.policy, changed=clean != data, waived=waived)
        return _Clean(clean, name, None, None, patient, changes, shape)

    def _finish(self, clean: _Clean, waived: tuple[str, ...]) -> CleanedFile:
        outcome: Literal["stored", "already"] = "stored"
        if self.output is not None and not _write_new(self.output / clean.name, clean.data):
            outcome = "already"
        return CleanedFile(
            outcome,
            name=clean.name,
            sha256=sha256(clean.data).hexdigest(),
            study=clean.study,
            series=clean.series,
            patient=clean.patient,
            changes=dict(clean.changes),
            waived=waived,
            shape=clean.shape,
        )


def _folder(pseudonym: str) -> str:
    """Return a folder name; pseudonyms of an outside list may hold characters of paths."""
    return "P_" + quote(pseudonym, safe="") if pseudonym.startswith(".") else quote(pseudonym, safe="")


def _write_new(path: Path, data: bytes) -> bool:
    """Write a file whole or not at all; False if it is there already with the same bytes.

    Raises
    ------
    ItemError
        ``uid_conflict``: a file of that name with other bytes is there, and stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as stream:
        stream.write(data)
    try:
        # A link, unlike a rename, never takes the place of a file that another worker has just written.
        os.link(stream.name, path)
    except FileExistsError:
        if path.read_bytes() != data:
            raise ItemError(
                "uid_conflict", "another object with the same SOPInstanceUID is in the output folder"
            ) from None
        return False
    finally:
        Path(stream.name).unlink()
    return True
