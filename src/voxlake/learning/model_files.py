"""Where the files of a model lie, and how a model is found by name. Needs neither torch nor scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.hints import hint
from voxlake.networks.pretrained import PRETRAINED
from voxlake.networks.pretrained_encoders import ENCODERS

__all__ = ["find_model", "model_path"]


def model_path(model_id: str, name: str) -> str:
    """Where a file of a model lies in the lake."""
    return f"models/{model_id}/{name}"


def find_model(rows: Sequence[Mapping[str, Any]], name: str, *, make: str) -> Mapping[str, Any]:
    """The model of a name among rows of `models`, newest first.

    Parameters
    ----------
    rows : sequence of mapping
        Models.
    name : str
        Name of a task (the newest of that name), identifier, or its first characters.
    make : str
        Verb that makes such models, for the message.

    Raises
    ------
    NotFoundError
        There is no such model; a near miss is named.
    UsageError
        Several identifiers begin so, or the model is a pre-trained network, which makes masks or vectors
        only.
    """
    by_task = [row for row in rows if row["task"] == name]
    by_id = [row for row in rows if row["model_id"].startswith(name)]
    if not by_task and len(by_id) > 1:
        raise UsageError(f"{len(by_id)} models begin with '{name}'; give more characters")
    found = (by_task or by_id)[:1]
    pretrained = found[0]["task"] if found else name
    if pretrained in ENCODERS:
        raise UsageError(
            f"'{pretrained}' is a pre-trained encoder, which answers nothing; run `voxlake embed COHORT "
            f"--model {pretrained}` and mine its vectors"
        )
    if pretrained in PRETRAINED:
        raise UsageError(
            f"'{pretrained}' is a pre-trained network that makes masks; name it in a mask plan "
            '(method = "pretrained") and run `voxlake segment`'
        )
    if not found:
        known = hint(name, [row["task"] for row in rows]) or f"; make one with `voxlake {make}`"
        raise NotFoundError(f"no model '{name}'{known}")
    return found[0]
