"""Lengths from headers: those of the decoded sound, in files and in archives, whoever reads them."""

import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile as sf

from hf_speech.audio import SAMPLE_RATE, audio_info, check_audio, samples_at
from hf_speech.corpora.headers import read_headers
from hf_speech.corpora.lengths import measure
from hf_speech.corpora.listing import list_audio
from hf_speech.data.problems import Problems

from ..sounds import AV_CONTAINERS, FORMATS, write_every_format

METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}


def rows_of(**columns: Any) -> pa.Table:
    """Rows with ids, from columns of cells; `path` says how many."""
    return pa.table({"id": [f"row{i}" for i in range(len(columns["path"]))], **columns})


def measured(table: pa.Table, workers: int | None = 1) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    problems = Problems("skip")
    return measure(table, problems, workers).to_pylist(), [(p.kind, str(p)) for p in problems]


def wav(path: Path, seconds: float, rate: int = SAMPLE_RATE, channels: int = 1) -> str:
    noise = np.random.default_rng(0).integers(-99, 99, (round(seconds * rate), channels)).astype(np.int16)
    sf.write(path, noise, rate)
    return str(path)


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_every_format(tmp_path_factory.mktemp("formats"))


@pytest.mark.parametrize("suffix", [*FORMATS, *AV_CONTAINERS])
@pytest.mark.parametrize("where", ["file", *METHODS])
def test_every_format_is_as_long_as_it_decodes(
    formats: dict[str, Path], tmp_path: Path, suffix: str, where: str
) -> None:
    path = formats[suffix]
    table = rows_of(path=[str(path)])
    if where != "file":
        with zipfile.ZipFile(tmp_path / "a.zip", "w", METHODS[where]) as archive:
            archive.write(path, f"x/{path.name}")
        table = list_audio(tmp_path, Problems(), extensions={path.suffix}).rename_columns({"name": "id"})
    (row,), problems = measured(table)
    decoded = check_audio(path)
    packet = 0 if suffix.endswith(("wav", "flac", "ogg", "mp3", "m4a")) else 1_152
    assert problems == []
    assert abs(row["length"] - samples_at(decoded)) <= packet
    assert row["duration"] == pytest.approx(decoded.duration, abs=packet / decoded.sample_rate + 1e-9)
    assert row["length"] == samples_at(audio_info(path)) and row["file_rate"] == decoded.sample_rate


def test_the_rate_of_a_file_does_not_change_its_length(tmp_path: Path) -> None:
    rates = [8_000, 11_025, 16_000, 44_100, 48_000]
    paths = [wav(tmp_path / f"{rate}.wav", 2.5, rate, channels=2) for rate in rates]
    rows, _ = measured(rows_of(path=paths))
    assert [row["length"] for row in rows] == [40_000, round(27_562 / 11_025 * 16_000), 40_000, 40_000, 40_000]
    assert [row["file_rate"] for row in rows] == rates


def test_pieces_of_one_file(tmp_path: Path) -> None:
    """By hand, of 2 s: wholes, pieces, an end that is rounded up, and every way to be wrong."""
    path = wav(tmp_path / "a.wav", 2)
    cases: list[tuple[float | None, float | None, Any]] = [
        (None, None, 32_000),
        (0.5, None, 24_000),
        (None, 0.5, 8_000),
        (0.25, 1.75, 24_000),
        (1.0, 2.02, 16_000),
        (1.95, None, 800),
        (0.0, 0.025, 400),
        (1.0, 2.03, "bad time"),
        (2.0, None, "bad time"),
        (5.0, None, "bad time"),
        (1.0, 1.0, "bad time"),
        (1.5, 1.0, "bad time"),
        (-0.1, 1.0, "bad time"),
        (float("nan"), 1.0, "bad time"),
        (0.0, float("nan"), "bad time"),
        (0.0, float("inf"), "bad time"),
        (0.0, 0.0249, "too short"),
    ]
    starts, ends, wanted = map(list, zip(*cases, strict=True))
    table = rows_of(path=[path] * len(cases), start=pa.array(starts, pa.float64()), end=pa.array(ends, pa.float64()))
    rows, problems = measured(table)
    assert [row["length"] for row in rows] == [want for want in wanted if isinstance(want, int)]
    assert [kind for kind, _ in problems] == [want for want in wanted if isinstance(want, str)]
    ids = [f"row{i}" for i, want in enumerate(wanted) if isinstance(want, str)]
    assert all(said.startswith(f"{path}: {name}: ") for name, (_, said) in zip(ids, problems, strict=True))
    assert rows[4]["duration"] == 1.0  # ends with the file, not where the table says


def test_a_file_is_opened_once_for_all_its_pieces(tmp_path: Path) -> None:
    good, bad = wav(tmp_path / "a.wav", 2), str(tmp_path / "gone.wav")
    table = rows_of(path=[bad, good, bad, good, bad], start=[0.0, 0.0, 0.5, 0.5, 1.0])
    rows, problems = measured(table)
    assert [(row["id"], row["length"]) for row in rows] == [("row1", 32_000), ("row3", 24_000)]
    assert [kind for kind, _ in problems] == ["missing file"]  # of the file, and not of each row


