"""Pure steps, one per file: volume to volume. Knows no lake."""
