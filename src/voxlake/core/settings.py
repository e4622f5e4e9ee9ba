"""Frozen settings that refuse unknown keys and name the near miss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from voxlake.core.digest import digest_json
from voxlake.core.errors import SettingsError
from voxlake.core.hints import hint

__all__ = ["Settings"]


class Settings(BaseModel):
    """Base of all settings: frozen, typed, no unknown keys, with a digest."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, ser_json_inf_nan="constants"
    )

    @classmethod
    def read(cls, values: Mapping[str, Any], *, where: str = "settings") -> Self:
        """Build the settings from plain values.

        Parameters
        ----------
        values : mapping
            Keys and values, for example a table of a TOML file.
        where : str
            What is being read, for the error message.

        Raises
        ------
        SettingsError
            A key is unknown (the near miss is named), missing or has a value that does not fit.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise SettingsError(_explain(cls, error, where)) from None

    def digest(self) -> str:
        """SHA-256 over the canonical JSON form of all values, defaults included."""
        return digest_json(self.model_dump(mode="json"))


def _explain(model: type[BaseModel], error: ValidationError, where: str) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_context=False):
        path = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"unknown key '{path}'{_hint_for(model, problem['loc'])}")
        elif problem["type"] == "missing":
            lines.append(f"missing key '{path}'")
        else:
            place = f"'{path}': " if path else ""
            lines.append(f"{place}{problem['msg']} (got {_shown(problem.get('input'))})")
    return f"{where}: " + "; ".join(lines)


def _hint_for(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    candidates = {model}
    for part in location[:-1]:
        candidates = _below(candidates, part)
    return hint(str(location[-1]), {name for each in candidates for name in each.model_fields})


def _below(models: set[type[BaseModel]], part: int | str) -> set[type[BaseModel]]:
    owners = [model for model in models if part in model.model_fields]
    if owners:
        return {found for model in owners for found in _models_in(model.model_fields[str(part)].annotation)}
    # Not a field: the place in a list, the key of a dictionary, or the member of a union that was tried.
    return {model for model in models if model.__name__ == part} or models


def _models_in(annotation: object) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {found for part in getattr(annotation, "__args__", ()) for found in _models_in(part)}


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
