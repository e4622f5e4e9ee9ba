from __future__ import annotations

import io
import pickle
from collections import Counter

import numpy as np
import pydicom
import pytest
from scipy import ndimage

from voxlake.core.errors import ItemError, SettingsError
from voxlake.sources.anatomy import random_anatomy
from voxlake.sources.images import sniff
from voxlake.sources.open import open_source
from voxlake.sources.phantom_files import _series, phantom_file
from voxlake.sources.phantoms import Phantoms
from voxlake.sources.scanner import SCANNERS, SeriesKey

LIMIT = 1 << 24
SMALL = {"slices": 8, "rows": 16, "columns": 24}


def dataset(item):
    return pydicom.dcmread(io.BytesIO(item.read(LIMIT)))


def label(item):
    return dict(item.hints.labels)["nodule"]


def labels(**settings) -> list[str]:
    items = Phantoms(slices=8, rows=8, columns=8, second_study=0, **settings)
    return [label(item) for item in items if item.number == 1]


def one_of_each() -> dict[str, list]:
    """A series of every scanner."""
    found: dict[str, list] = {}
    series: dict[SeriesKey, list] = {}
    for item in Phantoms(patients=14, seed=3, second_study=0, **SMALL):
        series.setdefault(item.key, []).append(item)
    for items in series.values():
        found.setdefault(dataset(items[0]).Manufacturer, items)
    return found


def test_names_order_and_hints():
    items = list(Phantoms(patients=3, second_study=1, **SMALL))
    assert len(items) == 3 * 2 * 8
    assert items[0].name == "patient-00000/study-1/slice-0001.dcm"
    assert items[-1].name == "patient-00002/study-2/slice-0008.dcm"
    assert [item.name for item in items] == sorted(item.name for item in items)
    assert len({label(item) for item in items[:16]}) == 1
    assert items[0].hints.patient is None


def test_the_same_seed_and_patient_give_the_same_bytes():
    few = {i.name: i for i in Phantoms(patients=10, seed=5, **SMALL)}
    many = {i.name: i for i in Phantoms(patients=25, seed=5, **SMALL)}
    other = {i.name: i for i in Phantoms(patients=10, seed=6, **SMALL)}
    name = "patient-00007/study-1/slice-0004.dcm"
    assert set(few) < set(many)
    assert all(few[each].key == many[each].key for each in few)
    assert few[name].read(LIMIT) == many[name].read(LIMIT)
    assert few[name].read(LIMIT) != other[name].read(LIMIT)


def test_a_pickled_item_gives_the_same_bytes():
    item = list(Phantoms(patients=1, **SMALL))[3]
    assert pickle.loads(pickle.dumps(item)).read(LIMIT) == item.read(LIMIT)
    assert len(pickle.dumps(item)) < 600
    with pytest.raises(ItemError) as caught:
        item.read(100)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize(
    ("patients", "fraction"), [(40, 0.5), (25, 0.5), (7, 0.3), (120, 0.25), (10, 0), (10, 1)]
)
def test_the_share_of_nodules_is_exact(patients, fraction):
    found = Counter(labels(patients=patients, nodule_fraction=fraction))
    assert found["present"] == round(patients * fraction)
    assert found.total() == patients


def test_the_order_of_labels_is_random_and_balanced_in_blocks():
    order = labels(patients=100, seed=1)
    assert all(order[n : n + 10].count("present") == 5 for n in range(0, 100, 10))
    assert len({tuple(order[n : n + 10]) for n in range(0, 100, 10)}) > 5


def test_without_balance_each_patient_has_a_nodule_by_chance():
    counts = {Counter(labels(patients=50, balanced=False, seed=seed))["present"] for seed in range(4)}
    assert len(counts) > 1
    assert all(12 < count < 38 for count in counts)


