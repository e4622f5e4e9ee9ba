"""Metadata out of files that are not DICOM: one format a file, pixels untouched bit for bit."""
