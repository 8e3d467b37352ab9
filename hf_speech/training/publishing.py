"""`push_to_hub` of a run: asked for before the training, done after it, by the push that `hf-speech push` does.

transformers' Trainer pushes checkpoint after checkpoint in the background; a main branch that is half of one model and
half of another is what that can leave. Here the Hub gets the finished model, measured, with its card, once.
"""

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .config import RunConfig

if TYPE_CHECKING:
    from ..hub.push import PushOptions

logger = logging.getLogger(__name__)

# The fields of transformers' TrainingArguments that are about it; the Trainer does not see them.
FIELDS = ("push_to_hub", "hub_model_id", "hub_strategy", "hub_private_repo", "hub_always_push", "hub_revision")


def check_publishing(config: RunConfig) -> None:
    """Finds out before hours of training whether its model could be pushed afterwards.

    Raises:
        InputError: it is to be, and there is no token, or none that may write there; or a field that has no part here.
    """
    given = config.training
    if not given.get("push_to_hub"):
        unused = [name for name in FIELDS if name in given and name != "push_to_hub"]
        if unused:
            raise InputError(f"{unused[0]} is without effect: give push_to_hub too, or leave it out")
        return
    if str(getattr(given.get("hub_strategy"), "value", given.get("hub_strategy") or "end")) != "end":
        raise InputError(f"hub_strategy is {given['hub_strategy']!r}: only the finished model is pushed; leave it out")
    if given.get("hub_always_push"):
        raise InputError("hub_always_push is without effect, as only the finished model is pushed; leave it out")
    from ..hub.push import check_push

    said = {"license": config.run.license, "language": config.run.language}
    try:
        check_push("model", _repo(config), _options(config), {name: value for name, value in said.items() if value})
    except InputError as error:
        named = "" if given.get("hub_model_id") else " (--hub-model-id OWNER/NAME gives another name)"
        raise InputError(f"push_to_hub: {error}{named}") from error


def publish(config: RunConfig, folder: Path) -> None:
    """Pushes the finished model of a run that asks for it.

    Raises:
        InputError: it could not be pushed; the model in its folder is finished all the same.
    """
    if not config.training.get("push_to_hub"):
        return
    from ..hub.push import push

    try:
        pushed = push(folder, _repo(config), _options(config), kind="model")
    except InputError as error:
        mend = f"the finished model is in {folder}: `{_command(config, folder)}` pushes it"
        raise InputError(f"push_to_hub: {error}; {mend}") from error
    logger.info("%s", "\n  ".join([pushed.url, *pushed.lines]))


def _repo(config: RunConfig) -> str:
    folder = Path(str(config.run.output_dir)).absolute().name
    return str(config.training.get("hub_model_id") or config.run.name or folder)


def _command(config: RunConfig, folder: Path) -> str:
    """What pushes the same to the same place."""
    options = _options(config)
    words = ["hf-speech", "push", str(folder), _repo(config), *(["--private"] if options.private else [])]
    return shlex.join(words + (["--revision", options.revision] if options.revision else []))


def _options(config: RunConfig) -> "PushOptions":
    from ..hub.push import PushOptions

    private, revision = config.training.get("hub_private_repo"), config.training.get("hub_revision")
    return PushOptions(private=private, revision=revision)
