"""Runs beside each other on this machine: equal to runs alone, and none pays for another's end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hf_speech.errors import InputError
from hf_speech.experiments.jobs import Job, Outcome, reason_of, status_of_ranks
from hf_speech.experiments.local import LocalLauncher
from tests.training.runs import same_weights, write_yaml

LONG: dict[str, Any] = {"max_steps": 2000, "logging_steps": 1, "save_strategy": "steps", "save_steps": 5}
# Runs jobs given as JSON, a list of configs, then says how they ended; what is heard is said by the exit status.
SCRIPT = """
import json, sys
from pathlib import Path
from hf_speech.errors import StoppedError
from hf_speech.experiments.jobs import Job
from hf_speech.experiments.local import LocalLauncher

if __name__ == "__main__":
    configs = map(Path, json.loads(sys.argv[2]))
    jobs = [Job(config.stem, config, config.with_suffix(".log")) for config in configs]
    try:
        print([(outcome.job.name, outcome.status) for outcome in LocalLauncher(int(sys.argv[1])).run(jobs)])
    except StoppedError as stopped:
        sys.exit(f"stopped: {stopped}")
"""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of floats come out the same, bit for bit, on one thread only; and there is no GPU to be had."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def make_job(folder: Path, corpus: Path, name: str, **fields: Any) -> Job:
    """A run into folder/name of TINY's fields, with others above them."""
    given = {"dataset": str(corpus), "test": "none", "output_dir": str(folder / name), **fields}
    return Job(name, write_yaml(folder / f"{name}.yaml", **given), folder / f"{name}.log")


def said(job: Job) -> str:
    return job.log.read_text(encoding="utf-8") if job.log.exists() else ""


def wait_for(holds: Callable[[], Any], seconds: float = 120) -> Any:
    """What `holds` gives as soon as that is true."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = holds()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it does not come")


def writers(log: Path) -> list[int]:
    """The processes that have a log as their standard error."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(place / "fd" / "2") == str(log):
                found.append(int(place.name))
        except OSError:  # it has ended, or is no file
            continue
    return found


