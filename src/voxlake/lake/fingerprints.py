"""What the pixels of stored objects are like, measured once for each object.

Runs inside workers with memory and time caps; no rule decodes pixels a second time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import digest_many
from voxlake.core.errors import IntegrityError, ItemError
from voxlake.dicom.decode import decode_pixels
from voxlake.dicom.elements import whole
from voxlake.dicom.read import read_dataset
from voxlake.lake.lake import Lake, LakeReference
from voxlake.lake.quality.perceptual_hash import perceptual_hash, to_hexadecimal
from voxlake.sources.images import read_image
from voxlake.store.arrays import value_digest
from voxlake.store.packs import read_member

__all__ = ["VERSION", "Fingerprint", "Fingerprinting", "fingerprint"]

# Rows of another version are computed anew.
VERSION = 1

Array = NDArray[Any]

# Brightness of RGB (ITU-R BT.601, the luma of JPEG).
_LUMA = np.array([0.299, 0.587, 0.114])
# Share of the range that counts as its end: lossy compression moves a saturated white by a few levels.
_END = 1 / 128
# Whole numbers over a wider range than this are sorted instead of counted.
_COUNTED = 2**20


@dataclass(frozen=True)
class Fingerprint:
    """What became of an object: a row for `fingerprints`, or a reason."""

    sha256: str
    row: dict[str, Any] | None = None
    reason: str | None = None
    detail: str | None = None


@dataclass
class Fingerprinting:
    """Function of a group of objects, for `Engine.map`.

    Parameters
    ----------
    lake : LakeReference
        Where the lake lies.
    limit : int
        Largest size of decoded values in bytes.
    """

    lake: LakeReference
    limit: int
    _cache: dict[str, Lake] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_cache": {}}

    def __call__(self, group: Sequence[Mapping[str, Any]]) -> list[Fingerprint]:
        """Measure objects, given as rows of `instances`; one result for each, in order."""
        if "it" not in self._cache:
            self._cache["it"] = self.lake.open()
        return [self._measure(self._cache["it"], row) for row in group]

    def _measure(self, lake: Lake, row: Mapping[str, Any]) -> Fingerprint:
        sha256 = row["sha256"]
        try:
            data = read_member(lake.objects, row["pack"], row["offset"], row["length"], sha256=sha256)
            values, padding, inverted = _decoded(data, row["format"], self.limit)
        except ItemError as error:
            return Fingerprint(sha256, reason=error.reason, detail=error.message)
        except IntegrityError as error:
            return Fingerprint(sha256, reason="unreadable_source", detail=str(error))
        return Fingerprint(sha256, fingerprint(values, padding, inverted=inverted) | {"sha256": sha256})


def fingerprint(
    values: Array, padding: tuple[int, int] | None = None, *, inverted: bool = False
) -> dict[str, Any]:
    """Measure decoded values.

    Parameters
    ----------
    values : array
        (frames, rows, columns[, 3]).
    padding : tuple of int, optional
        Lowest and highest stored value that stands for "outside of the image".
    inverted : bool
        Whether large values are dark (MONOCHROME1); the hash is that of the image as it is seen.

    Returns
    -------
    dict
        A row of `fingerprints` without ``sha256``. Figures are None where nothing is left beside padding.
    """
    grey = values @ _LUMA if values.ndim == 4 else values
    inside = grey.reshape(-1)
    if padding is not None:
        inside = inside[(inside < padding[0]) | (inside > padding[1])]
    middle = grey[len(grey) // 2]
    words = perceptual_hash(-middle.astype(np.float64) if inverted else middle)
    return {
        "version": VERSION,
        "pixel_digest": digest_many(
            [str(values.shape), values.dtype.newbyteorder("<").str, value_digest(values)]
        ),
        "perceptual_hash": None if words is None else to_hexadecimal(words),
        "frames": len(values),
        "share_padding": 1 - inside.size / grey.size,
        **_figures(inside[np.isfinite(inside)] if inside.dtype.kind == "f" else inside),
    }


def _decoded(data: bytes, kind: str, limit: int) -> tuple[Array, tuple[int, int] | None, bool]:
    if kind != "dicom":
        return read_image(data, kind).numpy(), None, False
    dataset = read_dataset(data)
    values = decode_pixels(dataset, limit=limit)
    inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    return (
        values,
        _padding(whole(dataset, "PixelPaddingValue"), whole(dataset, "PixelPaddingRangeLimit"), values),
        inverted,
    )


def _padding(value: int | None, limit: int | None, values: Array) -> tuple[int, int] | None:
    if value is None or values.dtype.kind not in "iu":
        return None
    ends = [_as_stored(number, values) for number in (value, value if limit is None else limit)]
    return min(ends), max(ends)


def _as_stored(number: int, values: Array) -> int:
    """Writers state the padding of signed pixels as unsigned, and the other way round: the bits count."""
    bits = 8 * values.dtype.itemsize
    wrapped = number % 2**bits
    return int(wrapped - 2**bits if values.dtype.kind == "i" and wrapped >= 2 ** (bits - 1) else wrapped)


def _figures(values: Array) -> dict[str, float | None]:
    names = ("minimum", "maximum", "mean", "share_low", "share_high", "share_common")
    if not values.size:
        return dict.fromkeys(names)
    low, high = float(values.min()), float(values.max())
    width = (high - low) * _END
    figures = (
        low,
        high,
        float(values.mean(dtype=np.float64)),
        np.count_nonzero(values <= low + width) / values.size,
        np.count_nonzero(values >= high - width) / values.size,
        _most_frequent(values, low, high) / values.size,
    )
    return dict(zip(names, figures, strict=True))


def _most_frequent(values: Array, low: float, high: float) -> int:
    if values.dtype.kind in "iub" and high - low < _COUNTED:
        return int(np.bincount(values.astype(np.int64) - int(low)).max())
    return int(np.unique(values, return_counts=True)[1].max())
