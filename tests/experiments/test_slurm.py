"""Runs on a real Slurm of one node: two beside each other, one sent away and back, one that can't, one cancelled."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hf_speech.cli.entry import parser
from hf_speech.errors import InputError
from hf_speech.experiments.command import launcher_of
from hf_speech.experiments.jobs import Job, Outcome
from hf_speech.experiments.options import SlurmOptions
from hf_speech.experiments.slurm import _NEVER, SlurmLauncher, _mend
from hf_speech.experiments.task import Task
from tests.training.runs import command, same_weights

from .cluster import PARTITION, one_node, slurm, why_not
from .test_launchers import LONG, make_job, parent_of, said, wait_for, writers

needs_slurm = pytest.mark.skipif(bool(why_not()), reason=why_not())
OPTIONS = SlurmOptions(partition=PARTITION, cpus=1, minutes=10, save_seconds=30)
SHORT: dict[str, Any] = {"max_steps": 4}
# Long enough that it is seen while it trains.
TRAINED: dict[str, Any] = {"max_steps": 60, "logging_steps": 1, "save_strategy": "steps", "save_steps": 50}
NOT_BELOW_0 = "give a whole number of 0 or more"
TOO_OFTEN = "stopped by Slurm after it was requeued {} times, the most it may be (requeues)"
SCRIPT = """
import json, sys
from pathlib import Path
from hf_speech.experiments.jobs import Job
from hf_speech.experiments.slurm import SlurmLauncher
from tests.experiments.test_slurm import OPTIONS

jobs = [Job(config.stem, config, config.with_suffix(".log")) for config in map(Path, json.loads(sys.argv[2]))]
for outcome in SlurmLauncher(Path(sys.argv[1]), 2, OPTIONS, poll_seconds=1).run(jobs):
    print(outcome.job.name, outcome.status, flush=True)
"""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the launchers' tests."""
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    with one_node() as folder:
        yield folder


def launcher(folder: Path, **options: Any) -> SlurmLauncher:
    given = {name: getattr(OPTIONS, name) for name in ("partition", "cpus", "minutes", "save_seconds")}
    return SlurmLauncher(folder / "slurm", 2, SlurmOptions(**{**given, **options}), poll_seconds=1)


def queue() -> dict[str, str]:
    """Number of a job -> its state."""
    lines = slurm("squeue", "--noheader", "--array", "--states=all", "--format=%i %T").splitlines()
    return dict(line.split() for line in lines)


def notes(folder: Path) -> list[dict[str, Any]]:
    path = folder / "slurm" / "arrays.json"
    return json.loads(path.read_text()) if path.exists() else []


class Watching(threading.Thread):
    """Looks at the queue, and does something to a job once its run is at a step."""

    def __init__(self, folder: Path, job: Job, step: int, *commands: str) -> None:
        super().__init__(daemon=True)
        self.folder, self.job, self.mark, self.commands = folder, job, f"step {step} of", commands
        self.most, self.waited, self.ended, self.number = 0, 0, threading.Event(), ""

    def run(self) -> None:
        while not self.ended.is_set():
            self.most = max(self.most, list(queue().values()).count("RUNNING"))
            if not self.number and self.mark in said(self.job):
                [array] = notes(self.folder)
                index = array["jobs"].index(self.job.name)
                self.number = f"{array['identity']}_{index}" if len(array["jobs"]) > 1 else array["identity"]
                for command in self.commands:
                    slurm(*command.format(self.number).split())
            self.waited = self.waited + 1 if self.number and queue().get(self.number) == "PENDING" else 0
            if self.waited > 6:
                # Slurm lets a job wait for two minutes after it was sent away, so that its end has come in; here, 3 s.
                slurm("scontrol", "update", f"job={self.number}", "StartTime=now", check=False)
            time.sleep(0.5)

    def stop(self) -> None:
        self.ended.set()
        self.join()


