"""The recipes that come with the package and run by their name: `model_cards/<name>/train.yaml` or `pretrain.yaml`."""

import logging
from pathlib import Path

from ..errors import InputError, unknown_name
from ..shipped import shipped_folder

logger = logging.getLogger(__name__)

CONFIG_NAME = "train.yaml"
PRETRAINING = "pretrain.yaml"


def recipe_names(config_name: str = CONFIG_NAME) -> list[str]:
    """Names of the recipes of a kind of run, sorted."""
    return sorted(path.parent.name for path in shipped_folder("model_cards").glob(f"*/{config_name}"))


def config_in(folder: Path) -> Path | None:
    """The file of fields in a folder, of a run or of pretraining; None: there is none."""
    return next((folder / name for name in (CONFIG_NAME, PRETRAINING) if (folder / name).is_file()), None)


def find_recipe(name: str | Path) -> Path:
    """The file that a word on the command line means: the file itself, or what comes with the package by that name.

    That is a recipe, or a file that recipes are based on, such as wav2vec2-small.yaml.

    Raises:
        InputError: neither a file nor a recipe; the recipes are listed.

    >>> find_recipe("wav2vec2-small.yaml").parent.name
    'model_cards'
    """
    path, shipped = Path(name), shipped_folder("model_cards")
    there = config_in(path)
    if there is not None:
        return there
    if not path.exists() and len(path.parts) == 1 and path.suffix and (shipped / path).is_file():
        logger.warning("%s is not here: the one that comes with the package is taken", path)
        return shipped / path
    if path.exists() or path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return path
    found = config_in(shipped / name)
    if found is None:
        names = [*recipe_names(), *recipe_names(PRETRAINING)]
        raise InputError(f"{unknown_name(str(name), names, 'recipe')}; or give the path of a YAML file")
    return found
