"""The recipes that come with the package: `model_cards/<name>/train.yaml`, which run by their name."""

import logging
from pathlib import Path

from ..errors import InputError, unknown_name
from ..shipped import shipped_folder

logger = logging.getLogger(__name__)

CONFIG_NAME = "train.yaml"


def recipe_names() -> list[str]:
    """Names of the recipes, sorted."""
    return sorted(path.parent.name for path in shipped_folder("model_cards").glob(f"*/{CONFIG_NAME}"))


def find_recipe(name: str | Path) -> Path:
    """The file that a word on the command line means: the file itself, or what comes with the package by that name.

    That is a recipe, or a file that recipes are based on, such as wav2vec2-small.yaml.

    Raises:
        InputError: neither a file nor a recipe; the recipes are listed.

    >>> find_recipe("wav2vec2-small.yaml").parent.name
    'model_cards'
    """
    path, shipped = Path(name), shipped_folder("model_cards")
    if path.is_dir() and (path / CONFIG_NAME).is_file():
        return path / CONFIG_NAME
    if not path.exists() and len(path.parts) == 1 and path.suffix and (shipped / path).is_file():
        logger.warning("%s is not here: the one that comes with the package is taken", path)
        return shipped / path
    if path.exists() or path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return path
    if str(name) not in recipe_names():
        raise InputError(f"{unknown_name(str(name), recipe_names(), 'recipe')}; or give the path of a YAML file")
    return shipped / name / CONFIG_NAME