def test_what_is_no_audio(tmp_path: Path, formats: dict[str, Path]) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "words.flac").write_text("no sound at all, " * 100)
    (tmp_path / "folder.wav").mkdir()
    sf.write(tmp_path / "silent.wav", np.zeros(0, np.float32), 16_000)
    (tmp_path / "cut.wav").write_bytes(formats["wav"].read_bytes()[:5_000])
    (tmp_path / "cut.m4a").write_bytes(formats["m4a"].read_bytes()[:5_000])
    (tmp_path / "image.wav").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
    (tmp_path / "gone.wav").symlink_to("nowhere")
    wav(tmp_path / "short.wav", 0.0249)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in sorted(tmp_path.glob("*.*")):
            if path.is_file() and path.suffix != ".zip":
                archive.write(path, f"in/{path.name}")
    table = list_audio(tmp_path, Problems()).rename_columns({"name": "id"})
    rows, problems = measured(table)
    assert rows == []
    assert len(problems) == len(table) == 15
    kinds = {name: "not audio" for name in ("empty.wav", "words.flac", "silent.wav", "cut.wav", "cut.m4a", "image.wav")}
    kinds |= {"gone.wav": "missing file", "short.wav": "too short"}
    for kind, said in problems:
        path, _, reason = said.partition(": ")
        assert kind == kinds[Path(path).name] and "\n" not in said
        assert path.startswith(str(tmp_path)) and path not in reason
    assert [p.kind for p in read_headers([str(tmp_path / "folder.wav")]).problems] == ["not audio"]


@pytest.mark.parametrize("suffix", [*FORMATS, *AV_CONTAINERS])
def test_no_damaged_header_is_a_crash(formats: dict[str, Path], tmp_path: Path, suffix: str) -> None:
    rng = random.Random(suffix)
    sound = formats[suffix].read_bytes()
    places = []
    for i in range(60):
        damaged = bytearray(sound[: rng.choice([len(sound), rng.randrange(1, len(sound)), rng.randrange(1, 200)])])
        for _ in range(rng.randrange(1, 8)):
            damaged[rng.randrange(min(len(damaged), rng.choice([64, 2_000])))] = rng.choice([0, 0xFF, 0x7F, 0x80])
        path = tmp_path / f"{i}{formats[suffix].suffix}"
        path.write_bytes(damaged)
        places.append(str(path))
    found = read_headers(places)
    assert len(found.problems) == found.rates.count(0) == found.samples.count(0)
    assert all(samples >= 0 for samples in found.samples)


def test_a_table_without_rows(tmp_path: Path) -> None:
    for table in (list_audio(tmp_path, Problems()), rows_of(path=pa.array([], pa.string()))):
        empty = measure(table, Problems(), None)
        assert len(empty) == 0 and {"length", "duration", "file_rate"} <= set(empty.column_names)


def many(folder: Path, count: int) -> pa.Table:
    """Short files, each of its own length, every hundredth no audio."""
    folder.mkdir()
    for i in range(count):
        path = folder / f"{i:05d}.wav"
        if i % 100 == 99:
            path.write_text("no sound")
        else:
            sf.write(path, np.zeros(400 + i, np.int16), 16_000)
    return list_audio(folder, Problems()).rename_columns({"name": "id"})


def test_many_processes_find_what_one_finds(tmp_path: Path) -> None:
    table = many(tmp_path / "c", 2_600)  # more than are looked at without other processes
    shuffled = table.take(pa.array(np.random.default_rng(0).permutation(len(table))))
    alone, alone_said = measured(shuffled, 1)
    together, together_said = measured(shuffled, 3)
    assert together == alone and together_said == alone_said
    assert len(alone) == 2_574 and len(alone_said) == 26
    assert all(row["length"] == 400 + int(row["id"][:5]) for row in alone)
    assert [row["id"] for row in alone] == [name for name in shuffled["id"].to_pylist() if int(name[:5]) % 100 != 99]


MEASURE = """
import sys
import pyarrow as pa
from hf_speech.corpora.lengths import measure
from hf_speech.corpora.listing import list_audio
from hf_speech.data.problems import Problems
from hf_speech.errors import InputError
if __name__ == "__main__":
    table = list_audio(sys.argv[1], Problems()).rename_columns({"name": "id"})
    try:
        measure(pa.concat_tables([table] * 100), Problems(), 2)  # seconds, were it not stopped
    except InputError as error:
        sys.exit(f"refused: {error}")
"""


def workers_of(pid: int) -> list[int]:
    """The processes that were started to read headers."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        commands = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    except OSError:
        return []
    return [child for child, command in commands.items() if b"spawn_main" in command]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes as Linux shows them")
@pytest.mark.parametrize("stopped", ["a worker is killed", "Ctrl-C"])
def test_what_is_stopped_ends(tmp_path: Path, stopped: str) -> None:
    many(tmp_path / "c", 1_000)
    (tmp_path / "run.py").write_text(MEASURE)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "c")],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (workers := workers_of(process.pid)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    assert workers, process.communicate()[1]
    if stopped == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    else:
        os.kill(workers[0], signal.SIGKILL)
    try:
        _, said = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode != 0
    if stopped != "Ctrl-C":
        assert "refused: a process that reads headers was stopped" in said and "--num-workers 1" in said
