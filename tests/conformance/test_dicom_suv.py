"""SUV and real-world values of real PET images, against figures worked out here from the header alone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from voxlake.core.volume import Volume
from voxlake.dicom.physics import read_physics
from voxlake.dicom.read import read_dataset
from voxlake.dicom.real_world import referenced_maps
from voxlake.dicom.scan import scan
from voxlake.dicom.volume import assemble
from voxlake.privacy.deidentify import deidentify
from voxlake.privacy.policy import load_policy
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.processing.suv import Suv
from voxlake.store.keys import LakeKey

pytestmark = pytest.mark.realdata


def assembled(folder: Path) -> Volume:
    blobs = [path.read_bytes() for path in sorted(folder.glob("*.dcm"))]
    rows = [{**scan(read_dataset(blob), blob), "sha256": "0"} for blob in blobs]
    return assemble(rows, blobs)


def test_suv_of_a_raw_whole_body_pet(realdata):
    folder = realdata / "pet_raw_suv" / "STS_001" / "FDG_PET" / "image"
    volume = assembled(folder)
    assert volume.unit == "Bq/ml"
    assert volume.shape[0] == 267
    suv = Suv()(volume)
    # 71 kg; 388.777472 MBq at 10:35:00, scan at 11:20:11, half-life 6,588 s.
    seconds = (timedelta(hours=11, minutes=20, seconds=11) - timedelta(hours=10, minutes=35)).seconds
    left = 388_777_472 * np.exp(-np.log(2) * seconds / 6588)
    headers = [pydicom.dcmread(path) for path in folder.glob("*.dcm")]
    headers.sort(key=lambda header: header.ImagePositionPatient[2])
    for index in (0, 100, 200, 266):
        header = headers[index]
        activity = header.pixel_array * float(header.RescaleSlope)
        np.testing.assert_allclose(suv.numpy()[index], activity * 71_000 / left, rtol=1e-5)
    # The liver and brain of an FDG scan, not a factor of a thousand off.
    assert 5 < float(suv.numpy().max()) < 100


def test_the_factor_is_the_same_after_deidentification(realdata):
    path = min((realdata / "pet_raw_suv" / "STS_001" / "FDG_PET" / "image").glob("*.dcm"))
    data = path.read_bytes()
    names = Pseudonymiser(LakeKey(bytes(range(32))))
    kept = deidentify(data, load_policy("research"), names)
    before, after = read_physics(read_dataset(data)), read_physics(kept.dataset)
    assert before["suv_bw_factor"] == pytest.approx(71_000 / 388_777_472 * 2 ** (2711 / 6588), rel=1e-9)
    assert after["suv_bw_factor"] == pytest.approx(before["suv_bw_factor"], rel=1e-9)


@pytest.mark.parametrize("patient", ["STS_002", "STS_008", "STS_019", "STS_025", "STS_042"])
def test_images_that_are_suv_already_equal_their_nifti(realdata, patient):
    volume = assembled(realdata / "sts_petctmr" / "dicom" / patient / "PET" / "image")
    assert volume.unit == "SUVbw"
    np.testing.assert_array_equal(Suv()(volume).numpy(), volume.numpy())
    path = realdata / "sts_petctmr" / "nifti" / patient / "PET_image.nii.gz"
    image = nibabel.as_closest_canonical(nibabel.load(path))
    # Canonical NIfTI runs to right, anterior, superior; axial slices run to left and posterior.
    expected = np.asarray(image.dataobj).transpose(2, 1, 0)[:, ::-1, ::-1]
    ours = volume.numpy() if volume.grid.orientation == "SPL" else volume.numpy()[::-1]
    # Both were rounded to 16 bits with slopes of their own.
    np.testing.assert_allclose(ours, expected, atol=2e-3 * float(expected.max()))


def test_the_maps_of_a_real_object(realdata):
    folder = realdata / "dicom_seg_sr_pm" / "dcmqi"
    (found,) = referenced_maps(pydicom.dcmread(folder / "sr-example" / "rwvm.dcm"))
    assert len(found.instances) == 191
    assert "SUVbw" in {one.unit for one in found.maps}
