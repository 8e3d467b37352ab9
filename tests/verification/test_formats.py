"""Lists of trials in every form: the same trials, and what is wrong by file and line."""

import gzip
from pathlib import Path

import pytest

from hf_speech.data.problems import Problems
from hf_speech.errors import InputError
from hf_speech.verification import check_trials, fingerprint, read_trials
from hf_speech.verification.formats import LABELS, SIDE_NAMES

TRIALS = [(1, "s1/a/1", "s1/b/2"), (0, "s1/a/1", "s2/c/1"), (1, "s2/c/1", "s2/c/3"), (0, "s3/d/1", "s2/c/3")]


def lines(form: str, words: dict[int, str], extension: str = ".wav") -> str:
    return "".join(
        form.format(label=words[label], left=left + extension, right=right + extension) + "\n"
        for label, left, right in TRIALS
    )


NUMBERS, WORDS = {0: "0", 1: "1"}, {0: "nontarget", 1: "target"}
FORMS = {
    "voxceleb": lines("{label} {left} {right}", NUMBERS),
    "voxceleb, words": lines("{label} {left} {right}", WORDS),
    "voxceleb, tabs": lines("{label}\t{left}\t{right}", NUMBERS, ".m4a"),
    "kaldi": lines("{left} {right} {label}", WORDS, ""),
    "kaldi, numbers": lines("{left}  {right}  {label}", NUMBERS, ""),
    "csv": "label,enrol,test\n" + lines("{label},{left},{right}", NUMBERS),
    "csv, words, quoted": "Enrol,Test,Label\n" + lines('"{left}","{right}",{label}', WORDS, ".flac"),
    "csv, more columns": "n,path_2,target,path-1\n" + lines("7,{right},{label},{left}", NUMBERS),
    "semicolons": "UTT1;utt2;is_same\n" + lines("{left};{right};{label}", NUMBERS),
    "tsv": "modelid\tsegment\ttargettype\n" + lines("{left}\t{right}\t{label}", WORDS, ""),
}


def write(folder: Path, text: str, name: str = "list.txt") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_all_forms_are_the_same_list(tmp_path: Path, form: str, packed: bool) -> None:
    found = read_trials(write(tmp_path, FORMS[form], "list.gz" if packed else "list"))
    assert [(row["label"], row["left"], row["right"]) for row in found.to_pylist()] == TRIALS
    first = 1 + any(name in form for name in ("csv", "semicolons", "tsv"))
    assert found["line"].to_pylist() == list(range(first, first + len(TRIALS)))
    assert fingerprint(found) == fingerprint(read_trials(write(tmp_path, FORMS["voxceleb"], "other")))


def test_clients_and_impostors_are_one_list(tmp_path: Path) -> None:
    sides = {
        label: "".join(f"{left}.wav {right}.wav\n" for said, left, right in TRIALS if said == label) for label in (0, 1)
    }
    clients, impostors = write(tmp_path, sides[1], "clients"), write(tmp_path, sides[0], "impostors.gz")
    found = read_trials(clients, impostors=impostors)
    assert [(row["label"], row["left"], row["right"], row["line"]) for row in found.to_pylist()] == [
        (*TRIALS[0], 1),
        (*TRIALS[2], 2),
        (*TRIALS[1], 1),
        (*TRIALS[3], 2),
    ]
    problems = Problems("skip")
    known = (
        found["left"]
        .combine_chunks()
        .dictionary.filter([name != "s3/d/1" for name in found["left"].combine_chunks().dictionary.to_pylist()])
    )
    kept = check_trials(found, known, clients, problems, impostors)
    assert len(kept) == 3
    assert [(p.file, p.line) for p in problems] == [(str(impostors), 2)]
    with pytest.raises(InputError, match="clients: is given both as clients and as impostors"):
        read_trials(clients, impostors=clients)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda cells: cells[:-1], "fields?, where the list's lines have"),
        (lambda cells: [*cells, "more"], "fields, where the list's lines have"),
        (
            lambda cells: [{"0": "2", "1": "2"}.get(cell, cell.replace("target", "maybe")) for cell in cells],
            "the label",
        ),
    ],
)
def test_a_line_of_another_form_is_named_with_its_file_and_line(tmp_path: Path, form, change, said) -> None:
    rows = FORMS[form].splitlines()
    mark = next((mark for mark in "\t,;" if mark in rows[-1]), None)
    rows[-2] = (mark or " ").join(change(rows[-2].split(mark)))
    path = write(tmp_path, "\n".join(rows))
    problems = Problems("skip")
    assert len(read_trials(path, problems)) == len(TRIALS) - 1
    assert problems.counts == {"malformed line": 1}
    with pytest.raises(InputError, match=f"list.txt, line {len(rows) - 1}: .* has .*{said}.*; mend or remove the line"):
        read_trials(path)


def test_what_is_no_list_is_refused_with_what_one_looks_like(tmp_path: Path) -> None:
    for text, said in {
        "a.wav b.wav\nc.wav d.wav\n": "have no label; give the files of clients and of impostors both",
        "": "'0|1 left right' or 'enrol test target|nontarget', or it is a csv with a header",
        "same,one,other\n1,a,b\n": "such as 'label,enrol,test'",
        "label,left,right\n": "holds no trial",
    }.items():
        with pytest.raises(InputError) as error:
            read_trials(write(tmp_path, text), Problems("skip"))
        assert said in str(error.value) and "list.txt" in str(error.value) and "\n" not in str(error.value)
    pairs, trials = write(tmp_path, "a b\n", "pairs"), write(tmp_path, "1 a b\n", "trials")
    for clients, impostors in ((pairs, trials), (trials, pairs)):
        with pytest.raises(InputError, match="trials: holds no trial; its lines have the form 'left right'"):
            read_trials(clients, Problems("skip"), impostors=impostors)


def test_the_form_is_that_of_most_of_the_first_lines(tmp_path: Path) -> None:
    """Names that read as labels: of the utterances 0 and 1 every line is of both forms, and means the first."""
    assert read_trials(write(tmp_path, "1 a 0\n1 b 1\n0 a c\n")).to_pylist()[0]["right"] == "0"
    assert read_trials(write(tmp_path, "1 a 0\n1 b 1\nd a 1\n")).to_pylist()[0]["left"] == "1"
    assert read_trials(write(tmp_path, "1 0 1\n0 1 0\n")).to_pylist()[1] == {
        "label": 0,
        "left": "1",
        "right": "0",
        "line": 2,
    }


@pytest.mark.parametrize("sides", SIDE_NAMES)
@pytest.mark.parametrize("label", LABELS)
def test_sides_of_a_table_go_by_their_names(tmp_path: Path, sides: tuple[str, str], label: str) -> None:
    (row,) = read_trials(write(tmp_path, f"{sides[1]},x,{sides[0]},label\nr.wav,,l.wav,{label}\n")).to_pylist()
    assert row == {"label": LABELS[label], "left": "l", "right": "r", "line": 2}
