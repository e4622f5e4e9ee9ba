"""voxlake: an imaging lake."""
