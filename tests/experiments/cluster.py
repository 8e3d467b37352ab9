"""A Slurm cluster of one node on loopback, from Debian's packages slurm-wlm and munge; it starts in seconds."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PARTITION = "tiny"
_DAEMONS = ("munged", "slurmctld", "slurmd")
_CONFIGURATION = """
ClusterName=tiny
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait=20
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 Feature=small
PartitionName={partition} Nodes=ALL Default=YES MaxTime=60 State=UP
"""


def why_not() -> str:
    """Why there can be no cluster on this machine; empty where there can."""
    missing = [name for name in (*_DAEMONS, "sbatch", "runuser") if _find(name) is None]
    if missing:
        return f"needs Debian's slurm-wlm and munge: no {', '.join(missing)}"
    return "" if os.geteuid() == 0 else "Slurm's daemons are started as root"


@contextlib.contextmanager
def one_node(cpus: int = 4) -> Iterator[Path]:
    """Within, Slurm's commands find a cluster whose only node says that it has so many cores -> its folder.

    Its jobs are cancelled and its daemons ended, whatever happens within.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    daemons: list[subprocess.Popen[bytes]] = []
    before = os.environ.get("SLURM_CONF")
    try:
        os.environ["SLURM_CONF"] = str(_write_configuration(folder, cpus))
        daemons.append(_start(folder, "munged", *_munge(folder)))
        _until(lambda: (folder / "munge" / "socket").exists(), folder)
        daemons.append(_start(folder, "slurmctld", str(_find("slurmctld")), "-D", "-c"))
        daemons.append(_start(folder, "slurmd", str(_find("slurmd")), "-D"))
        _until(lambda: "idle" in slurm("sinfo", "--noheader", "--format=%T", check=False), folder)
        yield folder
    finally:
        slurm("scancel", "--me", "--state=PENDING", check=False)
        slurm("scancel", "--me", "--signal=KILL", "--full", check=False)
        with contextlib.suppress(TimeoutError):
            _until(lambda: not slurm("squeue", "--noheader", check=False), folder)
        for daemon in reversed(daemons):
            _end(daemon)
        if before is None:
            os.environ.pop("SLURM_CONF", None)
        else:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(folder, ignore_errors=True)


def slurm(*command: str, check: bool = True) -> str:
    """What one of Slurm's commands prints."""
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=60).stdout.strip()


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _write_configuration(folder: Path, cpus: int) -> Path:
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir()
    for place in (folder, folder / "munge"):
        place.chmod(0o711)
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in (first, second)]
    path = folder / "slurm.conf"
    fields = {"host": socket.gethostname().partition(".")[0], "ports": ports, "folder": folder, "cpus": cpus}
    path.write_text(_CONFIGURATION.format(**fields, partition=PARTITION), encoding="utf-8")
    return path


def _munge(folder: Path) -> list[str]:
    """The command of munged, as its own user, with a key of its own."""
    place, user = folder / "munge", pwd.getpwnam("munge")
    (place / "key").write_bytes(os.urandom(1024))
    (place / "key").chmod(0o400)
    for path in (place, place / "key"):
        os.chown(path, user.pw_uid, user.pw_gid)
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    flags = [f"--{flag}={place / name}" for flag, name in files.items()]
    return ["runuser", "-u", "munge", "--", str(_find("munged")), "--foreground", *flags]


def _start(folder: Path, name: str, *command: str) -> subprocess.Popen[bytes]:
    # They end with us also where we are killed.
    tied = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen([*tied, *command], stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(timeout=10)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _until(holds: Callable[[], bool], folder: Path, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            said = "".join(path.read_text(errors="replace")[-2000:] for path in sorted(folder.glob("*.log")))
            raise TimeoutError(f"the cluster does not come up, or its jobs do not end: {said}")
        time.sleep(0.2)
