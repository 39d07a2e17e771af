"""From pydantic's findings to one clear error: the key, the reason, the fix."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fusebench.errors import RecipeError, suggest

Model = TypeVar("Model", bound=BaseModel)


def validated(kind: type[Model], value: Mapping[str, Any], where: str = "") -> Model:
    """Return `value` as a section.

    Raises:
        RecipeError: the first thing that is wrong, with its dotted key, and a suggestion for an unknown key.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise _explain(kind, error, where) from None


def _explain(kind: type[BaseModel], error: ValidationError, where: str) -> RecipeError:
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, RecipeError):
        return cause
    steps = [str(step) for step in first["loc"]]
    key = ".".join(part for part in [where, *steps] if part)
    if first["type"] == "extra_forbidden":
        known = _fields(kind, steps[:-1])
        return RecipeError(f"unknown key `{key}`", why="no section of the recipe has it", fix=suggest(steps[-1], known))
    if first["type"] == "missing":
        return RecipeError(f"`{key}` is missing", why="it has no default", fix=f"add `{steps[-1]}:` to the recipe")
    if first["type"] in ("value_error", "assertion_error"):
        return RecipeError(f"`{key or 'recipe'}` does not fit together", why=str(cause), fix="correct the recipe")
    return RecipeError(f"`{key}` is {first['input']!r}", why=first["msg"].lower(), fix="correct the value")


def _fields(kind: type[BaseModel], steps: list[str]) -> list[str]:
    """Return the keys that the section at `steps` below `kind` knows."""
    current: Any = kind
    for step in steps:
        field = getattr(current, "model_fields", {}).get(step)
        if field is None:
            continue  # a list position or a free name: same type again
        current = _section(field.annotation)
    return sorted(getattr(current, "model_fields", {}))


def _section(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in reversed(getattr(annotation, "__args__", ())):
        found = _section(argument)
        if found is not None:
            return found
    return None
