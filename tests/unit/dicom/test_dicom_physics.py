from __future__ import annotations

import struct
from datetime import datetime

import numpy as np
import pytest
from pydicom.dataset import Dataset

from voxlake.dicom.physics import PHYSICS, read_physics
from voxlake.dicom.siemens import csa_values
from voxlake.dicom.times import parse_moment


def private(dataset: Dataset, group: int, creator: str, element: int, vr: str, value) -> Dataset:
    dataset.private_block(group, creator, create=True).add_new(element, vr, value)
    return dataset


def csa(values: dict[str, list[str]], items: int = 6) -> bytes:
    body = b"SV10" + b"\4\3\2\1" + struct.pack("<II", len(values), 77)
    for name, texts in values.items():
        body += struct.pack("<64si4siii", name.encode(), len(texts), b"FD\0\0", 4, items, 77)
        for text in [*texts, *[""] * (items - len(texts))]:
            raw = text.encode() + b"\0" if text else b""
            body += struct.pack("<4i", len(raw), len(raw), 77, len(raw)) + raw + bytes(-len(raw) % 4)
    return body


def test_an_object_without_physics_has_nulls(make):
    assert read_physics(make()) == dict.fromkeys(PHYSICS)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ((0x0019, "SIEMENS MR HEADER", 0x0C, "IS", "1000"), 1000.0),
        ((0x0019, "SIEMENS MR HEADER", 0x0C, "UN", b"1000"), 1000.0),
        ((0x0019, "OTHER", 0x0C, "IS", "1000"), None),
        ((0x2001, "Philips Imaging DD 001", 0x03, "FL", 800.0), 800.0),
        ((0x0065, "Image Private Header", 0x09, "FD", 929.75), 929.75),
        ((0x0043, "GEMS_PARM_01", 0x39, "IS", [1000000700, 8, 0, 0]), 700.0),
        ((0x0043, "GEMS_PARM_01", 0x39, "IS", [700, 8, 0, 0]), 700.0),
        # GE writes 0 into every MR image, diffusion or not.
        ((0x0043, "GEMS_PARM_01", 0x39, "IS", [0, 8, 0, 0]), None),
    ],
)
def test_b_values_of_the_vendors(make, place, expected):
    assert read_physics(private(make(), *place))["diffusion_b_value"] == expected


def test_ge_zero_counts_in_a_diffusion_series(make):
    dataset = private(make(), 0x0043, "GEMS_PARM_01", 0x39, "IS", [0, 8, 0, 0])
    private(dataset, 0x0019, "GEMS_ACQU_01", 0xE0, "DS", "32")
    assert read_physics(dataset)["diffusion_b_value"] == 0.0


def test_the_standard_element_comes_first(make):
    dataset = private(make(DiffusionBValue=500.0), 0x0019, "SIEMENS MR HEADER", 0x0C, "IS", "1000")
    assert read_physics(dataset)["diffusion_b_value"] == 500.0


def test_b_value_of_frames_if_they_agree(make):
    def frame(value: float) -> Dataset:
        diffusion, group = Dataset(), Dataset()
        diffusion.DiffusionBValue = value
        direction = Dataset()
        direction.DiffusionGradientOrientation = [0.0, 0.6, 0.8]
        diffusion.DiffusionGradientDirectionSequence = [direction]
        group.MRDiffusionSequence = [diffusion]
        return group

    same = make(np.zeros((2, 2, 2), np.int16), PerFrameFunctionalGroupsSequence=[frame(800), frame(800)])
    assert read_physics(same)["diffusion_b_value"] == 800.0
    assert read_physics(same)["diffusion_gradient"] == [0.0, 0.6, 0.8]
    other = make(np.zeros((2, 2, 2), np.int16), PerFrameFunctionalGroupsSequence=[frame(0), frame(800)])
    assert read_physics(other)["diffusion_b_value"] is None


def test_csa_header_is_the_fallback(make):
    header = csa({"Other": ["1"], "B_value": ["1000"], "DiffusionGradientDirection": ["0.6", "0", "-0.8"]})
    physics = read_physics(private(make(), 0x0029, "SIEMENS CSA HEADER", 0x10, "OB", header))
    assert physics["diffusion_b_value"] == 1000.0
    assert physics["diffusion_gradient"] == [0.6, 0.0, -0.8]


def test_csa_values_reads_names_and_padded_items():
    header = csa({"A": ["x", "longer text"], "B": []})
    assert csa_values(header, frozenset({"A", "B"})) == {"A": ["x", "longer text"], "B": []}


def test_a_damaged_csa_header_gives_what_stands_before_the_damage():
    header = csa({"A": ["1"], "B": ["2"]})
    for end in range(len(header)):
        found = csa_values(header[:end], frozenset({"A", "B"}))
        assert found.get("A", ["1"]) in ([], ["1"])
    assert csa_values(b"\0" * 100, frozenset({"A"})) == {}


