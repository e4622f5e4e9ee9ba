"""Volumes and labels become models, models make predictions."""
