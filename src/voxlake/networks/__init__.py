"""Torch modules and their weights. Knows no lake."""
