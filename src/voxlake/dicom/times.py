"""Seconds between injection and scan."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from voxlake.dicom.elements import private, text

__all__ = ["injection_to_scan", "parse_moment"]

_DAY = timedelta(days=1)
_MOMENT = re.compile(r"(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})?(\d{2})?(\.\d{1,6})?([+-]\d{4})?")


def injection_to_scan(dataset: Dataset, drug: Dataset) -> float | None:
    """Seconds from the start of the injection to the start of the scan that values are corrected to.

    The start of the scan is SeriesDate and SeriesTime as long as that is not after the acquisition of this
    image. A series that was written anew has a later series time; then it is the scan time of GE (0009,xx0D),
    else the acquisition of this image. (The order follows the QIBA vendor-neutral pseudo-code for SUV.)

    The injection is RadiopharmaceuticalStartDateTime; where that lies more than a day before the scan or
    after it (dates of other objects were shifted), or is absent, only its time of day, or
    RadiopharmaceuticalStartTime, counts: on the day of the scan, or the day before if that would be later.
    UTC offsets are left aside: both times are local to one scanner.

    Returns
    -------
    float or None
        At least 0 and less than a day.
    """
    scan = _scan_start(dataset)
    if scan is None:
        return None
    stated = parse_moment(text(drug, "RadiopharmaceuticalStartDateTime"))
    if stated is not None and timedelta() <= scan - stated < _DAY:
        return (scan - stated).total_seconds()
    clock = stated or _combine(scan.strftime("%Y%m%d"), text(drug, "RadiopharmaceuticalStartTime"))
    if clock is None:
        return None
    injection = datetime.combine(scan.date(), clock.time())
    if injection > scan:
        injection -= _DAY
    return (scan - injection).total_seconds()


def parse_moment(value: str | None) -> datetime | None:
    """Read a DICOM DT (PS3.5 section 6.2), down to the hour at least; None if it is not one."""
    match = _MOMENT.fullmatch(value or "")
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, _offset = match.groups()
    try:
        return datetime(
            int(year), int(month), int(day), int(hour), int(minute or 0), int(second or 0),
            round(float(fraction or 0) * 1e6) % 1_000_000,
        )  # fmt: skip
    except ValueError:
        return None


def _scan_start(dataset: Dataset) -> datetime | None:
    series = _combine(text(dataset, "SeriesDate"), text(dataset, "SeriesTime"))
    acquired = _combine(text(dataset, "AcquisitionDate"), text(dataset, "AcquisitionTime"))
    if series is not None and (acquired is None or series <= acquired):
        return series
    scanned = private(dataset, 0x0009, "GEMS_PETD_01", 0x0D)
    return (parse_moment(text(dataset, scanned)) if scanned is not None else None) or acquired


def _combine(date: str | None, time: str | None) -> datetime | None:
    if date is None or time is None:
        return None
    # ACR-NEMA wrote dates with dots and times with colons.
    return parse_moment(date.replace(".", "") + time.replace(":", ""))
