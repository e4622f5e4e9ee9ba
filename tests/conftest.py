"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder of the real images; the test is skipped where it is absent."""
    folder = Path(os.environ.get("VOXLAKE_TEST_DATA", _BESIDE))
    if not (folder / "README.md").is_file():
        pytest.skip("no real images: put them in ../shared/data or set VOXLAKE_TEST_DATA")
    return folder
