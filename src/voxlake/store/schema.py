"""The columns of every table: the contract between the rooms and with those who query the lake.

Each column has an Arrow type, a one-line description and, where it has one, its DICOM tag or unit.
A name that is a DICOM attribute is the snake_case form of its keyword (PS3.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import pyarrow as pa

__all__ = ["HEADER_COLUMNS", "TABLES", "Column", "Table", "arrow_schema"]

TEXT = pa.string()
REAL = pa.float64()
WHOLE = pa.int64()
FLAG = pa.bool_()
TIME = pa.timestamp("us", tz="UTC")
REALS = pa.list_(pa.float64())
TEXTS = pa.list_(pa.string())


@dataclass(frozen=True)
class Column:
    """One column.

    Parameters
    ----------
    name : str
        As in SQL.
    type : pyarrow.DataType
        As stored.
    description : str
        One line.
    tag : str
        DICOM keyword that the value is read from, or ``""``.
    unit : str
        Unit of a number, or ``""``.
    """

    name: str
    type: pa.DataType
    description: str
    tag: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """One table.

    Parameters
    ----------
    name, description : str
        As in SQL, and one line.
    key : tuple of str
        Columns that name a row. Two writers may append the same key; views show one row of it.
    columns : tuple of Column
        As stored.
    keep : str
        Which row of a key the view shows: ``"first"`` committed, or ``"last"`` where a row describes
        something that grows.
    """

    name: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    keep: Literal["first", "last"] = "first"


# Values that dicom.scan reads straight from one header element of the (de-identified) data set.
HEADER_COLUMNS: tuple[Column, ...] = (
    Column("sop_class_uid", TEXT, "What kind of object", "SOPClassUID"),
    Column("image_type", TEXTS, "Pixel data and examination characteristics", "ImageType"),
    Column("modality", TEXT, "CT, MR, DX, ...", "Modality"),
    Column("body_part_examined", TEXT, "Body part", "BodyPartExamined"),
    Column("study_date", TEXT, "Date of the study, shifted per patient", "StudyDate"),
    Column("series_date", TEXT, "Date of the series, shifted per patient", "SeriesDate"),
    Column("acquisition_date", TEXT, "Date of acquisition, shifted per patient", "AcquisitionDate"),
    Column("study_description", TEXT, "Description of the study, cleaned", "StudyDescription"),
    Column("series_description", TEXT, "Description of the series, cleaned", "SeriesDescription"),
    Column("protocol_name", TEXT, "Protocol, cleaned", "ProtocolName"),
    Column("manufacturer", TEXT, "Maker of the device", "Manufacturer"),
    Column("manufacturer_model_name", TEXT, "Model of the device", "ManufacturerModelName"),
    Column("software_versions", TEXTS, "Software of the device", "SoftwareVersions"),
    Column("patient_sex", TEXT, "M, F or O", "PatientSex"),
    Column("patient_age", TEXT, "Age string, for example 045Y", "PatientAge"),
    Column("patient_size", REAL, "Height", "PatientSize", "m"),
    Column("patient_weight", REAL, "Weight", "PatientWeight", "kg"),
    Column("patient_position", TEXT, "HFS, FFS, ...", "PatientPosition"),
    Column("view_position", TEXT, "PA, AP, LL, ...", "ViewPosition"),
    Column("laterality", TEXT, "L or R", "Laterality"),
    Column("series_number", WHOLE, "Number of the series", "SeriesNumber"),
    Column("acquisition_number", WHOLE, "Number of the acquisition", "AcquisitionNumber"),
    Column("instance_number", WHOLE, "Number of the image", "InstanceNumber"),
    Column("temporal_position_identifier", WHOLE, "Number of the time point", "TemporalPositionIdentifier"),
    Column("slice_thickness", REAL, "Nominal slice thickness", "SliceThickness", "mm"),
    Column("spacing_between_slices", REAL, "Spacing as stated by the device", "SpacingBetweenSlices", "mm"),
    Column("gantry_detector_tilt", REAL, "Nominal gantry tilt", "GantryDetectorTilt", "degree"),
    Column("kvp", REAL, "Tube voltage", "KVP", "kV"),
    Column("exposure", REAL, "Exposure", "Exposure", "mAs"),
    Column("convolution_kernel", TEXTS, "Reconstruction kernel", "ConvolutionKernel"),
    Column("contrast_bolus_agent", TEXT, "Contrast agent", "ContrastBolusAgent"),
    Column("magnetic_field_strength", REAL, "Field strength", "MagneticFieldStrength", "T"),
    Column("repetition_time", REAL, "Repetition time", "RepetitionTime", "ms"),
    Column("echo_time", REAL, "Echo time", "EchoTime", "ms"),
    Column("inversion_time", REAL, "Inversion time", "InversionTime", "ms"),
    Column("flip_angle", REAL, "Flip angle", "FlipAngle", "degree"),
    Column("echo_numbers", WHOLE, "Number of the echo", "EchoNumbers"),
    Column("sequence_name", TEXT, "Pulse sequence", "SequenceName"),
    Column("units", TEXT, "Unit of PET values (BQML, CNTS, ...)", "Units"),
    Column("decay_correction", TEXT, "NONE, START or ADMIN", "DecayCorrection"),
    Column("frame_of_reference_uid", TEXT, "Frame of reference, pseudonymised", "FrameOfReferenceUID"),
    Column("rows", WHOLE, "Rows of the image", "Rows", "pixel"),
    Column("columns", WHOLE, "Columns of the image", "Columns", "pixel"),
    Column("number_of_frames", WHOLE, "Frames, 1 where the element is absent", "NumberOfFrames"),
    Column("samples_per_pixel", WHOLE, "1, or 3 for colour", "SamplesPerPixel"),
    Column("photometric_interpretation", TEXT, "MONOCHROME2, RGB, ...", "PhotometricInterpretation"),
    Column("bits_allocated", WHOLE, "Bits per stored sample", "BitsAllocated", "bit"),
    Column("bits_stored", WHOLE, "Bits in use", "BitsStored", "bit"),
    Column("pixel_representation", WHOLE, "0 unsigned, 1 signed", "PixelRepresentation"),
    Column("burned_in_annotation", TEXT, "YES or NO", "BurnedInAnnotation"),
    Column("lossy_image_compression", TEXT, "00 or 01", "LossyImageCompression"),
)

# Values that need more than one element, or that are read before de-identification takes them away.
DERIVED_COLUMNS: tuple[Column, ...] = (
    Column("pixel_spacing", REALS, "Distance of rows, of columns", "PixelSpacing", "mm"),
    Column("image_position_patient", REALS, "Centre of the first pixel", "ImagePositionPatient", "mm, LPS"),
    Column("image_orientation_patient", REALS, "Direction of a row, of a column", "ImageOrientationPatient"),
    Column("frame_positions", REALS, "Multi-frame: x, y, z of every frame, end to end", "", "mm, LPS"),
    Column("frame_orientations", REALS, "Multi-frame: six cosines of every frame; one set if all are equal"),
    Column("rescale_slope", REAL, "Stored value to unit, slope", "RescaleSlope"),
    Column("rescale_intercept", REAL, "Stored value to unit, intercept", "RescaleIntercept"),
    Column("rescale_type", TEXT, "Unit after rescale", "RescaleType"),
    Column("window_center", REAL, "First window of the device", "WindowCenter"),
    Column("window_width", REAL, "First window of the device", "WindowWidth"),
    Column(
        "diffusion_b_value", REAL, "b-value, also from vendors' private elements", "DiffusionBValue", "s/mm2"
    ),
    Column("diffusion_gradient", REALS, "Gradient direction", "DiffusionGradientOrientation"),
    Column("mosaic_tiles", WHOLE, "Siemens mosaic: number of slices in the tile image; null elsewhere"),
    Column("radionuclide_total_dose", REAL, "Injected activity", "RadionuclideTotalDose", "Bq"),
    Column("radionuclide_half_life", REAL, "Half-life", "RadionuclideHalfLife", "s"),
    Column(
        "injection_to_scan", REAL, "Injection to start of the series, read before dates are shifted", "", "s"
    ),
)

# Header columns that describe a whole series.
_OF_A_SERIES = frozenset(
    {
        "sop_class_uid",
        "modality",
        "body_part_examined",
        "study_date",
        "study_description",
        "series_description",
        "protocol_name",
        "manufacturer",
        "manufacturer_model_name",
        "patient_sex",
        "patient_age",
        "series_number",
        "slice_thickness",
        "magnetic_field_strength",
        "rows",
        "columns",
        "photometric_interpretation",
        "convolution_kernel",
        "view_position",
    }
)

INSTANCES = Table(
    "instances",
    "One row for each stored object: where its bytes lie, what it is, every tag.",
    ("source_mac", "policy_digest"),
    (
        Column("sop_instance_uid", TEXT, "Identifier of the object, pseudonymised", "SOPInstanceUID"),
        Column("series_instance_uid", TEXT, "Identifier of the series, pseudonymised", "SeriesInstanceUID"),
        Column("study_instance_uid", TEXT, "Identifier of the study, pseudonymised", "StudyInstanceUID"),
        Column("patient_id", TEXT, "Pseudonym of the patient; null where none is known", "PatientID"),
        Column("format", TEXT, "dicom, png, jpeg or nifti"),
        Column("sha256", TEXT, "SHA-256 of the stored bytes"),
        Column("source_mac", TEXT, "Keyed digest of the incoming bytes"),
        Column("policy_digest", TEXT, "De-identification policy under which it came in"),
        Column("deidentification", TEXT, "What was done to it, in `deidentifications`"),
        Column("pack", TEXT, "Object that holds the bytes"),
        Column("offset", WHOLE, "First byte in the pack", "", "byte"),
        Column("length", WHOLE, "Number of bytes", "", "byte"),
        Column("pixel_offset", WHOLE, "First byte of the pixel data in the file; null without", "", "byte"),
        Column("pixel_length", WHOLE, "Bytes of pixel data; null where undefined", "", "byte"),
        Column("transfer_syntax_uid", TEXT, "Encoding of the stored bytes", "TransferSyntaxUID"),
        *HEADER_COLUMNS,
        *DERIVED_COLUMNS,
        Column("tags", TEXT, "Every element as DICOM JSON (PS3.18 F), bulk data left out"),
        Column("run_id", TEXT, "Run that stored it"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

SERIES = Table(
    "series",
    "One row for each series as it stands: counts, vendor, geometry verdict.",
    ("series_instance_uid",),
    (
        Column("series_instance_uid", TEXT, "Identifier, pseudonymised"),
        Column("study_instance_uid", TEXT, "Study, pseudonymised"),
        Column("patient_id", TEXT, "Pseudonym of the patient"),
        Column("members_digest", TEXT, "Digest over the stored bytes of all instances"),
        Column("instances", WHOLE, "Number of instances"),
        Column("images", WHOLE, "Number of frames with pixels"),
        Column("slices", WHOLE, "Slices of the volume; null where the verdict gives none"),
        Column("geometry", TEXT, "regular, gap, uneven, tilt, duplicates, mixed, flat or none"),
        Column("geometry_note", TEXT, "What was measured"),
        Column("spacing", REALS, "Slice, row, column", "", "mm"),
        Column("bytes", WHOLE, "Stored size", "", "byte"),
        *(
            column
            for column in HEADER_COLUMNS
            if column.name in _OF_A_SERIES
        ),
        Column("format", TEXT, "dicom, png, jpeg or nifti"),
        Column("policy_digest", TEXT, "De-identification policy"),
        Column("run_id", TEXT, "Run that made the row"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
    keep="last",
)  # fmt: skip

DEIDENTIFICATIONS = Table(
    "deidentifications",
    "What was done to objects and what remains, once for all objects to which the same was done; no values.",
    ("deidentification",),
    (
        Column("deidentification", TEXT, "Digest over the other columns that describe it"),
        Column("format", TEXT, "dicom, png, jpeg or nifti"),
        Column("policy", TEXT, "De-identification policy, TOML"),
        Column("policy_digest", TEXT, "Digest of the policy, its tables and the version of its rules"),
        Column("policy_version", TEXT, "Version of the implementation of policies"),
        Column("profile_edition", TEXT, "Edition of PS3.15 Table E.1-1"),
        Column("code_version", TEXT, "Version of voxlake"),
        Column("waived", TEXTS, "Rules on pixels under whose waivers the objects came in"),
        Column("actions", TEXT, "[element, keyword, action, why] without numbers of items; JSON"),
        Column("remains", TEXT, "[element, keyword] of what the objects still hold; JSON"),
        Column("run_id", TEXT, "Run that first met it"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

QUARANTINE = Table(
    "quarantine",
    "Items that were not let in, each with a reason; their bytes lie sealed under quarantine/.",
    ("quarantine_id",),
    (
        Column("quarantine_id", TEXT, "Name of the sealed object"),
        Column("source_mac", TEXT, "Keyed digest of the incoming bytes; null if they could not be read"),
        Column("policy_digest", TEXT, "Policy under which it was refused"),
        Column("reason", TEXT, "Reason code"),
        Column("detail", TEXT, "What was got and expected; no patient data"),
        Column("bytes", WHOLE, "Size of the incoming bytes", "", "byte"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

FINDINGS = Table(
    "findings",
    "Things worth knowing about data that were let in.",
    ("rule", "subject_level", "subject", "detail"),
    (
        Column("rule", TEXT, "Identifier of the rule"),
        Column("severity", TEXT, "info, warning or error"),
        Column("subject_level", TEXT, "patient, study, series or instance"),
        Column("subject", TEXT, "Identifier of the subject"),
        Column("value", REAL, "Measured value, if any"),
        Column("detail", TEXT, "One sentence"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

LABELS = Table(
    "labels",
    "What readers, files and folders say about a subject.",
    ("level", "subject", "name", "value", "reader", "source"),
    (
        Column("level", TEXT, "patient, study, series or instance"),
        Column("subject", TEXT, "Identifier in the lake"),
        Column("name", TEXT, "What is labelled, for example finding"),
        Column("value", TEXT, "The label; numbers as text"),
        Column("number", REAL, "The label as a number, where it is one"),
        Column("unit", TEXT, "Unit of the number"),
        Column("reader", TEXT, "Who said so"),
        Column("source", TEXT, "Digest of the file or mapping that it came from"),
        Column("labelled_at", TIME, "When the reader said so, if known"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

COHORTS = Table(
    "cohorts",
    "Frozen selections.",
    ("name", "version"),
    (
        Column("cohort_id", TEXT, "Digest over the members"),
        Column("name", TEXT, "Name"),
        Column("version", WHOLE, "1, 2, ...; a selection with other members makes a new version"),
        Column("condition", TEXT, "The SQL condition"),
        Column("table_versions", TEXT, "Version of each table that was read, JSON"),
        Column("series", WHOLE, "Number of series"),
        Column("studies", WHOLE, "Number of studies"),
        Column("patients", WHOLE, "Number of patients"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

COHORT_MEMBERS = Table(
    "cohort_members",
    "The series of every cohort version, with the digest that they had.",
    ("cohort_id", "series_instance_uid"),
    (
        Column("cohort_id", TEXT, "Cohort"),
        Column("series_instance_uid", TEXT, "Series"),
        Column("study_instance_uid", TEXT, "Study"),
        Column("patient_id", TEXT, "Pseudonym of the patient"),
        Column("members_digest", TEXT, "Digest of the series when it was selected"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

VOLUMES = Table(
    "volumes",
    "Prepared arrays.",
    ("volume_id",),
    (
        Column("volume_id", TEXT, "Digest over inputs and plan"),
        Column("plan_digest", TEXT, "Plan, with step versions"),
        Column("series_instance_uid", TEXT, "Series that it was made from"),
        Column("study_instance_uid", TEXT, "Study"),
        Column("patient_id", TEXT, "Pseudonym of the patient"),
        Column("sop_instance_uid", TEXT, "Instance, where the volume is a single image; null otherwise"),
        Column("inputs", TEXTS, "SHA-256 of the instances, in slice order"),
        Column("inputs_digest", TEXT, "Digest of the series or instance when it was prepared"),
        Column("array", TEXT, "Array under arrays/"),
        Column("position", WHOLE, "Index in a stacked array; null for an array of its own"),
        Column("shape", pa.list_(pa.int64()), "Slices, rows, columns (, 3)"),
        Column("dtype", TEXT, "Type of the values"),
        Column("unit", TEXT, "HU, SUVbw, arbitrary or normalised"),
        Column("modality", TEXT, "Modality"),
        Column("grid", TEXT, "Shape, affine (index to LPS mm), frame, flat; JSON"),
        Column("steps", TEXTS, "What was done, in order"),
        Column("sha256", TEXT, "SHA-256 of the array's values, C order, little endian"),
        Column("shards", WHOLE, "Number of stored shards of the array"),
        Column("minimum", REAL, "Smallest value"),
        Column("maximum", REAL, "Largest value"),
        Column("mean", REAL, "Mean value"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

MODELS = Table(
    "models",
    "Trained models.",
    ("model_id",),
    (
        Column("model_id", TEXT, "Digest over task, cohort, labels, seed and code"),
        Column("task", TEXT, "Name of the task"),
        Column("task_digest", TEXT, "Digest of the task file"),
        Column("cohort_id", TEXT, "Cohort that it was trained on"),
        Column("plan_digest", TEXT, "Plan that its inputs must come from"),
        Column("target", TEXT, "Name of the label"),
        Column("classes", TEXTS, "Classes in the order of the outputs"),
        Column("folds", WHOLE, "Number of networks"),
        Column("parameters", WHOLE, "Trainable parameters of one network"),
        Column("samples", WHOLE, "Samples in all parts"),
        Column("seed", WHOLE, "Seed of split, weights and order"),
        Column("split_digest", TEXT, "Digest of the split"),
        Column("seconds", REAL, "Training time", "", "s"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

PREDICTIONS = Table(
    "predictions",
    "What a model says about a volume.",
    ("model_id", "volume_id", "cohort_id", "part", "fold", "class"),
    (
        Column("model_id", TEXT, "Model"),
        Column("volume_id", TEXT, "Volume"),
        Column("patient_id", TEXT, "Pseudonym of the patient"),
        Column("group", TEXT, "Unit that was kept together in the split"),
        Column("part", TEXT, "validation or test of its own cohort; new or seen (by training) in any cohort"),
        Column("fold", WHOLE, "Network that spoke; -1 for the mean of all"),
        Column("class", TEXT, "Class"),
        Column("probability", REAL, "Probability of the class"),
        Column("truth", TEXT, "Label, where known"),
        Column("cohort_id", TEXT, "Cohort that was predicted"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

SCORES = Table(
    "scores",
    "Figures with intervals.",
    ("model_id", "cohort_id", "part", "metric", "run_id"),
    (
        Column("model_id", TEXT, "Model"),
        Column("cohort_id", TEXT, "Cohort"),
        Column("part", TEXT, "test or new"),
        Column("metric", TEXT, "accuracy, recall, roc_auc, ..."),
        Column("value", REAL, "Estimate"),
        Column("low", REAL, "Lower end of the interval"),
        Column("high", REAL, "Upper end of the interval"),
        Column("level", REAL, "Level of the interval, for example 0.95"),
        Column("method", TEXT, "How the interval was made"),
        Column("samples", WHOLE, "Number of images or volumes"),
        Column("groups", WHOLE, "Number of patients"),
        Column("threshold", REAL, "Operating point, where the metric has one"),
        Column("inputs_digest", TEXT, "Digest over the predictions that went in"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

RUNS = Table(
    "runs",
    "Executions of verbs.",
    ("run_id",),
    (
        Column("run_id", TEXT, "Identifier, sorts by time"),
        Column("verb", TEXT, "ingest, prepare, ..."),
        Column("arguments", TEXT, "As called, JSON; without paths, keys and credentials"),
        Column("outcome", TEXT, "done or failed"),
        Column("counts", TEXT, "The balance, JSON"),
        Column("reasons", TEXT, "Reason codes and how often, JSON"),
        Column("result", TEXT, "What was made, JSON"),
        Column("error", TEXT, "Type of the error of a failed run"),
        Column("input_digest", TEXT, "Digest over what went in"),
        Column("code_version", TEXT, "Version of voxlake"),
        Column("seconds", REAL, "Wall time", "", "s"),
        Column("started_at", TIME, "Start"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

ITEMS = Table(
    "items",
    "What became of every item of every run.",
    ("run_id", "number"),
    (
        Column("run_id", TEXT, "Run"),
        Column("number", WHOLE, "Number of the item within the run, from 1"),
        Column("item", TEXT, "Keyed digest of the source name, or identifier of a series or volume"),
        Column("outcome", TEXT, "stored, already, quarantined, rejected, ignored or failed"),
        Column("reason", TEXT, "Reason code; null if stored or already there"),
        Column("detail", TEXT, "What was got and expected; no patient data"),
        Column("attempts", WHOLE, "How often it was tried"),
        Column("seconds", REAL, "Time in the worker", "", "s"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            INSTANCES, SERIES, DEIDENTIFICATIONS, QUARANTINE, FINDINGS, LABELS, COHORTS, COHORT_MEMBERS,
            VOLUMES, MODELS, PREDICTIONS, SCORES, RUNS, ITEMS,
        )
    }
)  # fmt: skip


def arrow_schema(name: str) -> pa.Schema:
    """Arrow schema of a table, with the descriptions as field metadata."""
    return pa.schema(
        [
            pa.field(
                column.name,
                column.type,
                metadata={"description": column.description, "tag": column.tag, "unit": column.unit},
            )
            for column in TABLES[name].columns
        ]
    )
