"""The verb recipe: settings that were tried on public data, to start from."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.hints import hint

__all__ = ["recipe", "recipe_file"]


def recipe(name: str | None = None, folder: str | Path = ".") -> list[dict[str, Any]]:
    """List the recipes that come with voxlake, or copy one to a folder.

    A recipe is a task that was tried on public data, to be trained or mined, with the mapping and the policy
    under which the data come in. Its comments say where the data are, how settings were chosen and what they
    reached.

    Parameters
    ----------
    name : str, optional
        Of a recipe; without it, all are listed.
    folder : path
        Where a folder of that name is made.

    Returns
    -------
    list of dict
        ``recipe`` and ``about`` of each; or ``file`` for each file that was written.

    Raises
    ------
    NotFoundError
        There is no such recipe; the near miss is named.
    UsageError
        A file of the recipe is there already, and may have been changed by hand.

    Examples
    --------
    >>> [one["recipe"] for one in recipe()][:2]
    ['breast_ultrasound', 'chest_xray']
    """
    if name is None:
        return [{"recipe": one, "about": _about(one)} for one in _names()]
    target = Path(folder) / name
    copied = [(target / part.name, part.read_text()) for part in _parts(name)]
    for path, _ in copied:
        if path.exists():
            raise UsageError(f"{path} is there already; name another --folder, or remove it")
    target.mkdir(parents=True, exist_ok=True)
    for path, text in copied:
        path.write_text(text)
    return [{"file": str(path)} for path, _ in copied]


def recipe_file(name: str, file: str) -> str:
    """Text of a file of a recipe, for example of ``task.toml``.

    Raises
    ------
    NotFoundError
        There is no such recipe, or it has no such file.
    """
    parts = {part.name: part for part in _parts(name)}
    if file not in parts:
        raise NotFoundError(f"recipe '{name}' has no file '{file}'{hint(file, parts)}")
    return parts[file].read_text()


def _home() -> Traversable:
    return files("voxlake.learning") / "recipes"


def _names() -> list[str]:
    return sorted(one.name for one in _home().iterdir() if (one / "task.toml").is_file())


def _parts(name: str) -> list[Traversable]:
    names = _names()
    if name not in names:
        raise NotFoundError(f"no recipe '{name}'{hint(name, names)}; there are {', '.join(names)}")
    return sorted((one for one in (_home() / name).iterdir() if one.name.endswith(".toml")), key=str)


def _about(name: str) -> str:
    """The first sentence of the task."""
    lines = []
    for line in recipe_file(name, "task.toml").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines).split(". ")[0].rstrip(".") + "."