def wait_for_a_step(job: Job, times: int) -> None:
    """Until a job has been started so many times, and trains."""
    wait_for(lambda: said(job).count("training on") == times and "\nstep " in said(job).rpartition("training on")[2])


@pytest.mark.slow
@needs_slurm
def test_an_array(cluster: Path, corpus: Path, tmp_path: Path) -> None:
    """Four jobs, two beside each other; one with a field that can't be, one requeued while it trains."""
    fields: dict[str, Any] = {"requeued": TRAINED, "short": SHORT, "bad": {"seed": -1}, "last": SHORT}
    jobs = {name: make_job(tmp_path, corpus, name, **given) for name, given in fields.items()}
    watching = Watching(tmp_path, jobs["requeued"], 5, "scontrol requeue {}")
    watching.start()
    outcomes = {outcome.job.name: outcome for outcome in launcher(tmp_path).run(list(jobs.values()))}
    watching.stop()
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "requeued": 0, "short": 0, "bad": 2, "last": 0
    }, [outcome.reason for outcome in outcomes.values()]  # fmt: skip
    assert outcomes["bad"].reason == f"{jobs['bad'].config}: seed is -1; {NOT_BELOW_0}"
    assert watching.most == 2 and watching.number
    assert said(jobs["requeued"]).count("training on 24 rows") == 2
    assert f"going on from {tmp_path / 'requeued'}/checkpoint-" in said(jobs["requeued"])
    assert notes(tmp_path) == []  # all told
    assert stat.S_IMODE((tmp_path / "slurm").stat().st_mode) == 0o700
    alone = make_job(tmp_path, corpus, "alone", **TRAINED)
    assert command("train", alone.config) == 0
    assert same_weights(tmp_path / "alone", tmp_path / "requeued")


@needs_slurm
@pytest.mark.slow
def test_a_launcher_that_was_killed_submits_nothing_twice(cluster: Path, corpus: Path, tmp_path: Path) -> None:
    """And one of its jobs is cancelled: reported as dead, in Slurm's own word."""
    jobs = [make_job(tmp_path, corpus, "one", **LONG), make_job(tmp_path, corpus, "two", **TRAINED)]
    words = [sys.executable, "-c", SCRIPT, str(tmp_path / "slurm"), json.dumps([str(job.config) for job in jobs])]
    before = set(queue())
    first = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    wait_for(lambda: all("step 2 of" in said(job) for job in jobs))
    first.kill()
    first.wait()
    submitted = set(queue()) - before
    assert len(submitted) == 2
    watching = Watching(tmp_path, jobs[0], 3, "scancel {}")
    watching.start()
    outcomes = {outcome.job.name: outcome for outcome in launcher(tmp_path).run(jobs)}
    watching.stop()
    assert set(queue()) - before == submitted
    assert (outcomes["two"].status, outcomes["two"].reason) == (0, "")
    assert (outcomes["one"].status, outcomes["one"].reason) == (-9, "Slurm says CANCELLED")
    assert not writers(jobs[0].log)
    # Told once, it is submitted again when it is wanted again, and goes on.
    jobs[0].config.write_text(jobs[0].config.read_text().replace("max_steps: 2000", "max_steps: 2000\nseed: -1"))
    [again] = launcher(tmp_path).run(jobs[:1])
    assert again.status == 2 and len(set(queue()) - before) == 3


@needs_slurm
@pytest.mark.slow
def test_its_time_is_up(cluster: Path, corpus: Path, tmp_path: Path) -> None:
    """Submitit's signal, as before a time limit: it saves, waits for its turn, goes on; as often as it may."""
    job = make_job(tmp_path, corpus, "long", **LONG)
    watching = Watching(tmp_path, job, 1)
    watching.start()
    told: list[int] = []

    def tell() -> None:
        """Twice; the second time in the run that went on."""
        for times in (1, 2):
            wait_for_a_step(job, times)
            [array] = notes(tmp_path)
            slurm("scancel", "--signal=USR2", str(array["identity"]))
            told.append(times)
            wait_for(lambda: not writers(job.log))

    telling = threading.Thread(target=tell)
    telling.start()
    [outcome] = launcher(tmp_path, requeues=1).run([job])
    telling.join()
    watching.stop()
    assert told == [1, 2]
    assert outcome.status == 143 and "requeued 1 times" in outcome.reason
    assert said(job).count("going on from") == 1 and said(job).count("the same command goes on from there") == 2


