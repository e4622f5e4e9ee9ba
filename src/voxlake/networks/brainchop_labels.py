"""What the values of the brainchop networks mean: names as FreeSurfer has them, coded where DICOM has a code.

Codes are of PS3.16 context group 7140, "Brain Structure for Volumetric Measurement", and of SNOMED CT. Most
regions of the cortex (Desikan-Killiany) have none there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from voxlake.core.volume import Label

__all__ = ["BRAIN", "REGIONS_18", "REGIONS_50", "REGIONS_104", "TISSUE"]

_SCT: Mapping[str, str] = MappingProxyType(
    {
        "3rd-Ventricle": "49841001",
        "4th-Ventricle": "35918002",
        "Accumbens-area": "427667007",
        "Amygdala": "4958002",
        "Brain-Stem": "119238007",
        "CSF": "65216001",
        "Caudate": "11000004",
        "Cerebellum": "113305005",
        "Cerebellum-Cortex": "25991003",
        "Cerebellum-White-Matter": "33060004",
        "Cerebral-Cortex": "40146001",
        "Cerebral-White-Matter": "68523003",
        "Corpus callosum": "88442005",
        "Hippocampus": "5366008",
        "Inf-Lat-Vent": "53118009",
        "Inferior-Lateral-Ventricle": "53118009",
        "Lateral-Ventricle": "66720007",
        "Pallidum": "14738005",
        "Putamen": "89278009",
        "Thalamus": "42695009",
        "Thalamus-Proper": "42695009",
        "Ventricle": "35764002",
        "insula": "36169008",
    }
)
_DCM: Mapping[str, str] = MappingProxyType({"VentralDC": "110700"})

_CORTEX = (
    "bankssts",
    "caudalanteriorcingulate",
    "caudalmiddlefrontal",
    "cuneus",
    "entorhinal",
    "fusiform",
    "inferiorparietal",
    "inferiortemporal",
    "isthmuscingulate",
    "lateraloccipital",
    "lateralorbitofrontal",
    "lingual",
    "medialorbitofrontal",
    "middletemporal",
    "parahippocampal",
    "paracentral",
    "parsopercularis",
    "parsorbitalis",
    "parstriangularis",
    "pericalcarine",
    "postcentral",
    "posteriorcingulate",
    "precentral",
    "precuneus",
    "rostralanteriorcingulate",
    "rostralmiddlefrontal",
    "superiorfrontal",
    "superiorparietal",
    "superiortemporal",
    "supramarginal",
    "frontalpole",
    "temporalpole",
    "transversetemporal",
    "insula",
)
_PAIRED = [
    "Thalamus-Proper",
    "Caudate",
    "Putamen",
    "Pallidum",
    "Hippocampus",
    "Amygdala",
    "Accumbens-area",
    "VentralDC",
    "Cerebral-White-Matter",
]


def _labels(names: Iterable[str]) -> tuple[Label, ...]:
    return tuple(Label(value, name, _code(name)) for value, name in enumerate(names, 1))


def _code(name: str) -> tuple[str, str] | None:
    structure = name.removeprefix("Left-").removeprefix("Right-")
    if structure.startswith("ctx-"):
        structure = structure.rpartition("-")[2]
    if structure in _SCT:
        return _SCT[structure], "SCT"
    return (_DCM[structure], "DCM") if structure in _DCM else None


BRAIN: tuple[Label, ...] = (Label(1, "Brain", ("12738006", "SCT")),)
TISSUE: tuple[Label, ...] = (
    Label(1, "White Matter", ("389080008", "SCT")),
    Label(2, "Grey Matter", ("389081007", "SCT")),
)
REGIONS_18: tuple[Label, ...] = _labels(
    [
        "Cerebral-White-Matter",
        "Cerebral-Cortex",
        "Lateral-Ventricle",
        "Inferior-Lateral-Ventricle",
        "Cerebellum-White-Matter",
        "Cerebellum-Cortex",
        "Thalamus",
        "Caudate",
        "Putamen",
        "Pallidum",
        "3rd-Ventricle",
        "4th-Ventricle",
        "Brain-Stem",
        "Hippocampus",
        "Amygdala",
        "Accumbens-area",
        "VentralDC",
    ]
)
REGIONS_50: tuple[Label, ...] = _labels(
    (
        *[
            "Cerebral-White-Matter",
            "Ventricle",
            "Cerebellum-White-Matter",
            "Cerebellum",
            "Thalamus-Proper",
            "Caudate",
        ],
        *[
            "Putamen",
            "Pallidum",
            "Brain-Stem",
            "Hippocampus",
            "Amygdala",
            "CSF",
            "Accumbens-area",
            "VentralDC",
        ],
        "Corpus callosum",
        *(f"ctx-{region}" for region in _CORTEX),
    )
)
REGIONS_104: tuple[Label, ...] = _labels(
    (
        *(f"ctx-{side}-{region}" for side in ("lh", "rh") for region in _CORTEX),
        *(f"{side}-{structure}" for structure in _PAIRED for side in ("Left", "Right")),
        *(
            f"{side}-{structure}"
            for side in ("Left", "Right")
            for structure in ("Lateral-Ventricle", "Inf-Lat-Vent")
        ),
        *["3rd-Ventricle", "4th-Ventricle", "CSF", "Brain-Stem"],
        *(
            f"{side}-{structure}"
            for structure in ("Cerebellum-White-Matter", "Cerebellum-Cortex")
            for side in ("Left", "Right")
        ),
        *(f"CC_{part}" for part in ("Posterior", "Mid_Posterior", "Central", "Mid_Anterior", "Anterior")),
    )
)
