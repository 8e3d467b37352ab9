"""The parser: one sub-command a function that runs it, with examples in its help."""

import argparse
from collections.abc import Callable
from typing import NoReturn, TypeAlias

from ..errors import EXIT_INPUT
from ..flags import takes_fields

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
Run = Callable[[argparse.Namespace, list[str]], int]  # options and fields of a run -> exit status


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        """Ends the process with status 2."""
        self.exit(EXIT_INPUT, f"{self.prog}: {message}; see {self.prog} --help\n")


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
        note = "\nEvery field of a run is a flag too: `hf-speech train --fields` lists them."
    command = commands.add_parser(
        name,
        help=does,
        description=does[0].upper() + does[1:] + ".",
        epilog=f"examples:\n{shown}\n{note}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    return command
