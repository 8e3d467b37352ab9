"""The recipes that come with the package: `model_cards/<name>/train.yaml`, which run by their name."""

from pathlib import Path

from ..errors import InputError, unknown_name
from ..shipped import shipped_folder

CONFIG_NAME = "train.yaml"


def recipe_names() -> list[str]:
    """Names of the recipes, sorted."""
    return sorted(path.parent.name for path in shipped_folder("model_cards").glob(f"*/{CONFIG_NAME}"))


def find_recipe(name: str | Path) -> Path:
    """The file that a word on the command line means: the file itself, or the recipe of that name.

    Raises:
        InputError: neither a file nor a recipe; the recipes are listed.
    """
    path = Path(name)
    if path.is_dir() and (path / CONFIG_NAME).is_file():
        return path / CONFIG_NAME
    if path.exists() or path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return path
    if str(name) not in recipe_names():
        raise InputError(f"{unknown_name(str(name), recipe_names(), 'recipe')}; or give the path of a YAML file")
    return shipped_folder("model_cards") / name / CONFIG_NAME
