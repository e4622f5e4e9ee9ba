"""A series becomes volumes in the lake."""
