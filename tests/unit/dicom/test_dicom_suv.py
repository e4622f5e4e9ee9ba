from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.volume import Volume
from voxlake.dicom.physics import read_physics
from voxlake.dicom.suv import SUV_COLUMNS, as_measured
from voxlake.processing.suv import Suv

# 70 kg, 1.75 m, 370 MBq of 18F, an hour before the scan.
WEIGHT, HEIGHT, DOSE, HALF_LIFE, SECONDS = 70.0, 1.75, 370e6, 6588.0, 3600.0
LEFT = DOSE * 0.5 ** (SECONDS / HALF_LIFE)


def pet(**changes: object) -> Dataset:
    dataset = Dataset()
    dataset.Modality, dataset.Units, dataset.DecayCorrection = "PT", "BQML", "START"
    dataset.PatientWeight, dataset.PatientSize, dataset.PatientSex = WEIGHT, HEIGHT, "M"
    dataset.SeriesDate = dataset.AcquisitionDate = "20200101"
    dataset.SeriesTime, dataset.AcquisitionTime = "110000", "110500"
    drug = Dataset()
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = DOSE, HALF_LIFE
    drug.RadiopharmaceuticalStartTime = "100000"
    dataset.RadiopharmaceuticalInformationSequence = Sequence([drug])
    for keyword, value in changes.items():
        holder = drug if keyword.startswith("Radio") else dataset
        if value is None:
            delattr(holder, keyword)
        else:
            setattr(holder, keyword, value)
    return dataset


def factors(**changes: object) -> dict[str, float | None]:
    found = read_physics(pet(**changes))
    return {column: found[column] for column in SUV_COLUMNS}


def test_body_weight_by_hand():
    assert factors()["suv_bw_factor"] == pytest.approx(70_000 / LEFT, rel=1e-12)
    assert factors(DecayCorrection="ADMIN")["suv_bw_factor"] == pytest.approx(70_000 / DOSE, rel=1e-12)


def test_lean_and_ideal_masses_and_surface_by_hand():
    man, woman = factors(), factors(PatientSex="F")
    # Body mass index 22.857; figures worked out with a pocket calculator from the papers' formulas.
    assert man["suv_lbm_janma_factor"] * LEFT == pytest.approx(55_857, abs=1)
    assert woman["suv_lbm_janma_factor"] * LEFT == pytest.approx(45_197, abs=1)
    assert man["suv_lbm_james128_factor"] * LEFT == pytest.approx(56_520, abs=1)
    assert woman["suv_lbm_james128_factor"] * LEFT == pytest.approx(51_220, abs=1)
    assert man["suv_ibw_factor"] * LEFT == pytest.approx(72_380, abs=1)
    assert woman["suv_ibw_factor"] * LEFT == pytest.approx(66_430, abs=1)
    assert man["suv_bsa_factor"] * LEFT == pytest.approx(18_480, rel=2e-3)
    assert man["suv_bsa_factor"] == woman["suv_bsa_factor"]


def test_a_height_in_centimetres_is_understood():
    assert factors(PatientSize=175.0) == factors()


@pytest.mark.parametrize(
    "missing",
    [
        {"PatientWeight": None},
        {"PatientWeight": 0},
        {"RadionuclideTotalDose": None},
        {"RadionuclideTotalDose": 0},
        {"RadionuclideHalfLife": None},
        {"RadiopharmaceuticalStartTime": None},
        {"DecayCorrection": "NONE"},
        {"Units": "CNTS"},
        {"Units": "PROPCPS"},
        {"Modality": "CT", "PatientWeight": None},
    ],
    ids=str,
)
def test_nothing_is_made_up(missing):
    assert set(factors(**missing).values()) == {None}


def test_without_height_or_sex_only_what_they_are_not_needed_for():
    assert [name for name, value in factors(PatientSize=None).items() if value] == ["suv_bw_factor"]
    assert [name for name, value in factors(PatientSex="O").items() if value] == [
        "suv_bw_factor",
        "suv_bsa_factor",
    ]


