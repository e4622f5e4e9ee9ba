"""Small tasks over phantoms, for tests of what trains, predicts and exports; a fold takes about a second."""

from __future__ import annotations

__all__ = ["CNN", "SLICES", "SMALL_PLAN", "small_task"]

#: Volumes of the phantoms at 4 x 8 x 8 voxels.
SMALL_PLAN = """
[[steps]]
step = "resize"
shape = [4, 8, 8]
[[steps]]
step = "window"
low = -1000
high = 200
"""
#: One convolution.
CNN = '\n[network]\nname = "cnn"\ndimensions = 3\nblocks = [2]\n'
#: A recurrence over slices.
SLICES = """
[network]
name = "slices"
features = 3
encoder = {name = "cnn", dimensions = 2, blocks = [2]}
recurrence = {hidden = 3}
"""


def small_task(cohort: str) -> str:
    """Return plan, split and training of a task of two folds and one epoch, as text of a task file.

    Parameters
    ----------
    cohort : str
        What is learned from.
    """
    return f"""
cohort = "{cohort}"
[plan]
{SMALL_PLAN.replace("[[steps]]", "[[plan.steps]]")}
[split]
kind = "kfold"
folds = 2
validation = 0.3
[training]
epochs = 1
batch_size = 8
threads = 1
precision = "float32"
"""
