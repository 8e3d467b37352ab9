"""`hf-speech push` and `push-space`: to the Hub."""

import argparse
from pathlib import Path
from typing import Any

from ..errors import EXIT_OK, InputError
from .parser import Commands, add_command


def add_push(commands: Commands) -> None:
    """Puts `push` and `push-space` into the parser."""
    push = add_command(commands, "push", _push, "send a model or a data set to the Hub, and load it back to prove it",
                    "hf-speech push runs/emotion my-emotion-model --private\n"
                    "hf-speech push runs/emotion lab/emotion --revision v2\n"
                    "hf-speech push runs/emotion somebody/emotion --create-pr\n"
                    "hf-speech push prepared/mine my-recordings         a data set: private by itself")  # fmt: skip
    push.add_argument("folder", metavar="DIR", help="a finished model's folder, or that of a prepared data set")
    push.add_argument("repo", metavar="REPO", help="OWNER/NAME on the Hub, or NAME under your own")
    _add_flags(push)
    add_flags_of_data(push)
    space = add_command(commands, "push-space", _push_space, "send a Space to the Hub",
                     "hf-speech push-space speech_classification emotion-demo --model user/emotion\n"
                     "hf-speech push-space my-space/ my-space --private")  # fmt: skip
    space.add_argument(
        "name",
        metavar="SPACE",
        help="speech_classification, speaker_verification or speaker_map, which come with the package; or a folder "
        "with app.py, README.md and requirements.txt",
    )
    space.add_argument("repo", metavar="REPO", help="OWNER/NAME on the Hub, or NAME under your own")
    space.add_argument("--model", metavar="OWNER/NAME", help="on the Hub, that a Space of the package asks")
    _add_flags(space)


def _add_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("--private", action="store_true", help="only you may see it; else a model or Space is public")
    command.add_argument("--revision", metavar="BRANCH", help="a branch, made if need be (main)")
    command.add_argument("--create-pr", action="store_true", help="offer it as a pull request")
    command.add_argument("--overwrite-card", action="store_true", help="make README.md anew where it was edited there")
    command.add_argument("--message", help="of the commit")


def add_flags_of_data(command: argparse.ArgumentParser) -> None:
    """The flags that say who may see a data set."""
    command.add_argument("--public", action="store_true", help="everybody may see it; a data set is private otherwise")
    command.add_argument(
        "--i-may-redistribute",
        action="store_true",
        help="with --public, of a corpus with a licence: it allows you to give it to others",
    )


def _push(options: argparse.Namespace, fields: list[str]) -> int:
    from ..hub.parcel import kind_of
    from ..hub.push import push

    folder, private = Path(options.folder), False if options.public else options.private or None
    if options.public and options.private:
        raise InputError("--private and --public: give one of them")
    kind = kind_of(folder)
    if kind == "space":
        raise InputError(f"{folder}: holds a Space; `hf-speech push-space {folder} {options.repo}` pushes it")
    if kind == "dataset":
        from ..hub.rights import check_rights, corpus_of

        check_rights(corpus_of(folder), public=options.public, may_redistribute=options.i_may_redistribute)
    return _tell(push(folder, options.repo, _push_options(options, private), kind=kind))


def _push_space(options: argparse.Namespace, fields: list[str]) -> int:
    from tempfile import TemporaryDirectory

    from ..hub.push import push
    from ..hub.spaces import lay_out_space, shipped_spaces

    folder, settings = Path(options.name), _push_options(options, options.private or None)
    if folder.is_dir():
        if options.model is not None:
            raise InputError(f"--model: is for the Spaces of the package; name it in {folder}/README.md")
        return _tell(push(folder, options.repo, settings, kind="space"))
    if options.name not in shipped_spaces():
        known = ", ".join(shipped_spaces())
        raise InputError(f"{folder}: there is no such folder, nor Space of the package; give one, or one of: {known}")
    if options.model is not None and (Path(options.model) / "config.json").exists():
        raise InputError(
            f"--model {options.model}: lies here, and a Space takes its model from the Hub; give OWNER/NAME, where "
            f"`hf-speech push {options.model} OWNER/NAME` sends it"
        )
    with TemporaryDirectory() as room:
        return _tell(push(lay_out_space(options.name, Path(room), options.model), options.repo, settings, kind="space"))


def push_data(folder: Path, repo: str, *, public: bool) -> int:
    """Pushes a prepared data set that may be, and tells of it."""
    from ..hub.push import PushOptions, push

    return _tell(push(folder, repo, PushOptions(private=False if public else None), kind="dataset"))


def _push_options(options: argparse.Namespace, private: bool | None) -> Any:
    """The flags of a push as `hub.push` takes them."""
    from ..hub.push import PushOptions

    return PushOptions(
        private=private,
        revision=options.revision,
        create_pr=options.create_pr,
        overwrite_card=options.overwrite_card,
        message=options.message,
    )


def _tell(pushed: Any) -> int:
    print(pushed.url)
    print("\n".join(f"  {line}" for line in pushed.lines))
    return EXIT_OK
