"""The contracts of methods and edits of mask plans, as test suites.

Subclass `MaskStepContract` or `MaskEditContract`, give it methods or edits, and run pytest::

    @pytest.mark.parametrize("step", [MyMethod(low=2.0)], ids=lambda step: step.tag)
    class TestMyMethods(MaskStepContract):
        pass
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import pytest

from voxlake.core.errors import FlatGridError, GeometryError, ItemError, SettingsError
from voxlake.core.grid import Grid
from voxlake.core.mask_plan import MaskPlan
from voxlake.core.mask_step import MaskEdit, MaskStep
from voxlake.core.volume import Label, Lineage, Mask, Volume
from voxlake.testing.steps import changed_settings, sample_volumes

__all__ = ["MaskEditContract", "MaskStepContract", "sample_masks"]

_Part = MaskStep | MaskEdit
_NO_SUBJECTS: Mapping[str, Volume] = MappingProxyType({})


class _Anything(MaskStep):
    """Stands before an edit in a plan; NaN is background."""

    name: ClassVar[str] = "anything"

    def __call__(self, volume: Volume) -> Mask:
        """Segment the volume; the input is not changed."""
        return Mask(np.isfinite(volume.numpy()).astype(np.uint8), volume.grid)


def sample_masks() -> dict[str, tuple[Mask, Volume]]:
    """One mask of every kind that an edit must cope with, and its volume; made new on each call."""
    random = np.random.default_rng(11)
    solid = Grid.from_spacing((7, 14, 12), (2.5, 0.7, 0.9), frame="2.25.1")
    flat = Grid.flat_image((14, 12))
    labels = (Label(1, "One"), Label(3, "Three"))
    block = np.zeros(solid.shape, np.uint8)
    block[1:6, 2:9, 1:6], block[2:5, 3:11, 7:11], block[3, 5, 3] = 1, 3, 0
    block[0, 0, 0], block[6, 13, 11] = 1, 3
    speckles = (random.random(solid.shape) > 0.7).astype(np.int16) * 3
    shown = {
        "two labels": (block, solid),
        "speckles": (speckles, solid),
        "no label": (np.zeros(solid.shape, np.uint8), solid),
        "everything": (np.ones(solid.shape, np.uint8), solid),
        "yes and no": (block == 1, solid),
        "one slice": (block[3:4], Grid.from_spacing((1, 14, 12), (5.0, 0.7, 0.7))),
        "flat": (block[3:4], flat),
    }
    lineage = Lineage(inputs=("0" * 64,), steps=("made for a test",))
    return {
        kind: (
            Mask(values.copy(), grid, labels, lineage),
            Volume(random.normal(0, 1, grid.shape).astype(np.float32), grid, lineage=lineage),
        )
        for kind, (values, grid) in shown.items()
    }


def _plan(step: _Part) -> MaskPlan:
    return MaskPlan(step) if isinstance(step, MaskStep) else MaskPlan(_Anything(), clean=(step,))


def _changed(step: _Part) -> Iterator[tuple[str, _Part]]:
    # Each branch is another type to the checker.
    if isinstance(step, MaskStep):
        yield from changed_settings(step)
    else:
        yield from changed_settings(step)


def _read_back(step: _Part) -> MaskPlan:
    methods: dict[str, type[MaskStep]] = {_Anything.name: _Anything}
    edits: dict[str, type[MaskEdit]] = {}
    if isinstance(step, MaskStep):
        methods[step.name] = type(step)
    else:
        edits[step.name] = type(step)
    return MaskPlan.from_toml(_plan(step).to_toml(), steps={}, methods=methods, edits=edits)


def _refusal(step: _Part, error: ItemError | GeometryError, grid: Grid) -> None:
    assert len(str(error)) > 10, f"{step.name} refuses without saying why"
    if isinstance(error, ItemError):
        assert error.reason == "step_failed", f"{step.name} refuses with the reason {error.reason}"
    if isinstance(error, FlatGridError):
        assert grid.flat, f"{step.name} takes a solid volume for a flat one"


def _same(one: Mask, other: Mask) -> bool:
    return (
        one.grid == other.grid
        and one.lineage == other.lineage
        and tuple(one.labels) == tuple(other.labels)
        and one.numpy().dtype == other.numpy().dtype
        and np.array_equal(one.numpy(), other.numpy())
    )


class _PartContract:
    """What methods and edits promise alike; each test takes ``step``."""

    def test_has_a_name_and_a_version(self, step: _Part) -> None:
        """A mask plan can name it and a lineage can date it."""
        assert step.name.isidentifier()
        assert step.name == step.name.lower()
        assert step.version >= 1
        assert step.tag == f"{step.name}@{step.version}"

    def test_says_what_it_does(self, step: _Part) -> None:
        """The documentation explains every setting, and a method's speaks of NaN."""
        text = type(step).__doc__ or ""
        words = (*type(step).model_fields, *(("NaN",) if isinstance(step, MaskStep) else ()))
        missing = [word for word in words if word not in text]
        assert not missing, f"{step.name}: the docstring says nothing of {missing}"

    def test_settings_are_frozen(self, step: _Part) -> None:
        """Settings cannot be changed under a digest."""
        for key in type(step).model_fields:
            with pytest.raises(ValueError, match="frozen"):
                setattr(step, key, getattr(step, key))

    def test_settings_do_not_shadow_the_plan(self, step: _Part) -> None:
        """`method`, `edit`, `name` and `version` belong to the mask plan."""
        assert not {"method", "edit", "name", "version"} & set(type(step).model_fields)

    def test_settings_round_trip_through_toml(self, step: _Part) -> None:
        """Written and read, it is an equal part under an equal digest; so is every changed one."""
        for each in (step, *(other for _, other in _changed(step))):
            again = _read_back(each)
            assert again == _plan(each)
            assert again.digest() == _plan(each).digest()

    def test_digest_follows_every_setting(self, step: _Part) -> None:
        """Two mask plans that differ in any setting never share a digest."""
        for key, other in _changed(step):
            assert _plan(other).digest() != _plan(step).digest(), f"'{key}' does not reach the digest"

    def test_unknown_key_is_refused(self, step: _Part) -> None:
        """A mistyped key is an error that names the near miss."""
        values = step.model_dump()
        for key in type(step).model_fields or ("anything",):
            with pytest.raises(SettingsError) as caught:
                type(step).read({**values, f"{key}x": 1})
            assert f"'{key}x'" in str(caught.value)
            if key in values:
                assert f"did you mean '{key}'" in str(caught.value)