def test_nothing_but_the_nodule_tells_the_two_apart():
    for patient in range(6):
        with_nodule = random_anatomy((1, patient), nodule=True, radius=(4, 10))
        without = random_anatomy((1, patient), nodule=False, radius=(4, 10))
        assert with_nodule.nodules
        assert not without.nodules
        assert with_nodule.vessels == without.vessels
        assert with_nodule.lungs == without.lungs


def test_nodules_lie_in_a_lung_and_in_the_field_of_view():
    least = min(scanner.cover for scanner in SCANNERS) / 2 - 5
    for patient in range(200):
        anatomy = random_anatomy((9, patient), nodule=True, radius=(4, 10))
        for nodule in anatomy.nodules:
            assert min(lung.depth(nodule.centre) for lung in anatomy.lungs) < 0.76
            assert all(organ.depth(nodule.centre) > 1 for organ in anatomy.organs)
            assert abs(nodule.centre[2]) < least
            assert 4 * 0.85 <= min(nodule.radii) <= max(nodule.radii) <= 10 * 1.2


def volume(key: SeriesKey):
    """HU and LPS mm of all voxels, from the files alone."""
    slices = [pydicom.dcmread(io.BytesIO(phantom_file(key, n + 1))) for n in range(key.shape[0])]
    values, places = [], []
    for each in slices:
        values.append(each.pixel_array * float(each.RescaleSlope) + float(each.RescaleIntercept))
        across, down = np.reshape(np.array(each.ImageOrientationPatient, float), (2, 3))
        row, column = np.indices((each.Rows, each.Columns))
        height, width = map(float, each.PixelSpacing)
        places.append(
            np.array(each.ImagePositionPatient, float)
            + row[..., None] * height * down
            + column[..., None] * width * across
        )
    return np.array(values), np.array(places)


@pytest.mark.parametrize("patient", range(4))
def test_the_nodule_is_in_the_files_where_the_anatomy_says(patient):
    shape = (32, 64, 64)
    with_nodule, places = volume(SeriesKey(2, patient, 1, True, shape, (5.0, 10.0), 0.0))
    without, same = volume(SeriesKey(2, patient, 1, False, shape, (5.0, 10.0), 0.0))
    np.testing.assert_array_equal(places, same)
    difference = np.abs(with_nodule - without)
    nodules = random_anatomy((2, patient), nodule=True, radius=(5.0, 10.0)).nodules
    distance = np.min([np.linalg.norm(places - n.centre, axis=-1) - max(n.radii) for n in nodules], axis=0)
    assert difference[distance > 16].max() < 2
    for nodule in nodules:
        near = np.linalg.norm(places - nodule.centre, axis=-1) < 5
        assert difference[near].max() > 100


@pytest.mark.parametrize("patient", range(3))
def test_noise_is_what_the_scanner_says(patient):
    shape = (16, 64, 64)
    noisy, _ = volume(SeriesKey(4, patient, 1, False, shape, (4.0, 10.0), 1.0))
    clean, _ = volume(SeriesKey(4, patient, 1, False, shape, (4.0, 10.0), 0.0))
    first = pydicom.dcmread(
        io.BytesIO(phantom_file(SeriesKey(4, patient, 1, False, shape, (4.0, 10.0), 0.0), 1))
    )
    (scanner,) = (each for each in SCANNERS if each.letter == first.Manufacturer[-1])
    # In air, the unsigned scanners cut negative noise off.
    assert np.std((noisy - clean)[clean > -500]) == pytest.approx(scanner.noise, rel=0.1)


@pytest.mark.slow
def test_the_task_is_learnable_but_not_by_brightness():
    blobs: dict[bool, list[float]] = {True: [], False: []}
    means: dict[bool, list[float]] = {True: [], False: []}
    for item in Phantoms(patients=40, seed=1, second_study=0):
        if item.number == 1:
            key = item.key
            scan, common = _series(key)
            (scanner,) = (each for each in SCANNERS if each.letter == common.Manufacturer[-1])
            values = scan.stored.astype(float) * scanner.slope + scanner.intercept
            blobs[key.nodule].append(blobness(values))
            means[key.nodule].append(float(values.mean()))
    assert area_under_curve(blobs) > 0.9
    assert 0.25 < area_under_curve(means) < 0.75


