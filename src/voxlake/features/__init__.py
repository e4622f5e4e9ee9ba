"""Volumes and masks to numbers. One family per file."""
