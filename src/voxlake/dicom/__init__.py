"""The DICOM format: read, scan, decode, geometry. Knows no lake."""
