"""What jobs on a Slurm cluster are given: the fields of `SlurmLauncher`'s options, each with its meaning."""

import math
from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import InputError


def _meaning(text: str, default: Any) -> Any:
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": text, "several": True})
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class SlurmOptions:
    """What one job is given, and when it has to leave.

    Raises:
        InputError: a number that can't be.
    """

    partition: str | None = _meaning("partition of the cluster; none: its default", None)
    account: str | None = _meaning("account that pays; none: your default", None)
    gpus: int = _meaning("GPUs of a job", 0)
    gpu_type: str | None = _meaning("kind of GPU, as the cluster calls it, such as a100; none: any", None)
    constraint: str | None = _meaning("features that a node must have, such as gpu_mem_40g&infiniband", None)
    memory_gb: float | None = _meaning("memory of a job, GB; none: as the partition has it", None)
    cpus: int = _meaning("cores of a job", 4)
    processes: int = _meaning("processes of a job that train one model (torchrun), such as one a GPU", 1)
    minutes: int = _meaning("time limit of a job; one that needs longer saves, and goes on when requeued", 1440)
    save_seconds: int = _meaning("how long before its limit a job is told to save", 120)
    requeues: int = _meaning("how often a job that had to leave is put into the queue again", 3)
    setup: list[str] = _meaning(
        "a line of shell before a job, such as module load cuda; may be given several times", []
    )

    def __post_init__(self) -> None:
        least = {"gpus": 0, "cpus": 1, "processes": 1, "minutes": 1, "save_seconds": 15, "requeues": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise InputError(f"{name} is {value!r}; give a whole number of {low} or more")
        if self.save_seconds >= 60 * self.minutes:
            raise InputError(f"save_seconds is {self.save_seconds}, as long as the job; give fewer, or more minutes")
        if self.memory_gb is not None and not (0 < self.memory_gb and math.isfinite(self.memory_gb)):
            raise InputError(f"memory_gb is {self.memory_gb}; give a number above 0")
        if self.gpu_type and not self.gpus:
            raise InputError(f"gpu_type {self.gpu_type} without GPUs; give gpus, their number")
        if self.processes > max(self.cpus, self.gpus):
            raise InputError(f"processes is {self.processes}, more than cores; give cpus, at least as many")
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, str) and (not value or any(letter.isspace() for letter in value)):
                raise InputError(f"{item.name} is {value!r}; give a word without spaces, or leave it out")

    def parameters(self) -> dict[str, Any]:
        """The same as submitit's parameters of an executor."""
        given = {
            "partition": self.partition,
            "account": self.account,
            "constraint": self.constraint,
            "gpus_per_node": (f"{self.gpu_type}:{self.gpus}" if self.gpu_type else self.gpus) if self.gpus else None,
            "mem": None if self.memory_gb is None else f"{math.ceil(self.memory_gb * 1024)}M",
            "setup": self.setup or None,
        }
        return {
            **{name: value for name, value in given.items() if value is not None},
            "cpus_per_task": self.cpus,
            "time": self.minutes,
            "signal_delay_s": self.save_seconds,
            # Since Slurm 22.05 a step does not take its cores from the job.
            "srun_args": [f"--cpus-per-task={self.cpus}"],
            "additional_parameters": {"requeue": True},
        }
