"""Runs on a cluster: one array of jobs through submitit, waited for, and found again when the command starts again."""

import contextlib
import dataclasses
import importlib.util
import io
import json
import logging
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..errors import InputError, one_line, unknown_name
from ..fields import read_yaml
from ..files import replacing
from ..results import FILE_NAME
from .jobs import Job, Outcome, check_names
from .options import SlurmOptions
from .task import Task

logger = logging.getLogger(__name__)

_NOTES = "arrays.json"
# Slurm's states of a job that does not run again by itself.
_ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
_ENDED |= {"REVOKED", "TIMEOUT", "GONE"}
# Reasons for waiting that are not worth a word, and those that do not end while a job asks for what it asks for.
_PLAIN = {"None", "JobArrayTaskLimit"}
_NEVER = re.compile(
    r"PartitionTimeLimit|PartitionNodeLimit|BadConstraints|AccountNotAllowed|InvalidAccount"
    r"|QOSNotAllowed|InvalidQOS|(QOS|Assoc)Max\w+Per(Job|Node)(Limit)?|QOSMin\w+|MaxMemPerLimit"
)
_DEAD = -9  # the status of a job that Slurm ended from outside
_ANSWER = 60.0  # seconds within which Slurm's commands answer


class Standing(NamedTuple):
    """How a job stands in Slurm's queue: its state, and why it waits where it does, both in Slurm's words."""

    state: str
    reason: str


_GONE = Standing("GONE", "")


@dataclass
class _Array:
    """Jobs that were submitted together.

    Attributes:
        name: the array's name in Slurm's queue, and of the folder of its files.
        identity: Slurm's number for it; None: it was about to be submitted.
        jobs: their names, in the order of their indices in the array.
        open: those whose outcome was not yet told.
    """

    name: str
    identity: str | None
    jobs: list[str]
    open: list[str]

    def key(self, job: str) -> str:
        """Slurm's number for one of the jobs; submitit makes no array of a single one."""
        return str(self.identity) if len(self.jobs) == 1 else f"{self.identity}_{self.jobs.index(job)}"


