"""Reason codes: why an item was quarantined, rejected, ignored or failed.

One list, so that a data manager can group by them and the documentation can explain each.
"""

from __future__ import annotations

from types import MappingProxyType

__all__ = ["REASONS"]

REASONS = MappingProxyType(
    {
        "empty_file": "The file has no bytes.",
        "unreadable_source": "The source could not be read (permissions, vanished file, bad disk).",
        "unknown_format": "The bytes are no image or object format that voxlake reads.",
        "not_dicom": "Named or hinted as DICOM, but no DICOM data set could be parsed.",
        "parse_error": "A DICOM data set that breaks its own structure.",
        "truncated": "The file ends before the data that its header announces.",
        "missing_uid": "SOPInstanceUID, SeriesInstanceUID, StudyInstanceUID or SOPClassUID is absent.",
        "invalid_uid": "A UID has characters or a length that DICOM does not allow.",
        "uid_conflict": "The same SOPInstanceUID is already stored with other content.",
        "archive_member": "An archive member that cannot be read (encrypted, damaged, odd name).",
        "archive_limit": "An archive over its caps on members, size or compression ratio.",
        "too_large": "The file is larger than the limit.",
        "unlisted_patient": "The list of pseudonyms does not have this patient and refuses all others.",
        "unsealable": "A sealed object does not open with the lake's key: it was changed, or is another's.",
        "pixels_unchecked": "Nobody checked these pixels for burned-in text, and no waiver lets them in.",
        "patient_withdrawn": "The patient has withdrawn, or was erased.",
        "left_out_to_balance": "Left out so that the classes of its part are of equal size.",
        "policy_rejected": "The policy does not let this kind of object into the lake.",
        "not_deidentified": "Nobody de-identified the object, and no reason was given to release it.",
        "deidentify_failed": "De-identification could not be carried out on the whole object.",
        "ignored_system_file": "A file of the operating system or an index (.DS_Store, DICOMDIR).",
        "ignored_not_matched": "The mapping says to ignore files that match none of its rules.",
        "timeout": "The item took longer than the time limit.",
        "memory": "The item needed more memory than the limit.",
        "worker_died": "The worker process died on this item, twice.",
        "error": "An unexpected error; its type and place are in the message.",
        "no_pixels": "The object holds no pixel data.",
        "decode_error": "The pixel data could not be decoded.",
        "unsupported_transfer_syntax": "No decoder for this transfer syntax.",
        "unsupported_photometric": "A photometric interpretation that cannot be turned into values.",
        "geometry_gap": "Slices are missing.",
        "geometry_uneven": "The spacing between slices is not constant.",
        "geometry_tilt": "The slices are sheared against their normal (gantry tilt).",
        "geometry_duplicates": "Several slices at one position.",
        "geometry_mixed": "Images of one series differ in shape, orientation or pixel spacing.",
        "geometry_none": "No position or orientation although several images belong together.",
        "step_failed": "A processing step refused this volume.",
        "registration_failed": "No plausible transform between the two images was found.",
        "unsupported_mask": "A segmentation or structure set of a kind that cannot become a mask.",
        "mask_other_image": "The segmentation was drawn on another image of the same series.",
        "mask_frame": "The mask lies in another frame of reference than the image.",
        "mask_plane": "Contours that are not parallel to the slices of the image.",
        "mask_empty": "The region has no closed contour.",
        "missing_array": "A prepared array or one of its shards is not in the lake.",
        "no_date": "A study has no date, so that the visits of its patient have no order.",
        "no_label": "No label for the target of the task.",
        "label_conflict": "Readers or files give different labels for the same subject.",
        "shape_mismatch": "The prepared array does not have the shape that the network expects.",
        "cohort_changed": "The series no longer has the content that the cohort froze.",
        "seen_in_training": "The model was trained or chosen on this patient or image; it is not scored.",
        "other_class": "The label is none of the classes of the task.",
        "object_missing": "An object that the tables name is not there.",
        "object_truncated": "An object ends before what the tables name in it.",
        "object_damaged": "An object does not hold what was stored.",
        "object_changed": "A file registered in place has other content than it had.",
        "overtaken": "Another process took files out of the same table at the same time.",
        "orphan": "No row names this object: a run that is going on or was killed left it.",
        "no_volume": "Nothing was prepared under this plan.",
    }
)
