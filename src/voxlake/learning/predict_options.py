"""How a network is to speak; and how a run finds out how earlier ones made it speak. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.hints import hint
from voxlake.lake.lake import Lake
from voxlake.learning.model_files import model_path

__all__ = ["Axis", "Mirror", "PredictOptions", "Runtime", "agreed_options", "remember_options"]

Axis = Literal["slice", "row", "column"]
Mirror = Literal["slice", "row", "column", "none"]
Runtime = Literal["torch", "auto", "openvino", "onnxruntime"]

_AXES: tuple[Axis, ...] = get_args(Axis)
_MIRRORED = "mirrored along "
_COMPUTED = "computed by "


@dataclass(frozen=True)
class PredictOptions:
    """What changes the answers of a network.

    Parameters
    ----------
    mirror : tuple of {"slice", "row", "column"}
        Axes along which images are also mirrored, in this order; answers are averaged.
    runtime : {"torch", "auto", "openvino", "onnxruntime"}
        Who computes.
    """

    mirror: tuple[Axis, ...] = ()
    runtime: Runtime = "torch"

    @classmethod
    def of(
        cls, mirror: Iterable[str], runtime: str, *, takes: str = "image", dimensions: int = 3
    ) -> PredictOptions:
        """Options for networks of a kind.

        Parameters
        ----------
        mirror
            As above, in any order, or ``"none"``.
        runtime
            As above.
        takes : str
            What the networks take.
        dimensions : {2, 3}
            Axes of their images.

        Raises
        ------
        UsageError
            No such axis or runtime, or the networks do not see such an axis.
        """
        axes = (mirror,) if isinstance(mirror, str) else tuple(mirror)
        for axis in axes:
            if axis not in get_args(Mirror):
                raise UsageError(f"mirror '{axis}' is no axis{hint(axis, get_args(Mirror))}")
        if "none" in axes and len(axes) > 1:
            raise UsageError("mirror names axes or 'none', not both")
        axes = tuple(axis for axis in axes if axis != "none")
        if runtime not in get_args(Runtime):
            raise UsageError(f"runtime '{runtime}' is unknown{hint(runtime, get_args(Runtime))}")
        if axes and takes == "table":
            raise UsageError("the model takes a table and no image; leave 'mirror' out")
        if "slice" in axes and dimensions == 2:
            raise UsageError(
                "the model sees single images, which have no slices; leave 'slice' out of 'mirror'"
            )
        if runtime in ("openvino", "onnxruntime") and takes not in ("image", "table"):
            raise UsageError(
                f"runtime '{runtime}' computes networks of one input, not of {takes}; take runtime = 'torch'"
            )
        chosen: Any = runtime
        return cls(tuple(axis for axis in _AXES if axis in axes), chosen)

    @property
    def words(self) -> str:
        """For a message."""
        mirror = json.dumps(list(self.mirror))
        return f"mirror = {mirror}, runtime = '{self.runtime}'"

    def steps(self, usual: PredictOptions) -> list[str]:
        """What a mask says of these options in its steps: nothing where they are the usual ones."""
        mirrored = [] if self.mirror == usual.mirror else [_MIRRORED + (", ".join(self.mirror) or "no axis")]
        return mirrored + ([] if self.runtime == usual.runtime else [_COMPUTED + self.runtime])

    @classmethod
    def from_steps(cls, steps: Sequence[str], usual: PredictOptions) -> PredictOptions:
        """The options by which a mask with such steps was made."""
        found: dict[str, Any] = {}
        for step in steps:
            if step.startswith(_MIRRORED):
                named = step.removeprefix(_MIRRORED).split(", ")
                found["mirror"] = tuple(axis for axis in _AXES if axis in named)
            elif step.startswith(_COMPUTED):
                found["runtime"] = step.removeprefix(_COMPUTED)
        return replace(usual, **found)

    def agree(self, made: PredictOptions, what: str) -> PredictOptions:
        """These options where others made something already; ``"auto"`` goes on with whoever computed it.

        Raises
        ------
        UsageError
            What is there was made otherwise, so that it could be taken for what is asked for.
        """
        mine = replace(self, runtime=made.runtime) if self.runtime == "auto" else self
        if mine != made:
            raise UsageError(
                f"{what} were made with {made.words}, asked for is {mine.words}; give the same options, or "
                "select those that were not predicted yet as a cohort of their own"
            )
        return mine


def agreed_options(lake: Lake, model_id: str, cohort_id: str, options: PredictOptions) -> PredictOptions:
    """The options of a run on a cohort of which the lake holds predictions of the model; see `agree`."""
    try:
        known = json.loads(lake.objects.get(_path(model_id, cohort_id)))
    except NotFoundError:
        # They were made before there was anything to choose, or with nothing chosen.
        known = {"mirror": [], "runtime": "torch"}
    made = PredictOptions.of(known["mirror"], known["runtime"])
    return options.agree(made, "predictions of this model about this cohort")


def remember_options(lake: Lake, model_id: str, cohort_id: str, options: PredictOptions) -> None:
    """Say by which options a model speaks about a cohort, before the first row is written.

    A run that is killed has no row in `runs`, but may have written predictions.
    """
    path = _path(model_id, cohort_id)
    if options != PredictOptions() or lake.objects.exists(path):
        content = {"mirror": list(options.mirror), "runtime": options.runtime}
        lake.objects.put(path, json.dumps(content).encode())


def _path(model_id: str, cohort_id: str) -> str:
    return model_path(model_id, f"predicted/{cohort_id}.json")
