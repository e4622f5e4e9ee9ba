from __future__ import annotations

import gzip
from io import BytesIO

import nibabel
import numpy as np
import pytest
from PIL import Image

from voxlake.core.errors import UsageError
from voxlake.privacy.images import strip_metadata


@pytest.mark.parametrize(
    ("name", "near"), [("jpg", "jpeg"), ("nii", "nifti"), ("tif", "tiff"), ("PNG", "png")]
)
def test_an_unknown_format_names_the_near_miss(name, near):
    with pytest.raises(UsageError, match=f"no image format '{name}'; did you mean '{near}'"):
        strip_metadata(b"", name)


def pixels(data: bytes) -> np.ndarray:
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image)


def voxels(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    plain = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    kind = nibabel.Nifti2Image if plain[4:8] == b"n+2\0" else nibabel.Nifti1Image
    image = kind.from_bytes(plain)
    return np.asanyarray(image.dataobj), image.affine


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("chest_xray_pneumonia/**/*.jpeg", "jpeg"),
        ("retina_chasedb1/**/*.jpg", "jpeg"),
        ("breast_ultrasound_busi/**/*.png", "png"),
        ("retina_chasedb1/**/*.png", "png"),
        ("wsi/*.svs", "tiff"),
        ("ms_lesions/**/*.nii*", "nifti"),
        ("hippocampus_mri/**/*.nii*", "nifti"),
    ],
)
def test_real_images(realdata, pattern, name):
    paths = sorted(realdata.glob(pattern))
    assert paths
    for path in paths[:: max(1, len(paths) // 4)][:4]:
        data = path.read_bytes()
        stripped = strip_metadata(data, name)
        before, after = ((voxels(one) if name == "nifti" else (pixels(one),)) for one in (data, stripped))
        for old, new in zip(before, after, strict=True):
            assert old.dtype == new.dtype
            np.testing.assert_array_equal(new, old)
        assert strip_metadata(stripped, name) == stripped
        assert len(stripped) <= 1.2 * len(data)