def test_the_factors_of_philips():
    counts = pet(Units="CNTS")
    block = counts.private_block(0x7053, "Philips PET Private Group", create=True)
    block.add_new(0x09, "DS", "2.5")
    assert read_physics(counts)["suv_bw_factor"] == pytest.approx(2.5 * 70_000 / LEFT)
    block.add_new(0x00, "DS", "0.0004")
    found = read_physics(counts)
    # The factor for SUV goes before the one for activity, and needs neither dose nor time.
    assert found["suv_bw_factor"] == pytest.approx(0.0004)
    assert found["suv_bsa_factor"] / found["suv_bw_factor"] == pytest.approx(18_480 / 70_000, rel=2e-3)
    del counts[0x7053, 0x1000]
    block.add_new(0x00, "DS", "0")
    assert read_physics(counts)["suv_bw_factor"] == pytest.approx(2.5 * 70_000 / LEFT)


def test_values_that_are_suv_already():
    ready = factors(Units="GML", RadionuclideTotalDose=None)
    assert ready["suv_bw_factor"] == 1
    assert ready["suv_lbm_james128_factor"] == pytest.approx(56_520 / 70_000, rel=1e-4)
    lean = factors(Units="GML", SUVType="LBMJANMA")
    assert lean["suv_lbm_janma_factor"] == 1
    assert lean["suv_bw_factor"] == pytest.approx(70_000 / 55_857, rel=1e-4)
    assert factors(Units="CM2ML", SUVType="BSA", PatientWeight=None)["suv_bsa_factor"] == 1
    assert set(factors(Units="GML", SUVType="LBM").values()) == {None}


def volume_of(rows: list[dict[str, object]]) -> Volume:
    values = np.full((len(rows), 2, 2), 1000.0, np.float32)
    return as_measured(Volume(values, Grid.from_spacing(values.shape, (3, 4, 4)), modality="PT"), rows)


def row(**changes: object) -> dict[str, object]:
    return {"modality": "PT", "units": "BQML", "suv_type": None, **factors(), **changes}


def test_a_volume_knows_its_unit_and_factors_until_its_unit_changes():
    volume = volume_of([row(), row()])
    assert volume.unit == "Bq/ml"
    assert set(volume.conversions) == set(SUV_COLUMNS.values())
    suv = Suv()(volume)
    assert suv.unit == "SUVbw"
    assert suv.numpy() == pytest.approx(1000 * 70_000 / LEFT, rel=1e-6)
    assert suv.lineage.steps == ("suv@1",)
    assert suv.conversions == {}
    again = Suv()(suv)
    assert (again.unit, again.lineage.steps) == ("SUVbw", ("suv@1", "suv@1"))
    np.testing.assert_array_equal(again.numpy(), suv.numpy())
    assert Suv(kind="bsa")(volume).unit == "SUVbsa"


def test_a_step_that_keeps_the_unit_keeps_the_factors():
    volume = volume_of([row()])
    moved = volume.with_data(volume.numpy()[:, ::-1], step="flip@1")
    assert moved.conversions == volume.conversions


def test_slices_with_other_factors_or_units_have_none():
    assert volume_of([row(), row(suv_bw_factor=1.0)]).conversions.keys() == set(SUV_COLUMNS.values()) - {
        "SUVbw"
    }
    mixed = volume_of([row(), row(units="GML")])
    assert mixed.unit == "arbitrary"
    with pytest.raises(ItemError) as caught:
        Suv()(volume_of([row(suv_bw_factor=None)]))
    assert caught.value.reason == "step_failed"


def test_other_modalities_are_left_alone():
    volume = Volume(np.zeros((1, 2, 2)), Grid.from_spacing((1, 2, 2), (1, 1, 1)), modality="CT")
    assert as_measured(volume, [{**row(), "modality": "CT"}]) is volume
