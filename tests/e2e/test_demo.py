"""The demo, made small: real DICOM files, phantoms, one page."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxlake.lake.lake import open_lake
from voxlake.main_job import demo


@pytest.mark.timeout(300)
def test_the_demo_leaves_a_report(tmp_path: Path) -> None:
    run = demo(tmp_path / "demo", patients=16)
    assert run.verb == "demo"
    assert run.result["real DICOM files"] == "68 seen = 37 stored + 31 quarantined"
    assert run.result["not stored, and why"] == {"uid_conflict": 29, "invalid_uid": 1, "truncated": 1}
    assert run.result["changed by de-identification"]["uid_mapped"] > 100
    waived = run.result["pixels waived"]
    assert set(waived) == {"modality:US", "sop_class:SecondaryCaptureImageStorage"}
    assert sum(waived.values()) < 37
    assert "modality:US: test images that pydicom publishes" in run.result["waivers of the policy"]
    assert run.result["phantoms (synthetic)"] == "320 seen = 320 stored"
    page = Path(run.result["report"]).read_text()
    assert len(page) < 3_000_000
    for shown in (
        "Synthetic images",
        "68 seen = 37 stored + 31 quarantined",
        "uid_conflict",
        "Pixels that came in under a waiver of the policy",
        "test images that pydicom publishes",
        "1.2.840.10008.1.2.4.50",
    ):
        assert shown in page
    lake = open_lake(tmp_path / "demo" / "lake", create=False)
    assert lake.sql("select count(distinct modality) from series where modality <> 'SEG'").rows()[0][0] >= 6
    again = demo(tmp_path / "demo", patients=16)
    assert again.result["real DICOM files"] == "68 seen = 37 already there + 31 quarantined"
    assert "68 seen = 37 stored + 31 quarantined" in Path(again.result["report"]).read_text()