class SlurmLauncher:
    """Trains jobs on a Slurm cluster, all in one array.

    The launcher may end, or be killed, while the array runs: started again with the same folder it waits for what it
    has submitted. A job that is told to leave (its time limit, a more urgent job) saves, is put into the queue again,
    and goes on when its turn comes.

    Args:
        folder: for its notes and submitit's files; seen from all nodes. Only its owner can read it, since functions
            are handed over in it as pickles.
        parallel: runs beside each other; None: as many as the cluster lets.
        options: of the jobs.
        poll_seconds: between two questions to Slurm; that a job has ended well is seen sooner, by its record.

    Raises:
        InputError: parallel is below 1, there is no Slurm, or it does not know the partition.
    """

    def __init__(
        self,
        folder: Path,
        parallel: int | None = None,
        options: SlurmOptions | None = None,
        poll_seconds: float = 15.0,
    ) -> None:
        if parallel is not None and parallel < 1:
            raise InputError(f"parallel is {parallel}; give a whole number of 1 or more")
        self.folder, self.parallel, self.poll_seconds = folder.absolute(), parallel, poll_seconds
        self.options = options or SlurmOptions()
        check_cluster(self.options.partition)

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Runs all jobs; one that dies never stops the others.

        Yields:
            How each ended, in the order in which they end. One that is told is forgotten: given again, it is
            submitted again.

        Raises:
            InputError: Slurm does not take the array, or another launcher is at work in the folder: nothing is
                submitted then; or Slurm never starts the jobs: those that wait are cancelled then.
            KeyboardInterrupt: Ctrl-C came; the jobs stay, and the message says so.
        """
        from ..training.folder import alone

        check_names(jobs)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        with alone(self.folder):
            arrays = self._found_again({job.name for job in jobs})
            known = {name for array in arrays for name in array.open}
            fresh = [job for job in jobs if job.name not in known]
            if fresh:
                arrays.append(self._submit(fresh, arrays))
            numbers = " ".join(str(array.identity) for array in arrays)
            logger.info("this command may end, and be started again, while Slurm works; scancel %s ends that", numbers)
            try:
                yield from self._wait(jobs, arrays)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"while Slurm goes on with the jobs (scancel {numbers} ends them); the same command waits for them"
                ) from None

    def _wait(self, jobs: Sequence[Job], arrays: list[_Array]) -> Iterator[Outcome]:
        left = {job.name: job for job in jobs}
        dead: dict[str, int] = {}  # name -> how many looks in a row found it ended without a record
        told: set[tuple[str, str]] = set()
        looked = time.monotonic()
        while left:
            is_time = time.monotonic() - looked > self.poll_seconds
            states = queue_states([array for array in arrays if array.open]) if is_time else None
            self._tell_why(arrays, states or {}, told)
            looked = time.monotonic() if is_time else looked
            for array in arrays:
                for name in [name for name in array.open if name in left]:
                    outcome = self._outcome(left[name], array)
                    if outcome is None and states is not None:
                        state = states.get(array.key(name), _GONE).state
                        dead[name] = dead.get(name, 0) + 1 if state in _ENDED else 0
                        # A record may reach us later than the state: a shared file system takes its time.
                        outcome = self._dead(left[name], array, state) if dead[name] > 1 else None
                    if outcome is not None:
                        del left[name]
                        yield outcome
                        array.open.remove(name)
                        self._note(arrays)
            if left:
                time.sleep(1.0 if self.poll_seconds > 1 else self.poll_seconds)

    def _tell_why(self, arrays: Sequence[_Array], states: Mapping[str, Standing], told: set[tuple[str, str]]) -> None:
        """Says why jobs wait, once an array and reason, and ends a wait that would never end.

        Args:
            arrays: that are waited for.
            states: of their jobs, as Slurm has them now.
            told: arrays with the reasons that were told; it grows.

        Raises:
            InputError: Slurm has said twice in a row that it does not start them; they are cancelled.
        """
        found = {
            (array.name, states[array.key(name)].reason): array
            for array in arrays
            for name in array.open
            if array.key(name) in states and states[array.key(name)].state == "PENDING"
        }
        for (name, reason), array in found.items():
            if (name, reason) not in told and reason not in _PLAIN:
                logger.info("array %s: jobs wait: %s", array.identity, reason)
            elif _NEVER.fullmatch(reason):
                ask("scancel", "--state=PENDING", str(array.identity))
                raise InputError(
                    f"Slurm never starts jobs of this kind ({reason}): {_mend(reason, self.options)}; those that "
                    "waited are cancelled"
                )
        told.update(found)

    def _outcome(self, job: Job, array: _Array) -> Outcome | None:
        """How a job ended, by its record; None where there is none."""
        record = self._read(array, job.name)
        return Outcome(job, record["status"], record["reason"]) if record else None

    def _read(self, array: _Array, job: str) -> dict[str, Any]:
        """A job's record; empty where there is none."""
        try:
            return json.loads(self._record(array, job).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    def _record(self, array: _Array, job: str) -> Path:
        return self.folder / array.name / f"{job}.json"

    def _dead(self, job: Job, array: _Array, state: str) -> Outcome:
        """The outcome of a job that is gone without a word."""
        state = accounted_state(array.key(job.name)) or state if state == "GONE" else state
        reason = {"TIMEOUT": "time limit of the job: Slurm says TIMEOUT", "GONE": "gone from Slurm's queue"}.get(
            state, f"Slurm says {state}"
        )
        if state == "FAILED":
            errors = self.folder / array.name / f"{array.key(job.name)}_0_log.err"
            lines = errors.read_text(encoding="utf-8", errors="replace").split("\n") if errors.exists() else []
            reason += "".join(f": {line.strip()}" for line in [line for line in lines if line.strip()][-1:])
        return Outcome(job, _DEAD, reason)

    def _found_again(self, names: set[str]) -> list[_Array]:
        """Arrays of an earlier launcher, of which jobs run or wait, or are done and wanted but were never told of.

        Those that failed meanwhile are submitted again, as whoever starts again wants it.
        """
        notes = self.folder / _NOTES
        arrays = [_Array(**entry) for entry in json.loads(notes.read_text("utf-8"))] if notes.exists() else []
        for array in arrays:
            array.identity = array.identity or number_of(array.name)
        states = queue_states(arrays)
        if states is None:
            raise InputError("Slurm does not say which jobs of the last start still run; try again in a while")
        for array in arrays:
            running = {job for job in array.open if states.get(array.key(job), _GONE).state not in _ENDED}
            done = {job for job in array.open if self._read(array, job).get("status") == 0}
            array.open = [job for job in array.open if job in running | done & names]
        arrays = [array for array in arrays if array.open]
        self._note(arrays)
        for array in arrays:
            logger.info("array %s: waiting for %d jobs of an earlier start", array.identity, len(array.open))
        return arrays

    def _note(self, arrays: Sequence[_Array]) -> None:
        with replacing(self.folder / _NOTES) as path:
            listed = [dataclasses.asdict(array) for array in arrays if array.open]
            path.write_text(json.dumps(listed, indent=1), encoding="utf-8")

    def _submit(self, jobs: Sequence[Job], arrays: Sequence[_Array]) -> _Array:
        """Submits jobs as an array; that it is about to is noted first, so that a kill in between submits none twice.

        Raises:
            InputError: sbatch refuses it.
        """
        import submitit

        names = [job.name for job in jobs]
        array = _Array(f"hf-speech-{uuid.uuid4().hex[:8]}", None, names, list(names))
        folder = self.folder / array.name
        executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=self.options.requeues + 1)
        parallel = min(self.parallel or len(jobs), len(jobs))
        executor.update_parameters(job_name=array.name, array_parallelism=parallel, **self.options.parameters())
        self._note([*arrays, array])
        try:
            # submitit prints what sbatch has said; the one line below has it.
            with contextlib.redirect_stderr(io.StringIO()), executor.batch():
                submitted = [executor.submit(self._task(job, self._record(array, job.name))) for job in jobs]
        except Exception as error:  # submitit's own kinds, and those of subprocess
            self._note(arrays)
            said = [line for line in str(error).splitlines() if "sbatch: error" in line] or [one_line(error)]
            raise InputError(f"sbatch does not take the jobs: {said[-1].strip()}; mend the options of Slurm") from error
        array.identity = submitted[0].job_id.partition("_")[0]
        self._note([*arrays, array])
        logger.info("array %s: %d jobs submitted, %d beside each other", array.identity, len(jobs), parallel)
        return array

    def _task(self, job: Job, record: Path) -> Task:
        options = self.options
        launch = [sys.executable, "-m"]
        if options.processes > 1:
            launch += ["torch.distributed.run", "--standalone", f"--nproc_per_node={options.processes}", "-m"]
        return Task(
            command=[*launch, "hf_speech.cli", "train", str(job.config)],
            log=job.log,
            record=record,
            requeues=options.requeues,
            patience=options.save_seconds,
            threads=max(1, options.cpus // options.processes),
            processes=options.processes,
            finished=_last_file(job.config),
        )


def _last_file(config: Path) -> Path | None:
    """What a run writes last; None where that can't be told, as of one that overwrites another."""
    try:
        fields = read_yaml(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):  # the command will say so, in its own words
        return None
    if not isinstance(fields, dict) or fields.get("overwrite") or "output_dir" not in fields:
        return None
    return Path(str(fields["output_dir"])).absolute() / FILE_NAME


def check_cluster(partition: str | None = None) -> None:
    """Refuses a Slurm that is not there, before anything is submitted.

    Raises:
        InputError: submitit is not installed, Slurm's commands are not, its controller does not answer, or it has no
            such partition.
    """
    if importlib.util.find_spec("submitit") is None:
        raise InputError("launcher slurm needs submitit: pip install 'hf_speech[slurm]'")
    for command in ("sbatch", "srun", "squeue", "sinfo"):
        if shutil.which(command) is None:
            raise InputError(
                f"there is no Slurm here: no {command} on PATH; go to a login node, or take launcher local"
            )
    answer = ask("sinfo", "--noheader", "--format=%R")
    if answer is None or answer.returncode != 0:
        said = answer.stderr.strip().splitlines() if answer else ["no answer within a minute"]
        raise InputError(f"Slurm does not answer: {(said or ['no reason given'])[-1]}; see `sinfo`")
    partitions = dict.fromkeys(answer.stdout.split())
    if partition is not None and partition not in partitions:
        raise unknown_name(partition, partitions, "partition of Slurm")


def queue_states(arrays: Sequence[_Array]) -> dict[str, Standing] | None:
    """How each job of some arrays stands in Slurm's queue; None where Slurm does not answer just now."""
    states: dict[str, Standing] = {}
    for array in arrays:
        if array.identity is None:
            continue
        # Both, since a cluster that was set up anew counts its jobs anew.
        which = ["--jobs", array.identity, "--name", array.name]
        answer = ask("squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r", *which)
        if answer is None or answer.returncode != 0 and "Invalid job id" not in answer.stderr:
            logger.info("squeue does not answer; the jobs are not touched by that")
            return None
        for line in filter(None, answer.stdout.splitlines()):
            key, state, reason = line.split("|", maxsplit=2)
            states[key] = Standing(state, reason)
    return states


def _mend(reason: str, options: SlurmOptions) -> str:
    """What to give in another way where Slurm never starts a job."""
    if reason == "PartitionTimeLimit" or "WallDuration" in reason:
        return f"minutes is {options.minutes}; give as few as the partition takes (sinfo --format='%P %l')"
    if "Account" in reason:
        return f"account is {options.account or 'the default'}; give one that the partition takes"
    if reason in ("QOSNotAllowed", "InvalidQOS"):
        return "your account has no quality of service there; give another partition or account"
    return "ask for less or for something else (cpus, gpus, memory_gb, minutes, constraint), or another partition"


def number_of(name: str) -> str | None:
    """Slurm's number for an array by its name, None where there is none in the queue."""
    answer = ask("squeue", "--noheader", "--states=all", "--format=%F", "--name", name)
    return next(iter(answer.stdout.split()), None) if answer and answer.returncode == 0 else None


def accounted_state(key: str) -> str | None:
    """The state in which a job ended, where the cluster keeps accounts of that."""
    if shutil.which("sacct") is None:
        return None
    answer = ask("sacct", "--noheader", "--allocations", "--parsable2", "--format=State", "--jobs", key)
    words = answer.stdout.split() if answer and answer.returncode == 0 else []
    return words[0] if words else None


def ask(*command: str) -> Any:
    """Runs one of Slurm's commands; None where it does not answer in time."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_ANSWER)
    except subprocess.TimeoutExpired:
        return None
