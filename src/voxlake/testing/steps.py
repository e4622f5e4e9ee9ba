"""The contract of a step, as a test suite.

Subclass `StepContract`, give it steps, and run pytest::

    @pytest.mark.parametrize("step", [MyStep(strength=2.0)], ids=lambda step: step.tag)
    class TestMySteps(StepContract):
        pass
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, get_args

import numpy as np
import pytest

from voxlake.core.errors import FlatGridError, GeometryError, ItemError, SettingsError
from voxlake.core.grid import Grid
from voxlake.core.mask_step import MaskEdit, MaskStep
from voxlake.core.plan import Plan
from voxlake.core.step import Step
from voxlake.core.volume import Lineage, Unit, Volume

__all__ = ["StepContract", "changed_settings", "sample_volumes"]

_Part = TypeVar("_Part", Step, MaskStep, MaskEdit)
_UNITS: tuple[str, ...] = get_args(Unit)
_POOL: tuple[Any, ...] = (1, 2.0, 0.5, 1e3, -1e3, "keep", "minimum", "nonzero", "LPS", "row", "bsa", *_UNITS)


_SUV: Mapping[Unit, float] = MappingProxyType(
    {
        "SUVbw": 2e-4,
        "SUVlbm(Janma)": 1.5e-4,
        "SUVlbm(James128)": 1.6e-4,
        "SUVbsa": 5e-5,
        "SUVibw": 1.9e-4,
    }
)


def sample_volumes() -> dict[str, Volume]:
    """One volume of every kind that a step must cope with, made new on each call."""
    random = np.random.default_rng(7)
    solid = Grid.from_spacing((7, 12, 10), (2.5, 0.7, 0.9), frame="2.25.1")
    slab = Grid.from_spacing((1, 12, 10), (5.0, 0.7, 0.7))
    flat = Grid.flat_image((12, 10))
    hounsfield = random.integers(-1000, 1500, solid.shape).astype(np.int16)
    real = random.normal(100, 30, solid.shape).astype(np.float32)
    holed = real.copy()
    holed[0, 0, 0] = np.nan
    lineage = Lineage(inputs=("0" * 64,), steps=("made for a test",))
    return {
        "integer": Volume(hounsfield, solid, "HU", "CT", lineage),
        "real": Volume(real, solid, "arbitrary", "MR", lineage),
        "one slice": Volume(hounsfield[:1], slab, "HU", "CT", lineage),
        "flat": Volume(
            random.integers(0, 256, flat.shape).astype(np.uint8), flat, "arbitrary", "DX", lineage
        ),
        "rgb": Volume(
            random.integers(0, 256, (*flat.shape, 3)).astype(np.uint8), flat, "arbitrary", "US", lineage
        ),
        "constant": Volume(np.full(solid.shape, 0.1, dtype=np.float32), solid, "arbitrary", "MR", lineage),
        "double": Volume(real.astype(np.float64), solid, "SUVbw", "PT", lineage),
        "PET": Volume(np.abs(real), solid, "Bq/ml", "PT", lineage, _SUV),
        "with NaN": Volume(holed, solid, "arbitrary", "MR", lineage),
    }


def changed_settings(step: _Part) -> Iterator[tuple[str, _Part]]:
    """For each setting, its name and the step, method or edit with another valid value of it.

    Raises
    ------
    AssertionError
        No other valid value was found for a setting.
    """
    for key in type(step).model_fields:
        values = step.model_dump()
        for candidate in _others(values[key], type(step).model_fields[key].annotation):
            try:
                other = type(step).read({**values, key: candidate})
            except SettingsError:
                continue
            if other != step:
                yield key, other
                break
        else:
            raise AssertionError(f"{step.name}: found no other valid value for '{key}'")


def _others(value: Any, annotation: Any) -> Iterator[Any]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1, value - 1, value * 0.5, value + 0.25)
    elif isinstance(value, str):
        yield value[::-1]
    elif isinstance(value, tuple | list):
        for place, item in enumerate(value):
            for other in _others(item, None):
                yield (*value[:place], other, *value[place + 1 :])
        yield value[:-1]
    yield from getattr(annotation, "__args__", ())
    yield from _POOL


def _apply(step: Step, volume: Volume) -> Volume | None:
    """The result, or None where the step refuses this kind of volume clearly."""
    try:
        return step(volume)
    except (ItemError, GeometryError) as error:
        refusal = error
    assert len(str(refusal)) > 10, f"{step.name} refuses without saying why"
    if isinstance(refusal, ItemError):
        assert refusal.reason == "step_failed", f"{step.name} refuses with the reason {refusal.reason}"
    if isinstance(refusal, FlatGridError):
        assert volume.grid.flat, f"{step.name} takes a solid volume for a flat one"
    return None


def _same(one: Volume, other: Volume) -> bool:
    return (
        one.grid == other.grid
        and one.unit == other.unit
        and one.lineage == other.lineage
        and one.dtype == other.dtype
        and np.array_equal(one.numpy(), other.numpy(), equal_nan=one.dtype.kind == "f")
    )


class StepContract:
    """What every step promises; each test takes ``step``: parametrise it or make it a fixture."""

    def test_has_a_name_and_a_version(self, step: Step) -> None:
        """A plan can name it and a lineage can date it."""
        assert step.name.isidentifier()
        assert step.name == step.name.lower()
        assert step.version >= 1
        assert step.tag == f"{step.name}@{step.version}"

    def test_says_what_it_does(self, step: Step) -> None:
        """The documentation speaks of the unit and of NaN, and explains every setting."""
        text = type(step).__doc__ or ""
        missing = [word for word in ("NaN", "unit", *type(step).model_fields) if word not in text]
        assert not missing, f"{step.name}: the docstring says nothing of {missing}"

    def test_settings_are_frozen(self, step: Step) -> None:
        """Settings cannot be changed under a digest."""
        for key in type(step).model_fields:
            with pytest.raises(ValueError, match="frozen"):
                setattr(step, key, getattr(step, key))

    def test_settings_do_not_shadow_the_plan(self, step: Step) -> None:
        """`step`, `name` and `version` belong to the plan."""
        assert not {"step", "name", "version"} & set(type(step).model_fields)

    def test_settings_round_trip_through_toml(self, step: Step) -> None:
        """Written and read, it is an equal step under an equal digest; so is every changed one."""
        for each in (step, *(other for _, other in changed_settings(step))):
            plan = Plan.of([each])
            again = Plan.from_toml(plan.to_toml(), steps={step.name: type(step)})
            assert again == plan
            assert again.digest() == plan.digest()

    def test_digest_follows_every_setting(self, step: Step) -> None:
        """Two steps that differ in any setting never share a digest."""
        for key, other in changed_settings(step):
            assert other.digest() != step.digest(), f"'{key}' does not reach the digest"
            assert Plan.of([other]).digest() != Plan.of([step]).digest(), f"'{key}' is missing in the plan"

    def test_unknown_key_is_refused(self, step: Step) -> None:
        """A mistyped key is an error that names the near miss."""
        values = step.model_dump()
        for key in type(step).model_fields or ("anything",):
            with pytest.raises(SettingsError) as caught:
                type(step).read({**values, f"{key}x": 1})
            assert f"'{key}x'" in str(caught.value)
            if key in values:
                assert f"did you mean '{key}'" in str(caught.value)

    @pytest.mark.parametrize("kind", sorted(sample_volumes()))
    def test_works_or_refuses(self, step: Step, kind: str) -> None:
        """Every kind of volume either passes, whole and recorded, or is refused with a reason."""
        volume = sample_volumes()[kind]
        done = _apply(step, volume)
        if done is None:
            return
        values = done.numpy()
        assert values.shape[:3] == done.grid.shape
        assert done.shape in (done.grid.shape, (*done.grid.shape, 3))
        assert done.grid.flat == volume.grid.flat
        assert done.grid.frame == volume.grid.frame
        assert done.modality == volume.modality
        assert done.unit in _UNITS
        assert done.lineage.inputs == volume.lineage.inputs
        assert done.lineage.steps == (*volume.lineage.steps, step.tag)
        if kind != "with NaN" and values.dtype.kind == "f":
            assert np.isfinite(values).all(), f"{step.name} makes NaN or infinity out of a finite volume"

    @pytest.mark.parametrize("kind", sorted(sample_volumes()))
    def test_leaves_its_input_alone(self, step: Step, kind: str) -> None:
        """The input's values are never written to: it works on a read-only array and finds it unchanged."""
        volume, before = sample_volumes()[kind], sample_volumes()[kind]
        volume.numpy().setflags(write=False)
        _apply(step, volume)
        assert _same(volume, before)

    @pytest.mark.parametrize("kind", sorted(sample_volumes()))
    def test_is_deterministic(self, step: Step, kind: str) -> None:
        """The same volume gives the same result, bit for bit."""
        one, other = (_apply(step, sample_volumes()[kind]) for _ in range(2))
        assert (one is None) == (other is None)
        assert one is None or other is None or _same(one, other)

    def test_takes_something(self, step: Step) -> None:
        """A step that refuses every kind of volume is no step."""
        assert any(_apply(step, volume) is not None for volume in sample_volumes().values())

    def test_one_nan_does_not_drown_the_rest(self, step: Step) -> None:
        """A single NaN is refused or stays local."""
        done = _apply(step, sample_volumes()["with NaN"])
        if done is not None and done.dtype.kind == "f":
            assert np.isnan(done.numpy()).mean() < 0.5
