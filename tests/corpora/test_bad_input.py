"""Bad input of every kind through `prepare`: named with file and line, counted in the audit, refused or left out."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from hf_speech.errors import InputError
from hf_speech.testing import write_fake_aishell4, write_fake_iemocap, write_fake_voxceleb

from .prepared import Run, files_of


@dataclass(frozen=True)
class Case:
    """A whole corpus, how it is spoilt, and what must be said of it.

    Attributes:
        corpus: what `prepare` calls it.
        write: writes it into a folder.
        spoil: spoils it; gives what the message must hold.
        kinds: what the audit counts then.
        options: of `prepare`.
        lost: rows that are left out.
    """

    corpus: str
    write: Callable[[Path], Any]
    spoil: Callable[[Path], list[str]]
    kinds: dict[str, int]
    lost: int = 1
    options: dict[str, str] = field(default_factory=dict)


def voxceleb(folder: Path) -> None:
    write_fake_voxceleb(folder, layout="zip", format="wav")


def iemocap(folder: Path) -> None:
    write_fake_iemocap(folder, dialogs=1)


def aishell4(folder: Path) -> None:
    write_fake_aishell4(folder, channels=2, turns=10)


def lists(folder: Path) -> None:
    """Three clips, as a Kaldi folder, a label list and a label JSON."""
    folder.mkdir(parents=True)
    for i in range(3):
        sf.write(folder / f"clip{i}.wav", np.random.default_rng(i).normal(0, 0.1, 8_000), 16_000)
    (folder / "wav.scp").write_text("".join(f"u{i} clip{i}.wav\n" for i in range(3)))
    (folder / "utt2spk").write_text("".join(f"u{i} s{i}\n" for i in range(3)))
    (folder / "labels.txt").write_text("".join(f"clip{i} {i} -1\n" for i in range(3)))
    labels = {f"clip{i}.wav": ("anger", "sad")[i % 2] for i in range(3)}
    (folder / "labels.json").write_text(json.dumps({"Train": labels, "Val": {}, "Test": {}}, indent=0))


def add_members(archive: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(archive, "a") as file:
        for name, content in members.items():
            file.writestr(name, content)


def no_audio_in_archive(folder: Path) -> list[str]:
    add_members(folder / "vox2_dev_wav.zip", {"dev/wav/id00012/abcdefghijk/00099.wav": b"an apology, as html"})
    return ["vox2_dev_wav.zip/dev/wav/id00012/abcdefghijk/00099.wav: not audio"]


def climbs_out(folder: Path) -> list[str]:
    add_members(folder / "vox2_dev_wav.zip", {"dev/wav/../../../id00012/abcdefghijk/00099.wav": b"RIFF"})
    return ["vox2_dev_wav.zip/dev/wav/../../../id00012/abcdefghijk/00099.wav: climbs out of its archive"]


def edit(path: Path, change: Callable[[list[str]], list[str]], encoding: str = "utf-8") -> Path:
    lines = path.read_text(encoding=encoding).splitlines()
    path.write_text("\n".join(change(lines)) + "\n", encoding=encoding)
    return path


def rttm(folder: Path) -> Path:
    return sorted(folder.rglob("*.rttm"))[0]


def nine_fields(folder: Path) -> list[str]:
    path = edit(rttm(folder), lambda lines: [*lines, " ".join(lines[0].split()[:9])])
    return [f"{path.name}, line {len(path.read_text().splitlines())}: "]


def with_times(start: str, duration: str) -> Callable[[Path], list[str]]:
    def spoil(folder: Path) -> list[str]:
        def change(lines: list[str]) -> list[str]:
            words = lines[-1].split()
            return [*lines, " ".join([*words[:3], start, duration, *words[5:]])]

        path = edit(rttm(folder), change)
        return [f"{path.name}, line {len(path.read_text().splitlines())}: "]

    return spoil


def evaluation(folder: Path) -> Path:
    return sorted(p for p in folder.glob("Session1/dialog/EmoEvaluation/*.txt") if not p.name.startswith("._"))[0]


def head_line(lines: list[str]) -> int:
    return next(i for i, line in enumerate(lines) if line.startswith("["))


def unknown_emotion(folder: Path) -> list[str]:
    path = evaluation(folder)
    lines = path.read_text(encoding="latin-1").splitlines()
    at = head_line(lines)
    fields = lines[at].split("\t")
    lines[at] = "\t".join([*fields[:2], "joy", *fields[3:]])
    path.write_text("\n".join(lines) + "\n", encoding="latin-1")
    return [f"{path.name}, line {at + 1}: ", "joy"]


def evaluated_but_gone(folder: Path) -> list[str]:
    path = evaluation(folder)
    lines = path.read_text(encoding="latin-1").splitlines()
    at = head_line(lines)
    name = lines[at].split("\t")[1]
    next(folder.rglob(f"{name}.wav")).unlink()
    return [f"{path.name}, line {at + 1}: ", name]


def gone_from_list(name: str) -> Callable[[Path], list[str]]:
    def spoil(folder: Path) -> list[str]:
        (folder / "clip1.wav").unlink()
        return [f"{name}, line 2: "]

    return spoil


def twice_in(name: str, line: str) -> Callable[[Path], list[str]]:
    def spoil(folder: Path) -> list[str]:
        edit(folder / name, lambda lines: [*lines, line])
        return [f"{name}, line 4: "]

    return spoil


def unknown_label(folder: Path) -> list[str]:
    path = folder / "labels.json"
    path.write_text(path.read_text().replace('"sad"', '"joy"'))
    line = 1 + next(i for i, text in enumerate(path.read_text().splitlines()) if "joy" in text)
    return [f"labels.json, line {line}: ", "joy"]


def windows_line_ends(name: str) -> Callable[[Path], list[str]]:
    def spoil(folder: Path) -> list[str]:
        path = next(folder.rglob(name))
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        return [f"{path.name}, line 1: "]

    return spoil


def byte_order_mark(name: str) -> Callable[[Path], list[str]]:
    def spoil(folder: Path) -> list[str]:
        path = next(folder.rglob(name))
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        return [f"{path.name}, line 1: "]

    return spoil


def trial_without_file(folder: Path) -> list[str]:
    path = next(folder.rglob("veri_test2.txt"))
    edit(path, lambda lines: [*lines, "0 id10270/abcdefghijk/00001.wav id10271/abcdefghijk/00001.wav"])
    return [f"{path.name}, line {len(path.read_text().splitlines())}: "]


JSON = {"label_file": "labels.json", "labels": "anger,sad"}
LIST = {"label_file": "labels.txt"}
CASES = {
    "a member that is no audio": Case("voxceleb", voxceleb, no_audio_in_archive, {"not audio": 1}),
    "a member that climbs out": Case("voxceleb", voxceleb, climbs_out, {"unsafe name": 1}),
    "a trial without its files": Case("voxceleb", voxceleb, trial_without_file, {"missing file": 2}, lost=0),
    "an RTTM line of nine fields": Case("aishell4", aishell4, nine_fields, {"malformed line": 1}, lost=0),
    "a negative time": Case("aishell4", aishell4, with_times("-1.000", "2.000"), {"bad time": 1}, lost=0),
    "a time past the end": Case("aishell4", aishell4, with_times("9000.0", "2.000"), {"bad time": 1}, lost=0),
    "an unknown emotion": Case("iemocap", iemocap, unknown_emotion, {"unknown label": 1}),
    "an evaluation without its wav": Case("iemocap", iemocap, evaluated_but_gone, {"missing file": 1}),
    "an unknown emotion in a label file": Case("labels-json", lists, unknown_label, {"unknown label": 1}, 1, JSON),
    "a label without its file": Case("label-list", lists, gone_from_list("labels.txt"), {"missing file": 1}, 1, LIST),
    "a recording without its file": Case("kaldi", lists, gone_from_list("wav.scp"), {"missing file": 1}),
    "an id twice in wav.scp": Case("kaldi", lists, twice_in("wav.scp", "u0 clip1.wav"), {"duplicate id": 1}, lost=0),
    "a file twice in a list": Case(
        "label-list", lists, twice_in("labels.txt", "clip0 2 -1"), {"duplicate id": 1}, 0, LIST
    ),
    "Windows line ends, Kaldi": Case("kaldi", lists, windows_line_ends("utt2spk"), {"Windows line ends": 1}, lost=0),
    "Windows line ends, list": Case(
        "label-list", lists, windows_line_ends("labels.txt"), {"Windows line ends": 1}, 0, LIST
    ),
    "Windows line ends, RTTM": Case(
        "aishell4", aishell4, windows_line_ends("*.rttm"), {"Windows line ends": 1}, lost=0
    ),
    "Windows line ends, trials": Case(
        "voxceleb", voxceleb, windows_line_ends("veri_test2.txt"), {"Windows line ends": 1}, 0
    ),
    "a byte order mark, Kaldi": Case("kaldi", lists, byte_order_mark("wav.scp"), {"byte order mark": 1}, lost=0),
    "a byte order mark, list": Case(
        "label-list", lists, byte_order_mark("labels.txt"), {"byte order mark": 1}, 0, LIST
    ),
    "a byte order mark, JSON": Case(
        "labels-json", lists, byte_order_mark("labels.json"), {"byte order mark": 1}, 0, JSON
    ),
    "a byte order mark, RTTM": Case("aishell4", aishell4, byte_order_mark("*.rttm"), {"byte order mark": 1}, lost=0),
    "a byte order mark, metadata": Case(
        "voxceleb", voxceleb, byte_order_mark("vox2_meta.csv"), {"byte order mark": 1}, 0
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_is_named_and_counted_and_stops_or_is_left_out(case: Case, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    case.write(folder)
    options = {**case.options, **({"label_file": str(folder / case.options["label_file"])} if case.options else {})}
    whole = run(case.corpus, folder, "whole", **options)
    assert whole["problems"] == {"count": 0, "kinds": {}, "rows": []}
    said = case.spoil(folder)
    with pytest.raises(InputError) as refused:
        run(case.corpus, folder, **options)
    for part in said:
        assert part in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not any(name.endswith((".parquet", "audit.json")) for name in files_of(tmp_path / "out"))
    audit = run(case.corpus, folder, on_bad_row="skip", **options)
    assert audit["problems"]["kinds"] == case.kinds
    assert json.loads((tmp_path / "out" / "audit.json").read_text())["problems"] == audit["problems"]

    def count(found: dict[str, Any]) -> int:
        return sum(split["rows"] for split in found["splits"].values())

    added = 1 if case.corpus == "voxceleb" and case.lost else 0  # what was added to the archive is what is lost
    assert count(audit) == count(whole) - case.lost + added
