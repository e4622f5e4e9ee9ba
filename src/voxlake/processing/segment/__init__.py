"""Volumes become masks: classical methods, ready-made organs, and edits of masks; one per file."""
