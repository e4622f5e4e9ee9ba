"""Public: generated DICOM objects full of planted identities, and scorers for any de-identification tool."""