def blobness(values) -> float:
    """How round the roundest bright thing among the lungs is: the least negative curvature, at its peak."""
    scaled = np.clip((values + 1000) / 1200, 0, 1)
    curvature = np.empty((*values.shape, 3, 3))
    for one in range(3):
        for two in range(3):
            order = np.bincount([one, two], minlength=3)
            curvature[..., one, two] = ndimage.gaussian_filter(scaled, 1.0, order=order)
    bright = ndimage.gaussian_filter(scaled, 1.0) > 0.5
    body = ndimage.binary_erosion(ndimage.binary_fill_holes(bright.any(axis=0)), iterations=9)
    return float((-np.linalg.eigvalsh(curvature)[..., 2] * body).max())


def area_under_curve(scores: dict[bool, list[float]]) -> float:
    return float(np.mean(np.array(scores[True])[:, None] > np.array(scores[False])))


def test_every_scanner_writes_valid_files():
    found = one_of_each()
    assert sorted(found) == [f"voxlake phantom {letter}" for letter in "ABCD"]
    syntaxes = set()
    for items in found.values():
        first = dataset(items[0])
        syntaxes.add(first.file_meta.TransferSyntaxUID.name)
        assert sniff(items[0].read(LIMIT)) == "dicom"
        assert (first.Modality, first.BodyPartExamined) == ("CT", "CHEST")
        assert "synthetic" in first.ImageComments
        assert first.pixel_array.shape == (16, 24)
        uids = {dataset(item).SOPInstanceUID for item in items}
        assert len(uids) == 8
        assert all(uid.is_valid for uid in uids)
        steps = np.diff([float(dataset(item).ImagePositionPatient[2]) for item in items])
        np.testing.assert_allclose(np.abs(steps), float(first.SpacingBetweenSlices), atol=2e-6)
    assert syntaxes == {"Explicit VR Little Endian", "RLE Lossless"}


def test_identities_are_made_up_and_stay_with_the_patient():
    items = [i for i in Phantoms(patients=2, seed=8, second_study=1, **SMALL) if i.number == 1]
    sets = [dataset(item) for item in items]
    assert [str(each.PatientName) for each in sets] == ["Phantom^000"] * 2 + ["Phantom^001"] * 2
    assert [each.PatientID for each in sets] == ["PHANTOM-8-00000"] * 2 + ["PHANTOM-8-00001"] * 2
    assert sets[0].StudyInstanceUID != sets[1].StudyInstanceUID
    assert sets[0].StudyDate < sets[1].StudyDate
    assert sets[0].PatientBirthDate == sets[1].PatientBirthDate


def test_other_settings_make_other_objects():
    def uid(**settings):
        return dataset(next(iter(Phantoms(**SMALL | settings)))).SOPInstanceUID

    assert len({uid(), uid(noise=2.0), uid(seed=1), uid(slices=9), uid(largest=9.0)}) == 5
    assert uid(patients=50) == uid()


def test_the_url_form():
    source = open_source("phantoms:?patients=4&seed=1&noise=0.5&balanced=false")
    assert source == Phantoms(patients=4, seed=1, noise=0.5, balanced=False)
    assert source.labels_digest == Phantoms(patients=4, seed=1, noise=0.5, balanced=False).digest()
    assert open_source("phantoms:") == Phantoms()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("phantoms:?patient=4", "did you mean 'patients'"),
        ("phantoms:?patients=many", "patients"),
        ("phantoms:?patients=0", "patients"),
        ("phantoms:?seed=1&seed=2", "'seed' is given twice"),
        ("phantoms:?smallest=9&largest=5", "above largest"),
    ],
)
def test_mistakes_in_the_url_are_explained(url, message):
    with pytest.raises(SettingsError, match=message):
        open_source(url)