def is_there(process: int) -> bool:
    """Whether a process lives; one that has ended and was not waited for does not."""
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def parent_of(process: int) -> int:
    return int((Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[1])


def start_script(folder: Path, jobs: list[Job], parallel: int) -> subprocess.Popen[str]:
    script = folder / "launch.py"
    script.write_text(SCRIPT, encoding="utf-8")
    words = [sys.executable, str(script), str(parallel), json.dumps([str(job.config) for job in jobs])]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.slow
def test_none_pays_for_another(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Five jobs on two places: one with a field that can't be, one that is killed while it trains."""
    fields: dict[str, Any] = {"shared": {"seed": 1}, "bad": {"seed": -1}, "killed": LONG}
    fields |= {"first": {"seed": 2, "bf16": True}, "last": {"seed": 1}}
    jobs = {name: make_job(tmp_path, corpus, name, **given) for name, given in fields.items()}
    jobs["last"].log.write_text("said by an earlier start\n", encoding="utf-8")

    def kill() -> None:
        wait_for(lambda: "step 2 of" in said(jobs["killed"]))
        for process in writers(jobs["killed"].log):
            os.kill(process, signal.SIGKILL)

    caplog.set_level("INFO")
    killer = threading.Thread(target=kill)
    killer.start()
    outcomes = {outcome.job.name: outcome for outcome in LocalLauncher(2).run(list(jobs.values()))}
    killer.join()
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "shared": 0, "bad": 2, "killed": -9, "first": 0, "last": 0
    }  # fmt: skip
    started = [line for line in map(str, caplog.messages) if ": started, " in line]
    assert [line.rpartition(",")[0] for line in started] == [
        f"{name}: started, run {number} of 5" for number, name in enumerate(jobs, start=1)
    ]
    assert outcomes["bad"].reason == f"{jobs['bad'].config}: seed is -1; give a whole number of 0 or more"
    assert outcomes["killed"].reason == "killed by signal 9 (SIGKILL), perhaps for its memory"
    assert outcomes["shared"].reason == ""
    # The one that came last, after others in its place, has the weights of the command alone.
    alone = make_job(tmp_path, corpus, "alone", seed=1)
    subprocess.run([sys.executable, "-m", "hf_speech.cli", "train", str(alone.config)], check=True, capture_output=True)
    assert same_weights(tmp_path / "alone", tmp_path / "last")
    assert same_weights(tmp_path / "alone", tmp_path / "shared")
    assert not same_weights(tmp_path / "alone", tmp_path / "first")
    assert said(jobs["last"]).startswith("said by an earlier start\ntraining on 24 rows\n")
    assert f"finished: {tmp_path / 'last'}" in said(jobs["last"])
    for job in jobs.values():
        assert "it/s" not in said(job) and "\r" not in said(job)  # no bars


@pytest.mark.slow
def test_sigterm_saves_the_runs(corpus: Path, tmp_path: Path) -> None:
    """The launcher passes it on, and ends when they have saved; the runs go on from there."""
    jobs = [make_job(tmp_path, corpus, name, **LONG) for name in ("one", "two", "three")]
    launcher = start_script(tmp_path, jobs, parallel=2)
    wait_for(lambda: all("step 7 of" in said(job) for job in jobs[:2]))
    server = parent_of(writers(jobs[0].log)[0])
    os.kill(server, signal.SIGTERM)  # to all processes, as schedulers do it
    os.killpg(launcher.pid, signal.SIGTERM)
    _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 1 and errors.splitlines()[-1] == "stopped: 2 of 2 runs at work have saved"
    for job in jobs[:2]:
        assert "the same command goes on from there" in said(job).splitlines()[-1]
        assert not writers(job.log)
        steps = [int(path.name.partition("-")[2]) for path in (tmp_path / job.name).glob("checkpoint-*")]
        assert max(steps) >= 7
    assert not jobs[2].log.exists()


@pytest.mark.slow
def test_what_has_only_begun_has_nothing_to_save(corpus: Path, tmp_path: Path) -> None:
    jobs = [make_job(tmp_path, corpus, name, **LONG) for name in ("one", "two")]
    launcher = start_script(tmp_path, jobs, parallel=2)
    processes = []
    for job in jobs:
        processes += wait_for(lambda job=job: writers(job.log))  # a run has its log before all else
        os.kill(processes[-1], signal.SIGSTOP)
    launcher.send_signal(signal.SIGTERM)
    time.sleep(1.5)  # it has passed it on by then
    for process in processes:
        os.kill(process, signal.SIGCONT)
    told = "0 of 2 runs at work have saved, 2 had nothing to save yet and start as they did before"
    assert launcher.communicate(timeout=60)[1].splitlines()[-1] == f"stopped: {told}"
    assert not list(tmp_path.glob("*/checkpoint-*"))


def test_ctrl_c_is_passed_on_and_a_second_one_kills(corpus: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, corpus, "long", **LONG)
    launcher = start_script(tmp_path, [job], parallel=1)
    wait_for(lambda: "step 2 of" in said(job))
    stopped = writers(job.log)
    for process in stopped:
        os.kill(process, signal.SIGSTOP)  # it can't save any more
    launcher.send_signal(signal.SIGINT)
    time.sleep(1.5)
    assert launcher.poll() is None  # it waits
    launcher.send_signal(signal.SIGINT)
    told = "by Ctrl-C: 0 of 1 runs at work have saved, 1 was ended before it saved; the same command goes on from there"
    assert launcher.communicate(timeout=20)[1].splitlines()[-1] == f"KeyboardInterrupt: {told}"
    assert stopped and not any(map(is_there, stopped))


@pytest.mark.slow
def test_a_killed_launcher_leaves_no_process(corpus: Path, tmp_path: Path) -> None:
    jobs = [make_job(tmp_path, corpus, name, **LONG, dataloader_num_workers=1) for name in ("one", "two")]
    launcher = start_script(tmp_path, jobs, parallel=2)
    wait_for(lambda: all("step 2 of" in said(job) for job in jobs))
    # A run and its data loader's worker, twice; workers come and go with the epochs.
    group = wait_for(lambda: len(found := sorted(writers(jobs[0].log) + writers(jobs[1].log))) >= 4 and found)
    server = parent_of(group[0])
    launcher.kill()
    launcher.communicate(timeout=10)
    wait_for(lambda: not any(map(is_there, [*group, server])), seconds=10)


def test_each_run_has_its_share_of_cores_and_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    launcher = LocalLauncher(3)
    given = [launcher._environment(index) for index in range(3)]
    assert [each["OMP_NUM_THREADS"] for each in given] == ["2", "2", "2"]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in given] == ["4", "6", "4"]
    assert LocalLauncher(1)._environment(0)["CUDA_VISIBLE_DEVICES"] == "4,6"  # a run alone has them all
    assert LocalLauncher(16)._environment(0)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert launcher._environment(0)["OMP_NUM_THREADS"] == "5"


