"""Predictions and truth become scores and reports."""
