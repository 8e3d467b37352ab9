"""The parser: one sub-command a function that runs it, with examples in its help."""

import argparse
import difflib
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeAlias

from ..errors import EXIT_INPUT
from ..flags import takes_fields

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
Run = Callable[[argparse.Namespace, list[str]], int]  # options and fields of a run -> exit status

_ALIKE = 0.7  # difflib's measure, from which on a flag may be meant by another


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        """Ends the process with status 2."""
        self.exit(EXIT_INPUT, f"{self.prog}: {message}; see {self.prog} --help\n")

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """Ends the process likewise at words that it does not know, and names the flag that may be meant by one."""
        known = [flag.removeprefix("--") for flag in self._option_string_actions if flag.startswith("--")]
        given = [word.partition("=")[0].removeprefix("--") for word in words if word.startswith("--")]
        near = [name for flag in given for name in difflib.get_close_matches(flag, known, n=1, cutoff=_ALIKE)]
        hint = f" (did you mean --{near[0]}?)" if near else ""
        self.error(f"unrecognized arguments: {' '.join(words)}{hint}")


def add_command(
    commands: Commands,
    name: str,
    run: Run,
    does: str,
    examples: str,
) -> argparse.ArgumentParser:
    """A sub-command with its words of help."""
    shown = "\n".join(f"  {line}" for line in examples.splitlines())
    note = ""
    if name == "prepare":
        note = "\nEach corpus has options of its own: `hf-speech prepare CORPUS --fields` lists them."
    elif name == "augment":
        note = "\nEvery field of `augment` is a flag: `hf-speech train --fields` lists them."
    elif takes_fields(name):
        lists = "pretrain" if name == "pretrain" else "train"
        note = f"\nEvery field of a run is a flag too: `hf-speech {lists} --fields` lists them."
    command = commands.add_parser(
        name,
        help=does,
        description=does[0].upper() + does[1:] + ".",
        epilog=f"examples:\n{shown}\n{note}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.set_defaults(run=run, parser=command)
    return command
