"""Words for what went wrong, without quoting anybody."""

from __future__ import annotations

import json

import pytest

from voxlake.core.errors import GeometryError, ItemError
from voxlake.engine.attempt import attempt, describe
from voxlake.engine.contract import Failure


def raising(error: BaseException) -> None:
    raise error


def test_a_value() -> None:
    assert attempt(abs, -3) == (3, None)


def test_an_item_error_keeps_reason_and_message() -> None:
    failure = attempt(raising, ItemError("truncated", "got 3 bytes"))[1]
    assert failure == Failure("truncated", "got 3 bytes", "voxlake.core.errors.ItemError")


def test_other_errors_of_voxlake_keep_their_message() -> None:
    failure = attempt(raising, GeometryError("shapes differ"))[1]
    assert failure == Failure("error", "shapes differ", "voxlake.core.errors.GeometryError")


def test_foreign_errors_are_not_quoted() -> None:
    failure = attempt(json.loads, "{Doe^Jane")[1]
    assert failure is not None
    assert failure.error_type == "json.decoder.JSONDecodeError"
    assert failure.message.startswith("json.decoder.JSONDecodeError at json.decoder:")
    assert failure.message.rpartition(":")[2].isdigit()
    assert "Doe" not in failure.message


@pytest.mark.parametrize("error", [MemoryError("Doe"), SystemExit("Doe"), GeneratorExit("Doe")])
def test_what_is_no_exception_fails_too(error: BaseException) -> None:
    failure = attempt(raising, error)[1]
    assert failure is not None
    assert failure.error_type == type(error).__name__
    assert failure.reason == ("memory" if isinstance(error, MemoryError) else "error")
    assert "Doe" not in failure.message


def test_ctrl_c_passes_through() -> None:
    with pytest.raises(KeyboardInterrupt):
        attempt(raising, KeyboardInterrupt())


def test_an_error_that_was_never_raised() -> None:
    assert describe(ValueError("Doe")).message == "ValueError at an unknown place"