@needs_slurm
@pytest.mark.slow
def test_its_memory_runs_out(cluster: Path, corpus: Path, tmp_path: Path) -> None:
    """The kernel kills the run, or the whole of the job."""
    jobs = [make_job(tmp_path, corpus, name, **LONG) for name in ("run", "all")]
    told: list[str] = []

    def kill() -> None:
        for job in jobs:
            wait_for_a_step(job, 1)
            [process] = writers(job.log)
            os.kill(process if job.name == "run" else parent_of(process), signal.SIGKILL)
            told.append(job.name)

    killing = threading.Thread(target=kill)
    killing.start()
    outcomes = {outcome.job.name: outcome for outcome in launcher(tmp_path).run(jobs)}
    killing.join()
    assert told == ["run", "all"]
    assert outcomes["run"].status == -9
    assert outcomes["run"].reason == "killed by signal 9 (SIGKILL), perhaps for its memory"
    assert outcomes["all"].status == -9 and outcomes["all"].reason.startswith("Slurm says FAILED")


@needs_slurm
@pytest.mark.slow
def test_jobs_of_two_processes(cluster: Path, corpus: Path, tmp_path: Path) -> None:
    """Their statuses, torchrun notwithstanding; one is requeued, and its ranks go on."""
    fields: dict[str, Any] = {"bad": {"seed": -1}, "sent": {**TRAINED, "max_steps": 300}}
    jobs = {name: make_job(tmp_path, corpus, name, **given) for name, given in fields.items()}
    watching = Watching(tmp_path, jobs["sent"], 5, "scancel --signal=USR2 {}")
    watching.start()
    outcomes = {o.job.name: o for o in launcher(tmp_path, cpus=2, processes=2).run(list(jobs.values()))}
    watching.stop()
    assert outcomes["bad"] == Outcome(jobs["bad"], 2, f"{jobs['bad'].config}: seed is -1; {NOT_BELOW_0}")
    assert outcomes["sent"] == Outcome(jobs["sent"], 0, "")
    assert "going on from" in said(jobs["sent"]) and "SignalException" in said(jobs["sent"])


