"""Reading a recipe: built-in name or file, preset, profile, `--set key=value`, seed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from fusebench.errors import RecipeError, suggest
from fusebench.recipe.sections import PRESETS, Recipe
from fusebench.recipe.validate import validated


def _built_in_folder() -> Path:
    package = Path(__file__).resolve().parent.parent
    installed = package / "_recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def built_in_recipes() -> dict[str, Path]:
    """Return the recipes that come with fusebench, by name."""
    return {path.stem: path for path in sorted(_built_in_folder().glob("*.yaml"))}


def load_recipe(
    name: str, *, profile: str | None = None, overrides: Sequence[str] = (), seed: int | None = None
) -> Recipe:
    """Return a validated recipe.

    Args:
        name: a built-in name (`quickstart`) or a YAML file.
        profile: a section of the file's `profiles`, laid over the recipe.
        overrides: `dotted.key=value`, the value read as YAML; list entries by position or by their `name`.
        seed: replaces the recipe's seed.

    Raises:
        RecipeError: no such recipe, not YAML, an unknown key or profile, a wrong value.
    """
    raw = _read(name)
    profiles = raw.pop("profiles", None) or {}
    if profile is not None:
        if profile not in profiles:
            raise RecipeError(
                f"recipe `{name}` has no profile `{profile}`",
                why="its `profiles` does not list it",
                fix=suggest(profile, profiles) if profiles else "leave --profile out",
            )
        for key, value in profiles[profile].items():
            _put(raw, key, value)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise RecipeError(
                f"`--set {override}` has no `=`", why="a key and a value are needed", fix="--set key=value"
            )
        _put(raw, key.strip(), yaml.safe_load(text))
    if seed is not None:
        raw["seed"] = seed
    preset = raw.get("preset", "paper")
    for section, values in PRESETS.get(preset if isinstance(preset, str) else "", {}).items():
        raw[section] = {**values, **(raw.get(section) or {})}
    return validated(Recipe, raw)


def _read(name: str) -> dict[str, Any]:
    path = built_in_recipes().get(name, Path(name))
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(
            f"no recipe `{name}`",
            why="it is neither a file nor a built-in recipe",
            fix=suggest(name, built_in_recipes()),
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe `{name}` cannot be read", why=str(error), fix="give a readable YAML file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise RecipeError(
            f"recipe `{name}` is not YAML{place}",
            why=str(getattr(error, "problem", None) or error).splitlines()[0],
            fix="check indentation and colons at that line",
        ) from error
    if not isinstance(raw, dict):
        raise RecipeError(
            f"recipe `{name}` is not YAML with keys",
            why=f"its top level is {type(raw).__name__}",
            fix=f"start from a built-in one: {', '.join(built_in_recipes())}",
        )
    return raw


def _put(raw: dict[str, Any], dotted: str, value: Any) -> None:
    """Set `dotted` in nested dicts and lists; missing dicts are made, so that a wrong key fails validation."""
    *parents, last = dotted.split(".")
    at: Any = raw
    for step in parents:
        at = _list_entry(at, step, dotted) if isinstance(at, list) else at.setdefault(step, {})
        if not isinstance(at, dict | list):
            raise RecipeError(f"`{dotted}` cannot be set", why=f"`{step}` holds a plain value", fix="shorten the key")
    if isinstance(at, list):
        at[at.index(_list_entry(at, last, dotted))] = value
    else:
        at[last] = value


def _list_entry(entries: list[Any], step: str, dotted: str) -> Any:
    for number, entry in enumerate(entries):
        if step == str(number) or (isinstance(entry, dict) and entry.get("name") == step):
            return entry
    names = [str(e.get("name", i)) if isinstance(e, dict) else str(i) for i, e in enumerate(entries)]
    raise RecipeError(f"`{dotted}` cannot be set", why=f"the list has no entry `{step}`", fix=suggest(step, names))


def recipe_json(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe with every default filled in, as JSON values."""
    return json.loads(recipe.model_dump_json())
