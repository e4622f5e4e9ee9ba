"""What the ready-made organs are called: SNOMED CT codes as in PS3.16 (context groups 4030, 4031, 7151)."""

from __future__ import annotations

from voxlake.core.volume import Label

__all__ = ["AIRWAYS", "BODY", "BONE", "BRAIN", "LEFT_LUNG", "LUNGS", "RIGHT_LUNG"]

_SCT = "SCT"

BODY = Label(1, "Body", ("38266002", _SCT))
BONE = Label(1, "Bone", ("272673000", _SCT))
AIRWAYS = Label(1, "Trachea and bronchi", ("110726009", _SCT))
BRAIN = Label(1, "Brain", ("12738006", _SCT))
RIGHT_LUNG = Label(1, "Right lung", ("3341006", _SCT))
LEFT_LUNG = Label(2, "Left lung", ("44029006", _SCT))
LUNGS = Label(1, "Lungs", ("39607008", _SCT))
