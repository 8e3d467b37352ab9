"""How long the command line takes to answer, and how much of it `import hf_speech` is.

    python -m benchmarks.startup

Each number is the wall time of a whole process: the best and the median of ten, run by turns.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from hf_speech.files import replacing
from hf_speech.results import run_facts

from .limits import hold

RUNS = 10
COMMANDS = {
    "bare_interpreter": [sys.executable, "-c", "pass"],
    "import_hf_speech": [sys.executable, "-c", "import hf_speech"],
    "hf_speech_help": [str(Path(sys.executable).with_name("hf-speech")), "--help"],
}
LIMITS = {"import_hf_speech": 0.3, "hf_speech_help": 0.5}  # seconds
RESULTS = Path(__file__).parent / "results" / "startup.json"


def seconds(command: list[str]) -> float:
    """The wall time of a process that has to succeed."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measures and writes."""
    start = time.perf_counter()
    for command in COMMANDS.values():
        seconds(command)  # the first run writes byte code and fills the disk cache
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    measured = {name: {"best": min(values), "median": statistics.median(values)} for name, values in times.items()}
    bare = measured["bare_interpreter"]
    content = {
        "seconds": measured,
        "seconds_beyond_the_interpreter": {
            name: {kind: values[kind] - bare[kind] for kind in values}
            for name, values in measured.items()
            if name != "bare_interpreter"
        },
        "runs": RUNS,
        "run": run_facts(None, device="cpu", wall_seconds=time.perf_counter() - start),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    with replacing(RESULTS) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for name, values in measured.items():
        print(f"{name:18s} best {values['best']:.3f} s, median {values['median']:.3f} s")
    print(f"written to {RESULTS}")
    hold({name: values["median"] for name, values in measured.items()}, LIMITS)


if __name__ == "__main__":
    main()