@needs_slurm
def test_what_slurm_does_not_take(
    cluster: Path, corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job, before = make_job(tmp_path, corpus, "one"), set(queue())
    cases: dict[str, dict[str, Any]] = {
        "unknown partition of Slurm 'tinny' (did you mean 'tiny'?); valid: tiny": {"partition": "tinny"},
        "sbatch does not take the jobs": {"constraint": "huge"},
        "Requested node configuration is not available": {"memory_gb": 4000.0},
    }
    for words, options in cases.items():
        with pytest.raises(InputError) as refused:
            list(launcher(tmp_path, **options).run([job]))
        assert words in str(refused.value) and "\n" not in str(refused.value), refused.value
    # Slurm may count a job that it refuses.
    assert all(state == "FAILED" for number, state in queue().items() if number not in before)
    assert not notes(tmp_path) and not said(job)
    assert capfd.readouterr().err == ""  # sbatch's own words are in the line


@needs_slurm
def test_jobs_that_never_start(cluster: Path, corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The partition takes an hour. Slurm takes the array, says why it waits, and would let it wait for ever."""
    caplog.set_level("INFO")
    jobs, before = [make_job(tmp_path, corpus, name) for name in ("one", "two")], set(queue())
    with pytest.raises(InputError) as refused:
        list(launcher(tmp_path, minutes=61).run(jobs))
    line = "Slurm never starts jobs of this kind (PartitionTimeLimit): minutes is 61; give as few as the partition"
    assert str(refused.value).startswith(line)
    word = f"array {notes(tmp_path)[0]['identity']}: jobs wait: PartitionTimeLimit"
    assert caplog.messages.count(word) == 1  # before it has looked Slurm may say PartitionConfig
    assert {state for number, state in queue().items() if number not in before} == {"CANCELLED"}
    # Given again with fewer they are submitted anew.
    jobs[0].config.write_text("seed: -1")
    assert [outcome.status for outcome in launcher(tmp_path).run(jobs[:1])] == [2]


# Slurm's words for what passes, and for what does not, of one job each.
PASSES = ("Priority", "Resources", "Dependency", "JobArrayTaskLimit", "BeginTime", "QOSMaxJobsPerUserLimit", "NodeDown")
PASSES += ("AssocGrpCpuLimit", "ReqNodeNotAvail, UnavailableNodes:vm", "QOSMaxCpuPerUserLimit", "AssocMaxJobsLimit")
STAYS = {
    "PartitionTimeLimit": "minutes is 1440",
    "AssocMaxWallDurationPerJobLimit": "minutes is 1440",
    "AccountNotAllowed": "account is the default",
    "InvalidQOS": "no quality of service",
    "BadConstraints": "ask for less",
    "PartitionNodeLimit": "ask for less",
    "QOSMaxCpuPerJobLimit": "ask for less",
    "QOSMaxGRESPerJob": "ask for less",
    "QOSMaxMemoryPerNode": "ask for less",
    "QOSMinCpuNotSatisfied": "ask for less",
}


def test_reasons_for_waiting() -> None:
    assert [reason for reason in (*PASSES, *STAYS) if _NEVER.fullmatch(reason)] == list(STAYS)
    for reason, words in STAYS.items():
        assert words in _mend(reason, SlurmOptions())


@needs_slurm
def test_ctrl_c_leaves_the_jobs_to_slurm(cluster: Path, corpus: Path, tmp_path: Path) -> None:
    job, before = make_job(tmp_path, corpus, "one", **LONG), set(queue())
    threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt, match=r"^while Slurm .* \(scancel \d+ ends them\); the same command waits"):
        list(launcher(tmp_path).run([job]))
    [number] = set(queue()) - before
    assert queue()[number] in ("PENDING", "RUNNING")
    slurm("scancel", number)


@needs_slurm
def test_lines_of_shell_stay_whole(cluster: Path, tmp_path: Path) -> None:
    lines = ["export LD=a,b", "module load cuda"]
    words = ["crossval", "x.yaml", "--launcher", "slurm", *(word for line in lines for word in ("--setup", line))]
    made = launcher_of(parser().parse_args([*words, "--memory-gb", "2", "--cpus", "2"]), tmp_path)
    assert (made.options.setup, made.options.memory_gb, made.options.cpus) == (lines, 2.0, 2)


@needs_slurm
def test_a_slurm_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "slurm.conf"
    conf.write_text("ClusterName=none\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=1\nMessageTimeout=2\n")
    monkeypatch.setenv("SLURM_CONF", str(conf))
    with pytest.raises(InputError, match="^Slurm does not answer: .*; see `sinfo`$"):
        launcher(tmp_path)


def test_no_slurm_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="there is no Slurm here: no sbatch on PATH; go to a login node, or take"):
        launcher(tmp_path)


# What a command does when it is told to end, how often it may be requeued -> the record, and whether it is run again.
TOLD: dict[str, tuple[str, int, dict[str, Any] | None, bool]] = {
    "saves": ("sys.exit(143)", 1, None, True),
    "saves for the last time": ("sys.exit(143)", 0, {"status": 143, "reason": TOO_OFTEN.format(0)}, False),
    "is done by then": ("sys.exit(0)", 1, {"status": 0, "reason": ""}, False),
    "fails": ("sys.exit('ValueError: x')", 1, {"status": 1, "reason": "ValueError: x"}, False),
    "goes on": ("None", 1, None, True),
    "is done, though told": ("Path(sys.argv[1]).touch(); sys.exit(143)", 1, {"status": 0, "reason": ""}, False),
}


def make_task(folder: Path, code: str, requeues: int) -> Task:
    """A command in Python, with the path of what it writes last as its argument."""
    words = [sys.executable, "-c", f"import signal, sys, time\nfrom pathlib import Path\n{code}", str(folder / "last")]
    return Task(words, folder / "log", folder / "record", requeues, patience=12, threads=1, finished=folder / "last")


def record_of(folder: Path) -> dict[str, Any] | None:
    return json.loads((folder / "record").read_text()) if (folder / "record").exists() else None


@pytest.mark.parametrize("name", TOLD)
def test_a_task_that_is_told_to_end(name: str, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    act, requeues, record, is_again = TOLD[name]
    code = f"signal.signal(signal.SIGTERM, lambda *_: {act})\n" if "; " not in act else (
        f"def end(*_):\n    {act}\nsignal.signal(signal.SIGTERM, end)\n"
    )  # fmt: skip
    task = make_task(tmp_path, f"{code}print('ready', flush=True)\nwhile True: time.sleep(0.1)", requeues)
    task._start()
    wait_for(lambda: (tmp_path / "log").read_text() == "ready\n")
    os.kill(task._child.pid, signal.SIGUSR2)  # Slurm sends its signal to all processes
    again = task.checkpoint()
    assert task._child.wait() is not None
    assert record_of(tmp_path) == record
    assert (again is not None and again.function == task) == is_again


def test_a_task_that_was_restarted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, restarts, is_finished, status in (
        ("first", 0, True, 7),
        ("second", 1, False, 7),
        ("done", 1, True, 0),
        ("too often", 2, False, 143),
    ):
        folder = tmp_path / name
        folder.mkdir()
        if is_finished:
            (folder / "last").touch()
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
        assert make_task(folder, "sys.exit(7)", requeues=1)() == status
        record = record_of(folder)
        assert record is not None and record["status"] == status
        assert (record["reason"] == TOO_OFTEN.format(1)) == (status == 143)
        assert (folder / "log").exists() == (status == 7)


REFUSED: dict[str, dict[str, Any]] = {
    "cpus is 0; give a whole number of 1 or more": {"cpus": 0},
    "minutes is 1.5; give a whole number": {"minutes": 1.5},
    "requeues is -1; give a whole number of 0": {"requeues": -1},
    "memory_gb is nan; give a number above 0": {"memory_gb": float("nan")},
    "gpu_type a100 without GPUs; give gpus": {"gpu_type": "a100"},
    "processes is 8, more than cores": {"processes": 8},
    "partition is 'a b'; give a word": {"partition": "a b"},
    "save_seconds is 120, as long as the job": {"minutes": 2},
}


@pytest.mark.parametrize("words", REFUSED)
def test_options_that_can_not_be(words: str) -> None:
    with pytest.raises(InputError, match=words):
        SlurmOptions(**REFUSED[words])


def test_options_in_submitits_words() -> None:
    options = SlurmOptions(gpus=2, gpu_type="a100", constraint="gpu40", memory_gb=12.5, cpus=8, minutes=90)
    given = options.parameters()
    assert given["gpus_per_node"] == "a100:2" and given["mem"] == "12800M" and given["time"] == 90
    assert "partition" not in given and "setup" not in given
    submitit = pytest.importorskip("submitit")
    text = submitit.slurm.slurm._make_sbatch_string("run", "folder", map_count=3, **given)
    for line in ("gpus-per-node=a100:2", "constraint=gpu40", "signal=USR2@120", "time=90", "mem=12800M", "requeue"):
        assert f"#SBATCH --{line}\n" in text
