"""The trained networks of brainchop (Masoud et al., 2023, doi:10.21105/joss.05098; MIT licence).

T1-weighted MR of the head, some of them any contrast. Input normalisation and channel order are those of the
program that the networks were published with: quantiles or range over the conformed volume, as its list of
models says for each.
"""

from __future__ import annotations

from voxlake.core.volume import Label
from voxlake.networks.brainchop_labels import BRAIN, REGIONS_18, REGIONS_50, REGIONS_104, TISSUE
from voxlake.networks.known import KnownModel
from voxlake.networks.meshnet import MeshNetSettings
from voxlake.networks.scaling import Scaling

__all__ = ["BRAINCHOP", "CONFORMED"]

_SOURCE = "https://github.com/neuroneural/brainchop at 4c87885f3a2a8835e260d521dcec922b58d91d41"

CONFORMED = """\
[[steps]]
step = "reorient"
orientation = "LIA"

[[steps]]
step = "resample"
spacing = [1.0, 1.0, 1.0]

[[steps]]
step = "crop_or_pad"
shape = [256, 256, 256]
fill = "minimum"
"""
"""256 cubed at 1 mm, axes to left, inferior, anterior: FreeSurfer's "conform", on which they were trained."""

_UP_AND_DOWN = (1, 2, 4, 8, 16, 8, 4, 2, 1)


def _entry(
    name: str,
    summary: str,
    folder: str,
    sha256: str,
    size: int,
    network: MeshNetSettings,
    labels: tuple[Label, ...],
    scaling: Scaling,
) -> KnownModel:
    return KnownModel(
        name=f"brainchop-{name}",
        summary=summary,
        source=_SOURCE,
        folder=f"models/{folder}",
        licence="MIT",
        sha256=sha256,
        size=size,
        network=network,
        labels=labels,
        plan=CONFORMED,
        scaling=scaling,
    )


BRAINCHOP: tuple[KnownModel, ...] = (
    _entry(
        "brain",
        "Brain without skull, any contrast (mindgrab)",
        "mindgrab",
        "c9a01490fe2d13acc1515fd019b69db176ebe6f40c9b84aeb77f25acbc2ee0f3",
        584_948,
        MeshNetSettings(
            channels=15,
            classes=2,
            dilations=(16, 8, 4, 2, 1) * 5,
            activation="gelu",
            normalisation="instance",
        ),
        BRAIN,
        "quantiles",
    ),
    _entry(
        "regions-104",
        "104 regions of the cortex and below, left and right apart, T1",
        "model21_104class",
        "8a0aa1e2d94e5edc94c54aed900da978d2a1388bee4621cee05e473db64b84af",
        345_488,
        MeshNetSettings(channels=21, classes=104, dilations=(1, 2, 2, 4, 4, 8, 8, 16)),
        REGIONS_104,
        "range",
    ),
    _entry(
        "regions-18",
        "17 regions: grey and white matter and what lies below the cortex, T1 (30 channels)",
        "model30chan18cls",
        "7039651d91c4cee0b7b1ddfe93fe2f5cb9b71d99f5a126fdef407e2a36bb52d4",
        784_152,
        MeshNetSettings(channels=30, classes=18, dilations=_UP_AND_DOWN, activation="elu"),
        REGIONS_18,
        "range",
    ),
    _entry(
        "regions-18-light",
        "17 regions: grey and white matter and what lies below the cortex, T1 (21 channels)",
        "model18cls",
        "725096439f64ece1ca45ec3c5115c9fa6004f6538cac3032b85966d3772b605e",
        385_632,
        MeshNetSettings(channels=21, classes=18, dilations=_UP_AND_DOWN, activation="elu"),
        REGIONS_18,
        "range",
    ),
    _entry(
        "regions-50",
        "49 regions of the cortex and below, left and right together, T1",
        "model30chan50cls",
        "a7e597568dc7750c64cce8c64c4ca3ec7215716949efd741f19904da1baffa81",
        788_120,
        MeshNetSettings(channels=30, classes=50, dilations=_UP_AND_DOWN, activation="elu"),
        REGIONS_50,
        "quantiles",
    ),
    _entry(
        "tissue",
        "White and grey matter, T1 (20 channels)",
        "model20chan3cls",
        "aecc03e3db596bfffab0ea1143f0848dbf4da4e317e04ef202986c6888cd467f",
        348_732,
        MeshNetSettings(channels=20, classes=3, dilations=_UP_AND_DOWN, activation="elu"),
        TISSUE,
        "quantiles",
    ),
    _entry(
        "tissue-light",
        "White and grey matter, T1 (5 channels; the quickest)",
        "model5_gw_ae",
        "ca0d1b8ff72f8719d9525acaf9a1f1cb66dbb173b4ee1d7540f99e022cf4bfd8",
        22_392,
        MeshNetSettings(channels=5, classes=3, dilations=_UP_AND_DOWN),
        TISSUE,
        "range",
    ),
    _entry(
        "tissue-medium",
        "White and grey matter, T1 (11 channels)",
        "model11_gw_ae",
        "7f93edb82252cdc59e3faf3ae5a27622bc748d02db64df2cf429ad807891c261",
        93_160,
        MeshNetSettings(channels=11, classes=3, dilations=(1, 2, 4, 8, 4, 2, 2, 1)),
        TISSUE,
        "range",
    ),
)