def test_siemens_gradient_and_mosaic(make):
    dataset = private(
        make(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), 0x0019, "SIEMENS MR HEADER", 0x0A, "US", 36
    )
    private(dataset, 0x0019, "SIEMENS MR HEADER", 0x0E, "FD", [0.0, 1.0, 0.0])
    physics = read_physics(dataset)
    assert physics["mosaic_tiles"] == 36
    assert physics["diffusion_gradient"] == [0.0, 1.0, 0.0]


def test_uih_gradient_is_turned_into_the_patient_frame(make):
    dataset = make(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    private(dataset, 0x0065, "Image Private Header", 0x37, "FD", [0.6, 0.8, 0.0])
    np.testing.assert_allclose(read_physics(dataset)["diffusion_gradient"], [0.0, 0.6, -0.8])
    private(dataset, 0x0065, "Image Private Header", 0x50, "DS", "20")
    assert read_physics(dataset)["mosaic_tiles"] == 20


def test_a_zero_gradient_is_none(make):
    dataset = make(DiffusionGradientOrientation=[0.0, 0.0, 0.0])
    assert read_physics(dataset)["diffusion_gradient"] is None


def pet(make, drug: dict[str, str], **elements: str) -> float | None:
    item = Dataset()
    for keyword, value in drug.items():
        setattr(item, keyword, value)
    dataset = make(RadiopharmaceuticalInformationSequence=[item])
    stated = {
        "SeriesDate": "20240105",
        "SeriesTime": "120000",
        "AcquisitionDate": "20240105",
        "AcquisitionTime": "120200",
    } | elements
    for keyword, value in stated.items():
        setattr(dataset, keyword, value)
    return read_physics(dataset)["injection_to_scan"]


@pytest.mark.parametrize(
    ("drug", "elements", "seconds"),
    [
        ({"RadiopharmaceuticalStartTime": "110000"}, {}, 3600.0),
        ({"RadiopharmaceuticalStartTime": "110000.5"}, {}, 3599.5),
        ({"RadiopharmaceuticalStartDateTime": "20240105110000.000000+0100"}, {}, 3600.0),
        # Over midnight, with and without a date.
        (
            {"RadiopharmaceuticalStartTime": "233000"},
            {"SeriesTime": "003000", "AcquisitionTime": "003100"},
            3600.0,
        ),
        (
            {"RadiopharmaceuticalStartDateTime": "20240104233000"},
            {"SeriesTime": "003000", "AcquisitionTime": "003100"},
            3600.0,
        ),
        # Dates shifted apart: the time of day is what is left.
        ({"RadiopharmaceuticalStartDateTime": "20200105110000"}, {}, 3600.0),
        # The series was written after the acquisition: the acquisition counts.
        ({"RadiopharmaceuticalStartTime": "110000"}, {"SeriesTime": "150000"}, 3720.0),
        ({"RadiopharmaceuticalStartTime": "110000"}, {"SeriesTime": ""}, 3720.0),
        ({"RadiopharmaceuticalStartTime": ""}, {}, None),
        ({"RadiopharmaceuticalStartTime": "110000"}, {"SeriesTime": "", "AcquisitionTime": ""}, None),
        ({}, {}, None),
    ],
)
def test_seconds_from_injection_to_scan(make, drug, elements, seconds):
    assert pet(make, drug, **elements) == seconds


def test_ge_scan_time_comes_before_the_acquisition_of_a_rewritten_series(make):
    drug = Dataset()
    drug.RadiopharmaceuticalStartTime = "110000"
    dataset = make(
        RadiopharmaceuticalInformationSequence=[drug],
        SeriesDate="20240105", SeriesTime="150000", AcquisitionDate="20240105", AcquisitionTime="121000",
    )  # fmt: skip
    private(dataset, 0x0009, "GEMS_PETD_01", 0x0D, "DT", "20240105120000")
    assert read_physics(dataset)["injection_to_scan"] == 3600.0


def test_dose_and_half_life(make):
    drug = Dataset()
    drug.RadionuclideTotalDose = "370000000"
    drug.RadionuclideHalfLife = "6586.2"
    physics = read_physics(make(RadiopharmaceuticalInformationSequence=[drug]))
    assert (physics["radionuclide_total_dose"], physics["radionuclide_half_life"]) == (3.7e8, 6586.2)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("20240229235959.25", datetime(2024, 2, 29, 23, 59, 59, 250000)),
        ("2024022923", datetime(2024, 2, 29, 23)),
        ("20240230120000", None),
        ("20240229", None),
        ("", None),
        (None, None),
        ("tomorrow", None),
    ],
)
def test_parse_moment(value, moment):
    assert parse_moment(value) == moment
