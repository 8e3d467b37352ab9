"""What the tests of `prepare` share: preparing, and reading what was written without this package."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soundfile as sf

from hf_speech.corpora.builder import Corpus
from hf_speech.data.problems import Problems

Run = Callable[..., dict[str, Any]]
Find = Callable[..., tuple[Corpus, Problems]]

# Reads a prepared folder without this package: ids and a digest of the samples of every row, by split.
WITHOUT_US = """
import hashlib, io, json, sys
sys.modules["hf_speech"] = None
import soundfile as sf
from datasets import Audio, load_dataset
loaded = load_dataset(sys.argv[1], *sys.argv[3:], cache_dir=sys.argv[2])
found = {}
for split, rows in loaded.items():
    assert isinstance(rows.features["audio"], Audio), rows.features
    found[split] = []
    for row in rows.cast_column("audio", Audio(decode=False)):
        audio = row.pop("audio")
        source = audio["path"] if audio["bytes"] is None else io.BytesIO(audio["bytes"])
        samples, rate = sf.read(source, dtype="int16")
        found[split].append(row | {"sha": hashlib.sha256(samples.tobytes()).hexdigest(), "rate": rate})
print(json.dumps(found))
"""


def read_elsewhere(folder: Path, cache: Path, *config: str) -> dict[str, list[dict[str, Any]]]:
    """The rows that a process without hf_speech reads."""
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_US, str(folder), str(cache), *config],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        cwd=cache.parent,
    )
    assert run.returncode == 0, run.stderr[-3_000:]
    return json.loads(run.stdout.splitlines()[-1])


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def digest(path: Path) -> str:
    return hashlib.sha256(sf.read(path, dtype="int16")[0].tobytes()).hexdigest()
