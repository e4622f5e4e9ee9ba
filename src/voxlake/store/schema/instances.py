"""The columns of `instances`."""

from __future__ import annotations

from voxlake.store.schema.column import REAL, REALS, TEXT, TEXTS, TIME, WHOLE, WHOLES, Column, Table

__all__ = ["DERIVED_COLUMNS", "HEADER_COLUMNS", "INSTANCES"]


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
        Column(
            "frame_offsets",
            WHOLES,
            "First byte of every frame, from `pixel_offset`; null without",
            "",
            "byte",
        ),
        Column("frame_lengths", WHOLES, "Bytes of every frame; one number if all are equal", "", "byte"),
        Column("transfer_syntax_uid", TEXT, "Encoding of the stored bytes", "TransferSyntaxUID"),
        Column("original_transfer_syntax_uid", TEXT, "Encoding before `--compress`; null if not compressed"),
        Column("original_sha256", TEXT, "SHA-256 before `--compress`; null if not compressed"),
        *HEADER_COLUMNS,
        *DERIVED_COLUMNS,
        Column("tags", TEXT, "Every element as DICOM JSON (PS3.18 F), bulk data left out"),
        Column("run_id", TEXT, "Run that stored it"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)
