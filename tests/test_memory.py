"""Memory that is kept while a CPU computes: asked for once, given back in the end, unless the user has said."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

LOOK = """
import json, multiprocessing, resource
import numpy as np, torch
from hf_speech.memory import kept_memory

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(1 << 24)  # 64 MB, more than glibc ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    lines = open("/proc/self/status", encoding="utf-8").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1e3

torch.set_num_threads(1)
found = {"before": faults(8), "resident": resident()}
device = torch.device("cpu")
with kept_memory(torch.device("meta")):
    found["elsewhere"] = faults(8)
with kept_memory(device):
    found["first"] = faults(1)
    reader = multiprocessing.get_context("fork").Pool(1)
    found["in a reader"] = reader.apply(faults, (8,))
    reader.terminate()
    with kept_memory(device):
        found["within"] = faults(8)
    found["still"] = faults(8)
    held = [torch.ones(1 << 24) for _ in range(8)]
    found["most"] = resident()
    del held
found["afterwards"] = resident()
print(json.dumps(found))
"""


def looked(**environment: str) -> dict[str, float]:
    untold = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC", "LD_PRE"))}
    run = subprocess.run(
        [sys.executable, "-c", LOOK], env={**untold, **environment}, capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout)


@pytest.mark.skipif(not platform.libc_ver()[0] == "glibc", reason="the C library is another")
def test_within_memory_is_asked_for_once_and_afterwards_it_is_given_back() -> None:
    found = looked()
    if "[always]" in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii"):
        pytest.skip("this system takes large pages for all memory")
    pages = (64 << 20) // os.sysconf("SC_PAGESIZE")
    assert found["before"] >= 8 * pages and found["elsewhere"] >= 8 * pages
    assert found["within"] <= pages / 10 and found["still"] <= pages / 10
    assert found["in a reader"] >= 6 * pages  # which has left off holding
    assert found["most"] >= found["resident"] + 400
    assert found["afterwards"] <= found["resident"] + 50


def test_what_the_user_has_told_the_library_stays() -> None:
    found = looked(MALLOC_ARENA_MAX="2")
    assert found["within"] >= 0.9 * found["before"]
