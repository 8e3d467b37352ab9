"""A `prepare` that is killed, that runs out of room, or whose sources change before it goes on."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from hf_speech.corpora.publish import AUDIT, WORK
from hf_speech.data.readers import load_rows
from hf_speech.errors import InputError
from hf_speech.testing import write_fake_corpus, write_fake_voxceleb

from .prepared import Run, files_of

# Runs `prepare` again and again, killed at the first, second, ... change to the file system, each time in a process of
# its own, and then once more to the end; prints what was found after each. Arguments: table's folder, output, mode.
KILLED_EVERYWHERE = """
import json, os, shutil, sys
from pathlib import Path
import pyarrow.parquet as pq
from hf_speech.corpora.own import own_builder
from hf_speech.corpora.prepare import prepare

data, output, mode = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def run(overwrite):
    prepare(own_builder("csv"), "csv", data, output, {}, overwrite=overwrite, workers=1)

def child(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def killed(at):
    count = 0
    def watched(real):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count == at:
                os._exit(9)
            return real(*args, **kwargs)
        return call
    for name in ("replace", "unlink", "rmdir", "rename"):
        setattr(os, name, watched(getattr(os, name)))
    run(mode == "over")

earlier = output.with_name("earlier")
if mode == "over":
    child(lambda: prepare(own_builder("csv"), "csv", data, earlier, {"embed_audio": False}, workers=1))
found, at, status = [], 0, 9
while status == 9:
    at += 1
    shutil.rmtree(output, ignore_errors=True)
    if mode == "over":
        shutil.copytree(earlier, output)
    status = child(lambda: killed(at))
    before = sorted(p.name for p in output.glob("*")) if output.exists() else []
    # The same command; it says --overwrite where the first one did.
    again = child(lambda: run(mode == "over" or (output / "audit.json").exists()))
    shards = sorted(output.glob("*.parquet"))
    rows = sum(pq.read_metadata(p).num_rows for p in shards)
    left = sorted(p.name for p in output.glob("*"))
    found.append({"at": at, "status": status, "before": before, "again": again, "rows": rows, "left": left})
print(json.dumps(found))
"""


@pytest.mark.parametrize("mode", [pytest.param("fresh", marks=pytest.mark.slow), "over"])
def test_killed_anywhere_it_comes_to_the_same_end(mode: str, corpus: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_EVERYWHERE, str(corpus.parent), str(tmp_path / "out"), mode]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) > 10
    assert found[-1]["status"] == 0
    assert all(point["status"] == 9 for point in found[:-1])
    for point in found:
        assert point["again"] == 0, point
        assert point["rows"] == 24, point
        assert point["left"] == ["README.md", "audit.json", "train-00000-of-00001.parquet"], point
    if mode == "fresh":
        # The audit is the mark of a whole result.
        whole = {"README.md", "audit.json", "train-00000-of-00001.parquet"}
        assert all(whole <= set(point["before"]) for point in found if "audit.json" in point["before"])


def spoil(archive: Path, member: str) -> bytes:
    """Change a byte inside a stored member, so that its CRC-32 is wrong; gives the archive as it was."""
    whole = archive.read_bytes()
    with zipfile.ZipFile(archive) as file:
        info = file.getinfo(member)
    at = info.header_offset + 30 + len(info.filename) + info.file_size - 40
    archive.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    return whole


def test_an_archive_that_was_got_again_is_read_again(run: Run, tmp_path: Path) -> None:
    write_fake_voxceleb(tmp_path / "corpus", speakers={"vox2_dev": 4}, format="wav", stored=True)
    archive = tmp_path / "corpus" / "vox2_dev_wav.zip"
    with zipfile.ZipFile(archive) as file:
        member = next(name for name in file.namelist() if name.endswith(".wav"))
    whole = spoil(archive, member)
    with pytest.raises(InputError, match="damaged in the archive"):
        run("voxceleb", tmp_path / "corpus", validation="none")
    archive.write_bytes(whole)
    audit = run("voxceleb", tmp_path / "corpus", validation="none")
    assert audit["problems"]["count"] == 0


def test_labels_that_were_mended_are_read_again(run: Run, tmp_path: Path) -> None:
    table = write_fake_corpus(tmp_path / "corpus", speakers=2, per_speaker=2, layout="csv")
    clip = tmp_path / "corpus" / "audio" / "speaker01_001.wav"
    text, whole = table.read_text(), clip.read_bytes()
    table.write_text(text.replace(",low,", ",WRONG,"))
    clip.write_bytes(whole[:-4000] + b"\\0" * 4000)
    broken = bytearray(whole)
    clip.write_bytes(bytes(broken[:-2]))  # two bytes short: found by its header
    with pytest.raises(InputError, match="truncated or damaged"):
        run("csv", tmp_path / "corpus")
    clip.write_bytes(whole)
    table.write_text(text)
    run("csv", tmp_path / "corpus", overwrite=True)
    assert set(load_rows(tmp_path / "out")["train"]["label"]) == {"low", "high"}


def test_no_room_is_one_line_and_the_next_run_goes_on(corpus: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hf_speech.cli", "prepare", "csv", "--data-dir", str(corpus.parent)]
    command += ["--output-dir", str(tmp_path / "out"), "--num-workers", "1"]
    limited = ["bash", "-c", 'ulimit -f 200; exec "$@"', "bash", *command]  # no file above 200 KiB
    done = subprocess.run(limited, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    error = done.stderr.strip().splitlines()[-1]
    assert "can't be written (File too large); make room, then give the same command" in error
    assert "Traceback" not in done.stderr
    again = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert again.returncode == 0, again.stderr
    assert "going on with what an earlier run has written" in again.stderr


def test_two_runs_do_not_write_to_one_folder(corpus: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "out" / WORK).mkdir(parents=True)
    with FileLock(tmp_path / "out" / WORK / "lock"), pytest.raises(InputError, match="another run is writing there"):
        run("csv", corpus.parent)


@pytest.mark.parametrize("text", ["not json", "[]", '{"files": null}', '{"files": [""]}', '{"files": ["../x"]}'])
def test_an_audit_that_is_not_ours_is_left_alone(text: str, corpus: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / AUDIT).write_text(text)
    (tmp_path / "x").write_text("mine")
    with pytest.raises(InputError, match="is not an audit that prepare wrote"):
        run("csv", corpus.parent, overwrite=True)
    assert files_of(tmp_path / "out") == {AUDIT}
    assert (tmp_path / "x").read_text() == "mine"


def test_a_split_of_which_nothing_can_be_read_is_absent(run: Run, tmp_path: Path) -> None:
    write_fake_voxceleb(
        tmp_path / "corpus", speakers={"vox2_dev": 4, "vox1_test": 2}, format="wav", stored=True, trials=1
    )
    archive = tmp_path / "corpus" / "vox1_test_wav.zip"
    with zipfile.ZipFile(archive) as file:
        members = [name for name in file.namelist() if name.endswith(".wav")]
    for member in members:
        spoil(archive, member)
    audit = run("voxceleb", tmp_path / "corpus", on_bad_row="skip")
    assert "test" not in audit["splits"]
    assert not list((tmp_path / "out").glob("test-*"))
    rows = sum(pq.read_metadata(path).num_rows for path in (tmp_path / "out").glob("*.parquet"))
    assert rows == sum(split["rows"] for split in audit["splits"].values())
    shutil.rmtree(tmp_path / "out")
    assert os.listdir(tmp_path / "corpus")


def test_paths_into_archives_are_refused(run: Run, tmp_path: Path) -> None:
    write_fake_voxceleb(tmp_path / "corpus", speakers={"vox2_dev": 4})
    with pytest.raises(InputError, match="--embed-audio no: .* lie in zip archives.*unpack the archives"):
        run("voxceleb", tmp_path / "corpus", embed_audio=False)
    assert not (tmp_path / "out").exists()
