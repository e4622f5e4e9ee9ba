"""The error tree, its documentation and its pickles."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from voxlake.core import errors
from voxlake.core.errors import ItemError
from voxlake.core.reasons import REASONS


def drawn_tree() -> dict[str, str]:
    """Child -> parent, as the module's docstring draws it."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^ {4}([\s│├└─]*)([A-Z]\w+Error)\b", line)
        if found is None:
            continue
        depth, name = len(found[1]), found[2]
        while above and above[-1][0] >= depth:
            above.pop()
        if above:
            parents[name] = above[-1][1]
        above.append((depth, name))
    return parents


def test_the_drawn_tree_is_the_tree() -> None:
    classes = [member for _, member in inspect.getmembers(errors, inspect.isclass)]
    real = {cls.__name__: cls.__base__.__name__ for cls in classes if cls is not errors.VoxlakeError}
    assert drawn_tree() == real


def test_all_lists_every_class() -> None:
    classes = {name for name, _ in inspect.getmembers(errors, inspect.isclass)}
    assert set(errors.__all__) == classes
    assert errors.VoxlakeError.__base__ is Exception


def test_item_error_survives_pickling() -> None:
    again = pickle.loads(pickle.dumps(ItemError("truncated", "got 3 bytes, expected 128")))
    assert type(again) is ItemError
    assert (again.reason, again.message, str(again)) == ("truncated",) + ("got 3 bytes, expected 128",) * 2


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "ItemError"])
def test_every_error_survives_pickling(name: str) -> None:
    again = pickle.loads(pickle.dumps(getattr(errors, name)("what happened")))
    assert type(again).__name__ == name
    assert str(again) == "what happened"


def test_reasons_are_codes_with_sentences() -> None:
    for code, sentence in REASONS.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)
        assert sentence[0].isupper()
        assert sentence.endswith(".")


def test_reasons_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        REASONS["new"] = "x"  # type: ignore[index]