class MaskStepContract(_PartContract):
    """What every method promises: parametrise ``step`` or make it a fixture.

    Attributes
    ----------
    subjects : mapping of str to Volume
        By the name of a method, a volume that it takes where it takes none of the samples: an organ has to
        be there to be found.
    """

    subjects: Mapping[str, Volume] = _NO_SUBJECTS

    @staticmethod
    def apply(step: MaskStep, volume: Volume) -> Mask | None:
        """The mask, or None where the method refuses this kind of volume clearly."""
        try:
            return step(volume)
        except (ItemError, GeometryError) as error:
            _refusal(step, error, volume.grid)
            return None

    @pytest.mark.parametrize("kind", sorted(sample_volumes()))
    def test_works_or_refuses(self, step: MaskStep, kind: str) -> None:
        """Every kind of volume gives a whole, recorded mask, bit for bit again, and is left as it was."""
        volume, before = sample_volumes()[kind], sample_volumes()[kind].numpy()
        volume.numpy().setflags(write=False)
        mask, again = self.apply(step, volume), self.apply(step, sample_volumes()[kind])
        assert np.array_equal(volume.numpy(), before, equal_nan=before.dtype.kind == "f")
        assert (mask is None) == (again is None)
        if mask is not None and again is not None:
            assert _same(mask, again), f"{step.name} does not give the same mask again"
            self._check(step, mask, volume)

    def test_takes_something(self, step: MaskStep) -> None:
        """A method that refuses every volume is none."""
        subject = self.subjects.get(step.name)
        volumes = sample_volumes().values() if subject is None else [subject]
        masks = [(self.apply(step, volume), volume) for volume in volumes]
        assert any(mask is not None and mask.numpy().any() for mask, _ in masks)
        for mask, volume in masks:
            if mask is not None:
                self._check(step, mask, volume)

    def test_nan_is_no_foreground(self, step: MaskStep) -> None:
        """A NaN is refused, or lies in no region."""
        volume = sample_volumes()["with NaN"]
        mask = self.apply(step, volume)
        if mask is not None:
            assert not mask.numpy()[np.isnan(volume.numpy())].any()

    @staticmethod
    def _check(step: MaskStep, mask: Mask, volume: Volume) -> None:
        assert mask.grid == volume.grid
        assert mask.lineage.inputs == volume.lineage.inputs
        assert mask.lineage.steps == (*volume.lineage.steps, step.tag)
        meant = {label.value for label in mask.labels}
        assert len(meant) == len(mask.labels)
        assert set(np.unique(mask.numpy()).tolist()) - {0} <= meant, f"{step.name}: values without a label"


class MaskEditContract(_PartContract):
    """What every edit promises: parametrise ``step`` or make it a fixture."""

    @staticmethod
    def apply(step: MaskEdit, mask: Mask, volume: Volume) -> Mask | None:
        """The mask, or None where the edit refuses this kind of mask clearly."""
        try:
            return step(mask, volume)
        except (ItemError, GeometryError) as error:
            _refusal(step, error, mask.grid)
            return None

    @pytest.mark.parametrize("kind", sorted(sample_masks()))
    def test_works_or_refuses(self, step: MaskEdit, kind: str) -> None:
        """Every kind of mask gives one with the same meaning, again and again, and is left as it was."""
        (mask, volume), (before, _) = sample_masks()[kind], sample_masks()[kind]
        mask.numpy().setflags(write=False)
        done, again = self.apply(step, mask, volume), self.apply(step, *sample_masks()[kind])
        assert _same(mask, before), f"{step.name} changes its input"
        assert (done is None) == (again is None)
        if done is None or again is None:
            return
        assert _same(done, again), f"{step.name} does not give the same mask again"
        assert done.grid == mask.grid
        assert tuple(done.labels) == tuple(mask.labels)
        assert done.lineage.inputs == mask.lineage.inputs
        assert done.lineage.steps == (*mask.lineage.steps, step.tag)
        old, new = (set(np.unique(one.numpy().astype(np.int64)).tolist()) for one in (mask, done))
        assert new - {0} <= old, f"{step.name} makes values that were not there"

    def test_changes_something(self, step: MaskEdit) -> None:
        """An edit that leaves every mask as it is, is none."""
        pairs = [(mask, self.apply(step, mask, volume)) for mask, volume in sample_masks().values()]
        assert any(
            done is not None and not np.array_equal(done.numpy(), mask.numpy()) for mask, done in pairs
        )
