"""Runs that belong together, each in a folder of its own: what is finished is never run again, what was killed goes on.

<root>/experiment.yaml      what the experiment is; another one in its place is refused
<root>/<member>/            a run's folder, as `hf-speech train` leaves it
<root>/jobs/<member>.yaml   the fields that it is started with
<root>/jobs/<member>.log    what it says

Several experiments side by side have a folder each (`place`), laid out like this, in the one of all.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from ..errors import EXIT_STOPPED, InputError, list_some, one_line
from ..fields import read_yaml
from ..files import is_full, replacing
from ..results import FILE_NAME, Results
from ..training.arguments import laid_over, make_config
from ..training.checkpoints import FREE, differences
from ..training.config import RunConfig
from ..training.folder import EXPERIMENT, alone
from ..training.recipes import CONFIG_NAME
from .jobs import Job, Launcher, Outcome

logger = logging.getLogger(__name__)

JOBS = "jobs"
_FREE = FREE - {"dataset", "data_dir"}  # what is finished is not looked at again: the data has to be the same
_MEND = "give what it was, or another --output-dir"
_ROWS = "rows"  # the key of a definition under which fingerprints of data stand


@dataclass(frozen=True)
class Member:
    """One run of an experiment.

    Attributes:
        name: of its folder.
        config: all its fields, but for `output_dir`.
        marks: what tells it from the others, for tables: {"fold": "f01", "run": 1} or the values of a grid.
        place: folder, in that of the experiment, that its own lies in; empty: it lies in that of the experiment.
    """

    name: str
    config: RunConfig
    marks: Mapping[str, Any]
    place: str = ""

    @property
    def job(self) -> str:
        """What its job is called: no other one of the experiment is."""
        return f"{self.place}-{self.name}" if self.place else self.name


@dataclass(frozen=True)
class Ended:
    """How a member stands.

    Attributes:
        member: the member.
        status: 0: finished; None: not run; else see `Outcome.status`.
        reason: why it is not finished, in one line.
        results: what it measured; None: it is not finished.
    """

    member: Member
    status: int | None
    reason: str = ""
    results: Results | None = None

    @property
    def told(self) -> str:
        """How it stands, in one word."""
        return {0: "finished", None: "not run", EXIT_STOPPED: "stopped"}.get(self.status, "dead")

    @property
    def in_a_line(self) -> str:
        """Why it is not finished; else its first number and how long it took."""
        if self.results is None:
            return self.reason or self.told
        number, *_ = [*measured(self.results), None]
        value = f", {number['name']} {number['value']:.3f}" if number and number["value"] is not None else ""
        return f"finished{value}, {self.results.run['wall_seconds']:.0f} s"


def measured(results: Results) -> list[dict[str, Any]]:
    """The numbers of a run on its test rows; where it has none, on the validation rows."""
    split = "test" if any(number["split"] == "test" for number in results.metrics) else "validation"
    return [number for number in results.metrics if number["split"] == split]


def member_config(config: RunConfig, changes: Mapping[str, Any], where: str) -> RunConfig:
    """The fields of a member: those of the experiment, with some in the place of others.

    Raises:
        InputError: a field that does not exist, or fields that don't fit together; `where` says of which member.
    """
    if config.training.get("push_to_hub"):
        raise InputError("push_to_hub: of many runs none is pushed; push the one you choose with `hf-speech push`")
    left_out = {"output_dir", "overwrite", "resume_from_checkpoint"}
    values = {name: value for name, value in config.to_dict().items() if name not in left_out}
    return make_config(laid_over(values, changes), where)


def folder_name(value: str) -> str:
    """A value as the name of a folder.

    >>> folder_name("a b/c"), folder_name("learning_rate=0.001")
    ('a_b_c', 'learning_rate=0.001')
    """
    return "".join(one if one.isalnum() or one in "-_.=+," else "_" for one in value).lstrip(".") or "_"


def recipe_name(config: str) -> str:
    """What a recipe is called: its name, or that of its file or folder.

    >>> recipe_name("wav2vec2-iemocap-vft"), recipe_name("cards/mine/train.yaml"), recipe_name("slow.yaml")
    ('wav2vec2-iemocap-vft', 'mine', 'slow')
    """
    path = Path(config)
    if path.name == CONFIG_NAME:
        return path.parent.name.strip(".") or path.stem
    return path.stem if path.suffix in (".yaml", ".yml") else path.name


@contextmanager
def experiment_folder(root: Path, definition: Mapping[str, Any]) -> Iterator[None]:
    """Holds a folder for an experiment as long as it runs.

    Args:
        root: the folder, made if need be.
        definition: what the experiment is: `kind`, `fields`, `rows` (a part of the data -> its fingerprint), and under
            `fixed` the names of further keys that may not change.

    Raises:
        InputError: it can't be made, another experiment was begun there, or a model, or its disk is full.
    """
    if (root / CONFIG_NAME).exists() or (root / FILE_NAME).exists() and not (root / EXPERIMENT).exists():
        raise InputError(f"{root}: holds a model; give another --output-dir")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{root}: can't be made ({error.strerror}); give another --output-dir") from error
    with alone(root):
        path = root / EXPERIMENT
        plain = json.loads(json.dumps(definition, default=str))
        finished = (root.glob(f"{runs}/{CONFIG_NAME}") for runs in ("*", "*/*"))
        if path.exists() and any(map(any, finished)):
            plain[_ROWS] = {**_check_same(path, plain), **plain[_ROWS]}
        try:
            with replacing(path) as temporary:
                temporary.write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), encoding="utf-8")
            yield
        except OSError as error:
            if not is_full(error, root):
                raise
            told = "the disk is full, and its tables could not be written; make room and give the same command again"
            raise InputError(f"{root}: {told}") from error


def _check_same(path: Path, wanted: Mapping[str, Any]) -> dict[str, str]:
    """Refuses a folder in which a run of another experiment was begun -> the fingerprints there."""
    try:
        there = read_yaml(path.read_text(encoding="utf-8"))
        fields, rows = there["fields"], there[_ROWS]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InputError(f"{path}: can't be read; give another --output-dir") from error
    if there["kind"] != wanted["kind"]:
        raise InputError(f"{path.parent}: holds a {there['kind']}; give another --output-dir")
    differ = [
        f"{name} is {was} there and {now} here" for name, (was, now) in differences(fields, wanted["fields"], _FREE)
    ]
    differ += [
        f"{name} is {there[name]} there and {wanted.get(name)} here"
        for name in there.get("fixed", [])
        if there.get(name) != wanted.get(name)
    ]
    if any(rows[part] != value for part, value in wanted[_ROWS].items() if part in rows):
        differ.append("the data has other rows or labels now")
    if differ:
        raise InputError(f"{path.parent}: holds another {there['kind']}: {list_some(differ, 5)}; {_MEND}")
    return dict(rows)


def run_members(
    root: Path,
    members: Sequence[Member],
    launcher: Launcher,
    tell: Callable[[Sequence[Ended]], None] = lambda ended: None,
) -> list[Ended]:
    """Runs all members that are not finished.

    Args:
        root: the folder of the experiment.
        members: of the experiment.
        launcher: starts them.
        tell: is given how all stand, at the start and whenever one has ended.

    Returns:
        How each stands, in the order of the members.

    Raises:
        InputError: a folder holds a finished run with other fields.
    """
    ended = {member.job: _standing(root / member.place, member) for member in members}
    waiting = {name: one.member for name, one in ended.items() if one.status is None}
    if len(waiting) < len(members):
        logger.info("%d of %d runs are finished already", len(members) - len(waiting), len(members))
    tell(list(ended.values()))
    jobs = [_job(root / member.place, member) for member in waiting.values()]
    with tqdm(total=len(members), initial=len(members) - len(jobs), desc="runs", disable=None) as bar:
        for outcome in launcher.run(jobs) if jobs else ():
            member = waiting[outcome.job.name]
            one = _ended(root / member.place, member, outcome)
            ended[member.job] = one
            bar.update()
            count = sum(other.status is not None for other in ended.values())
            logger.info("%s: %s (%d of %d)", member.job, one.in_a_line, count, len(members))
            tell(list(ended.values()))
    return list(ended.values())


def _standing(root: Path, member: Member) -> Ended:
    """A member before it is run: finished already, or not."""
    folder = root / member.name
    if not (folder / FILE_NAME).exists():
        return Ended(member, None)
    try:
        there = read_yaml((folder / CONFIG_NAME).read_text(encoding="utf-8"))
        results = Results.read(folder)
    except (OSError, yaml.YAMLError, InputError) as error:
        mend = f"delete the folder {folder}, and it is run again"
        raise InputError(f"{folder}: what a finished run leaves is damaged ({one_line(error)}); {mend}") from error
    differ = [
        f"{name} is {was} there and {now} here" for name, (was, now) in differences(there, _recipe(member), _FREE)
    ]
    if differ:
        raise InputError(f"{folder}: holds a run with other fields: {list_some(differ, 5)}; {_MEND}")
    return Ended(member, 0, results=results)


def _recipe(member: Member) -> dict[str, Any]:
    return json.loads(json.dumps(member.config.recipe(), default=str))


def _job(root: Path, member: Member) -> Job:
    """The files that a member is started with."""
    place = (root / JOBS).absolute()
    place.mkdir(exist_ok=True)
    config = place / f"{member.name}.yaml"
    values = {**member.config.to_dict(), "output_dir": str((root / member.name).absolute())}
    with replacing(config) as temporary:
        temporary.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return Job(member.job, config, place / f"{member.name}.log")


def _ended(root: Path, member: Member, outcome: Outcome) -> Ended:
    folder = root / member.name
    if outcome.status == 0 and (folder / FILE_NAME).exists():
        return Ended(member, 0, results=Results.read(folder))
    reason = outcome.reason or "ended without results"
    return Ended(member, outcome.status or 1, reason)