def test_threads_of_a_run(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen from outside, while it trains; the server of forks knows only of those of its own start."""
    seen: dict[str, int] = {}

    def look(job: Job) -> None:
        wait_for(lambda: "step 2 of" in said(job))
        [process] = writers(job.log)
        seen[job.name] = len(list((Path("/proc") / str(process) / "task").iterdir()))
        os.kill(process, signal.SIGTERM)

    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        job = make_job(tmp_path, corpus, threads, **LONG)
        watcher = threading.Thread(target=look, args=(job,))
        watcher.start()
        [outcome] = LocalLauncher(1).run([job])
        watcher.join()
        assert outcome.status == 143 and outcome.reason.endswith("the same command goes on from there")
    more = seen["3"] - seen["1"]
    assert more > 0 and more % 2 == 0  # two beside each thread that computes


REASONS: dict[str, tuple[int, str, str]] = {
    "done": (0, "anything\n", ""),
    "input": (2, "training\nhf-speech train: x.yaml: seed is -1; mend it\nlater\n", "x.yaml: seed is -1; mend it"),
    "fault": (1, "Traceback (most recent call last):\n  File\nValueError: two words\nbye\n", "ValueError: two words"),
    "other": (3, "one\nlast words\n\n", "last words"),
    "nothing": (3, "", "ended with status 3 and said nothing"),
    "memory": (-9, "hf-speech train: x\n", "killed by signal 9 (SIGKILL), perhaps for its memory"),
    "fault of memory": (-11, "", "killed by signal 11 (SIGSEGV)"),
    "told before it trained": (143, "", "killed by signal 15 (SIGTERM)"),
    "saved": (143, "hf-speech train: saved\n", "saved"),
}


@pytest.mark.parametrize("name", REASONS)
def test_reasons(name: str, tmp_path: Path) -> None:
    status, words, reason = REASONS[name]
    log = tmp_path / "log"
    before = "hf-speech train: of an earlier start\n"
    log.write_text(before + words, encoding="utf-8")
    assert reason_of(status, log, len(before)) == reason
    assert "\n" not in reason_of(status, log)


RANKS: dict[str, tuple[int, str, int]] = {
    "done": (0, "  exitcode  : 2 (pid: 1)\n", 0),
    "the first that failed": (1, "  exitcode  : -15 (pid: 1)  (SIGTERM)\nRoot Cause:\n  exitcode  : 2 (pid: 2) \n", 2),
    "told to end": (1, "SignalException: Process 1 got signal: 15\n", 143),
    "torchrun itself": (1, "torchrun: error: bad flag\n", 1),
    "killed": (-9, "  exitcode  : 2 (pid: 1)\n", -9),
}


@pytest.mark.parametrize("name", RANKS)
def test_statuses_of_several_processes(name: str, tmp_path: Path) -> None:
    """Of lines as torchrun writes them."""
    status, words, expected = RANKS[name]
    log = tmp_path / "log"
    log.write_text(words, encoding="utf-8")
    assert status_of_ranks(status, log) == expected


def test_what_is_refused(tmp_path: Path) -> None:
    job = Job("a", tmp_path / "a.yaml", tmp_path / "a.log")
    with pytest.raises(InputError, match="parallel is 0"):
        LocalLauncher(0)
    with pytest.raises(InputError, match="a name that a file can have"):
        Job("a/b", job.config, job.log)
    with pytest.raises(InputError, match="relative"):
        Job("a", Path("a.yaml"), job.log)
    with pytest.raises(InputError, match="two jobs have the name a"):
        next(iter(LocalLauncher(2).run([job, job])))
    with pytest.raises(InputError, match="two jobs have the log"):
        next(iter(LocalLauncher(2).run([job, Job("b", job.config, job.log)])))
    assert list(LocalLauncher(2).run([])) == []
    [outcome] = LocalLauncher(4).run([job])
    assert outcome == Outcome(job, 2, f"{job.config}: no such file; give the path of a YAML file of fields")
