"""The lake and the run harness that every verb uses."""
