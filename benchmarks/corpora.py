"""What a VoxCeleb2 of 50,000 and of 100,000 short files costs: to index, with lengths, and to write as Parquet.

    python -m benchmarks.corpora           # a quarter of an hour
    python -m benchmarks.corpora --full    # VoxCeleb2's own size as well, in zip archives, m4a: half an hour, 20 GB

Made-up files of 0.6 to 1.2 s in zip archives (m4a as distributed, and wav) and as a tree (m4a, wav). `hf-speech prepare
--dry-run` lists them, reads every header and audits the splits; `hf-speech prepare` writes the shards as well. Memory
is the resident set of the command and its workers, added up, at its peak (looked at every 50 ms).
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from hf_speech.files import replacing
from hf_speech.results import run_facts
from hf_speech.testing import write_fake_voxceleb

from .limits import hold

OUTPUT = Path(__file__).parent / "results" / "corpora.json"
COUNTS = (50_000, 100_000)
FULL = 1_078_920  # of 5,994 speakers, as VoxCeleb2 dev has; it has 1,092,009 files
KINDS = {
    "zip, m4a": ("zip", "m4a"),
    "zip, wav": ("zip", "wav"),
    "tree, m4a": ("tree", "m4a"),
    "tree, wav": ("tree", "wav"),
}
SHARD = 100  # MB: small, so that a corpus of this size has several
# 100,000 files: seconds, and MB.
LIMITS = {
    "zip, m4a: index, s": 90,
    "zip, wav: index, s": 90,
    "tree, m4a: index, s": 60,
    "tree, wav: index, s": 60,
    **{f"{kind}: {what}, MB": 1_000 for kind in KINDS for what in ("index", "write")},
}


@dataclass(frozen=True)
class Cost:
    """Of one command: wall seconds, and resident megabytes at the peak, alone and with its workers."""

    seconds: float
    megabytes: float
    megabytes_alone: float


def resident(pid: int) -> tuple[int, int]:
    """Bytes of a process, and of it and all below it."""
    try:
        own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        below = [
            int(child)
            for thread in Path(f"/proc/{pid}/task").iterdir()
            for child in (thread / "children").read_text().split()
        ]
    except (OSError, IndexError):
        return 0, 0
    return own, own + sum(resident(child)[1] for child in below)


def run(*words: str) -> Cost:
    """Runs `hf-speech prepare` with those words."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "hf_speech.cli", "prepare", "voxceleb", "--num-workers", "2", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = peak_alone = 0
    while process.poll() is None:
        alone, whole = resident(process.pid)
        peak, peak_alone = max(peak, whole), max(peak_alone, alone)
        time.sleep(0.05)
    seconds = time.perf_counter() - begun
    if process.returncode:
        raise SystemExit(process.stderr.read() if process.stderr else "prepare failed")
    return Cost(round(seconds, 1), round(peak / 1e6), round(peak_alone / 1e6))


def measure(folder: Path, kind: str, count: int) -> dict[str, float | int]:
    """The figures of one corpus."""
    layout, form = KINDS[kind]
    corpus, output = folder / "corpus", folder / "out"
    speakers, sessions = (5_994, 18) if count == FULL else (count // 100, 10)
    write_fake_voxceleb(
        corpus,
        speakers={"vox2_dev": speakers},
        sessions=(sessions, sessions),
        utterances=(10, 10),
        layout=layout,
        format=form,
    )
    common = ["--data-dir", str(corpus)]
    index = run(*common, "--dry-run")
    write = run(*common, "--output-dir", str(output), "--shard-size", f"{SHARD}MB")
    shards = sorted(output.glob("*.parquet"))
    rows = sum(pq.read_metadata(shard).num_rows for shard in shards)
    if rows != count:
        raise SystemExit(f"{kind}: {rows} rows of {count} files")
    figures = {
        "files": count,
        "index_seconds": index.seconds,
        "index_megabytes": index.megabytes,
        "index_megabytes_alone": index.megabytes_alone,
        "write_seconds": write.seconds,
        "write_megabytes": write.megabytes,
        "write_megabytes_alone": write.megabytes_alone,
        "shards": len(shards),
        "largest_shard_bytes": max(shard.stat().st_size for shard in shards),
        "parquet_bytes": sum(shard.stat().st_size for shard in shards),
    }
    shutil.rmtree(corpus)
    shutil.rmtree(output)
    return figures


def main() -> None:
    """Measures and writes."""
    begun = time.perf_counter()
    rows = []
    for kind in KINDS:
        for count in (*COUNTS, FULL) if kind == "zip, m4a" and "--full" in sys.argv else COUNTS:
            with tempfile.TemporaryDirectory() as name:
                figures = measure(Path(name), kind, count)
            rows.append({"kind": kind, **figures})
            print(json.dumps(rows[-1]), flush=True)
            if figures["largest_shard_bytes"] > SHARD * 10**6:
                raise SystemExit(f"{kind}: a shard of {figures['largest_shard_bytes']} bytes")
    content = {"rows": rows, "run": run_facts(0, device="cpu", wall_seconds=time.perf_counter() - begun)}
    with replacing(OUTPUT) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    largest = {row["kind"]: row for row in rows if row["files"] == max(COUNTS)}
    found = {f"{kind}: index, s": row["index_seconds"] for kind, row in largest.items()}
    for what in ("index", "write"):
        found |= {f"{kind}: {what}, MB": row[f"{what}_megabytes"] for kind, row in largest.items()}
    hold(found, LIMITS)


if __name__ == "__main__":
    main()
