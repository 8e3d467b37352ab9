"""`hf-speech verify MODEL TRIALS`: what it writes, against single recordings and single trials computed here."""

import json
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from hf_speech.audio import read_audio
from hf_speech.inference import load_model
from hf_speech.metrics import verification_numbers
from hf_speech.testing import write_fake_corpus
from hf_speech.verification.backend import Backend
from hf_speech.verification.calibration import Calibration, cross_calibrated
from hf_speech.verification.embeddings import read_embeddings
from hf_speech.verification.kept import kept_of
from hf_speech.verification.report import GROUPS, PICTURES

from ..ranks import finish_ranks
from ..training.runs import command, read_results, read_table, refusal, train_tiny
from .speakers import cosine

SPEAKERS, EACH = 12, 4


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """metadata.csv, trials.txt with all pairs of the last recordings, others.csv with the first one of each speaker."""
    root = tmp_path_factory.mktemp("voices")
    table = write_fake_corpus(root, speakers=SPEAKERS, per_speaker=EACH)
    rows = read_table(table)
    tested = [row for i, row in enumerate(rows) if i % EACH]
    lines = [f"{int(a['speaker_id'] == b['speaker_id'])} {a['path']} {b['path']}\n" for a, b in combinations(tested, 2)]
    (root / "trials.txt").write_text("".join(lines), encoding="utf-8")
    first = [f"{row['path']},other_{row['speaker_id']}\n" for row in rows[::EACH]]
    (root / "others.csv").write_text("path,speaker_id\n" + "".join(first), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def model(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learnt a little: targets and non-targets overlap, as a calibration needs."""
    how = {"target": "speaker_id", "validation": "none", "test": "none", "max_steps": 20, "save_strategy": "no"}
    network = {"backbone": "x-vector", "backbone_config": None, "pooling": None}
    return train_tiny(tmp_path_factory.mktemp("model") / "learnt", voices / "metadata.csv", **how, **network)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embeddings are made once for all tests that don't look at how."""
    return tmp_path_factory.mktemp("cache")


Verify = Callable[..., Path]


@pytest.fixture
def verify(voices: Path, model: Path, cache: Path, tmp_path: Path) -> Verify:
    """Runs the command on the list -> its folder."""

    def run(*flags: object, folder: str = "out", trials: str | Path = "trials.txt") -> Path:
        known = ("--utterances", voices / "metadata.csv", "--embedding-cache", cache, "--no-plots")
        place = ("--audio-root", voices, "--output-dir", tmp_path / folder)
        assert command("verify", model, voices / trials, *place, *known, *flags) == 0
        return tmp_path / folder

    return run


def whole(folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> number of all trials."""
    return {number["name"]: number for number in read_results(folder)["metrics"] if number["split"] == "trials"}


def lines_of(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "scores.txt").read_text(encoding="utf-8").splitlines()]


def test_scores_and_numbers_are_those_of_single_recordings(verify: Verify, voices: Path, model: Path) -> None:
    folder = verify()
    lines = lines_of(folder)
    asked = [line.split() for line in (voices / "trials.txt").read_text(encoding="utf-8").splitlines()]
    assert [line[:3] for line in lines] == asked
    loaded, _ = load_model(model)
    alone = {
        row["path"]: loaded.embed([read_audio(str(voices / row["path"]))])[0]
        for row in read_table(voices / "metadata.csv")
    }
    wanted = [cosine(alone[one], alone[other]) for _, one, other in asked]
    scores = [float(line[3]) for line in lines]
    assert np.allclose(scores, wanted, atol=1e-5)
    who = {row["path"]: row["speaker_id"] for row in read_table(voices / "metadata.csv")}
    sides = [who[line[1]] for line in lines], [who[line[2]] for line in lines]
    numbers = verification_numbers([int(line[0]) for line in lines], scores, sides)
    found = whole(folder)
    assert list(found) == [number["name"] for number in numbers] == ["eer", "min_dcf", "min_dcf_0.05"]
    for number in numbers:
        assert {key: found[number["name"]][key] for key in number} == number
    assert found["eer"]["n"] == len(asked) and found["eer"]["interval_unit"] == "speaker"


def test_the_files_agree(verify: Verify) -> None:
    folder = verify()
    table = pq.read_table(folder / "trials.parquet")
    assert table.column_names == ["label", "left", "right", "left_speaker", "right_speaker", "score", "llr"]
    lines = lines_of(folder)
    assert table["score"].to_pylist() == [float(line[3]) for line in lines]
    assert [f"{name}.wav" for name in table["left"].to_pylist()] == [line[1] for line in lines]
    rows = table.to_pylist()
    assert all((row["left_speaker"] == row["right_speaker"]) == bool(row["label"]) for row in rows)
    counts = read_results(folder)["data"]["trials"]
    assert (counts["trials"], counts["targets"], counts["speakers"]) == (len(lines), SPEAKERS * 3, SPEAKERS)
    assert (counts["used_files"], counts["missing_files"], counts["unused_files"]) == (SPEAKERS * 3, 0, SPEAKERS)
    assert len(read_embeddings(folder / "embeddings.parquet").ids) == SPEAKERS * 3


def test_pictures_are_drawn_and_replaced(voices: Path, model: Path, cache: Path, tmp_path: Path) -> None:
    words = [
        "verify",
        model,
        voices / "trials.txt",
        "--utterances",
        voices / "metadata.csv",
        "--embedding-cache",
        cache,
    ]
    words += ["--output-dir", tmp_path]
    assert command(*words, "--calibrate", "cross") == 0
    # Nothing is known of these by which there would be groups.
    assert {path.name for path in tmp_path.glob("*.png")} == set(PICTURES) - {GROUPS}
    assert command(*words, "--overwrite", "--no-plots") == 0
    assert not list(tmp_path.glob("*.png"))  # those of other results would belie them


def test_back_ends_are_those_of_the_module(verify: Verify, voices: Path, model: Path) -> None:
    """Each set of flags against `Backend`, on the embeddings that were written."""
    others, first = voices / "others.csv", verify()
    table, known = pq.read_table(first / "trials.parquet"), read_embeddings(first / "embeddings.parquet")
    place = {name: i for i, name in enumerate(known.ids)}
    sides = [[place[name] for name in table[side].to_pylist()] for side in ("left", "right")]
    heard = [read_audio(str(voices / row["path"])) for row in read_table(others)]
    their = load_model(model)[0].embed(heard).numpy()
    speakers = [row["speaker_id"] for row in read_table(others)]
    centred, plain = Backend.centred(their), Backend.cosine(their.shape[1])
    ways = {
        ("--background", "--center"): centred,
        ("--cohort", "--center", "--score-norm", "as-norm", "--top", 5): centred.normalised(their, speakers, top=5),
        ("--cohort", "--score-norm", "s-norm", "--cohort-of", "utterances"): plain.normalised(their, norm="s-norm"),
    }
    for i, ((role, *flags), backend) in enumerate(ways.items()):
        folder = verify(role, others, *flags, folder=f"way{i}")
        scores = [float(line[3]) for line in lines_of(folder)]
        assert np.allclose(scores, backend.score(known.vectors, *sides), atol=1e-3), flags
        facts = read_results(folder)["run"]["scoring"]
        assert facts[role.removeprefix("--")]["recordings"] == SPEAKERS
        assert facts["cohort_size"] == len(backend.cohort)


def test_fitted_back_ends(verify: Verify, voices: Path) -> None:
    """LDA, whitening and PLDA run on recordings of known speakers, and give other scores than the cosine."""
    rows = read_table(voices / "metadata.csv")
    lines = [f"{row['path']},{row['speaker_id']}\n" for row in rows]
    (voices / "background.csv").write_text("path,speaker_id\n" + "".join(lines), encoding="utf-8")
    found = [lines_of(verify())]
    for i, flags in enumerate((["--lda", 3], ["--whiten", 0.3], ["--lda", 3, "--plda"])):
        folder = verify("--background", voices / "background.csv", *flags, folder=f"fitted{i}")
        assert all(lines_of(folder) != other for other in found)
        found.append(lines_of(folder))
        facts = read_results(folder)["run"]["scoring"]["background"]
        assert (facts["speakers_in_trials"], facts["recordings_of_them"]) == (SPEAKERS, SPEAKERS * EACH)


def test_ratios_are_those_of_other_speakers(verify: Verify) -> None:
    folder = verify("--calibrate", "cross", "--false-acceptance-rates", "0.1")
    table = pq.read_table(folder / "trials.parquet").to_pydict()
    sides = table["left_speaker"], table["right_speaker"]
    assert np.allclose(table["llr"], cross_calibrated(table["score"], table["label"], sides))
    numbers = verification_numbers(table["label"], table["score"], sides, llrs=table["llr"])
    found = whole(folder)
    assert {name: row["value"] for name, row in found.items()} == {row["name"]: row["value"] for row in numbers}
    plain = whole(verify(folder="plain"))
    assert {"act_dcf", "cllr", "min_cllr"} <= found.keys() - plain.keys()
    assert all(found[name] == plain[name] for name in plain)  # what the order of the trials tells is as it was
    fitted = Calibration.fit(table["score"], table["label"], false_acceptance_rates=[0.1])
    told = read_results(folder)["run"]["scoring"]
    assert told["calibration"]["thresholds"] == pytest.approx(dict(fitted.thresholds))
    point = next(one for one in told["operating_points"] if one["name"].startswith("fmr_0.1 of the calibration"))
    accepted = np.asarray(table["llr"]) >= point["llr"]
    assert point["fmr"] == pytest.approx(accepted[np.asarray(table["label"]) == 0].mean())


def split_list(voices: Path) -> tuple[Path, Path]:
    """The trials of the first half of the speakers, and those of the second."""
    lines = (voices / "trials.txt").read_text(encoding="utf-8").splitlines()
    half = {f"speaker{i:02}" for i in range(SPEAKERS // 2)}
    inside = [sum(any(name in word for name in half) for word in line.split()[1:]) for line in lines]
    paths = voices / "first.txt", voices / "second.txt"
    for path, count in zip(paths, (2, 0), strict=True):
        kept = [f"{line}\n" for line, n in zip(lines, inside, strict=True) if n == count]
        path.write_text("".join(kept), encoding="utf-8")
    return paths


def test_a_calibration_of_another_list_is_kept_and_used(
    verify: Verify,
    voices: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Fitted on some speakers, measured on others; then two files, `predict` and a plain run decide by it."""
    caplog.set_level("INFO")
    first, second = split_list(voices)
    copy = shutil.copytree(model, tmp_path / "model")
    known = ("--utterances", voices / "metadata.csv", "--no-plots")
    output = tmp_path / "kept"
    quality = ("--qualities", "log_duration")
    words = ("verify", copy, second, *known, "--calibrate", first, *quality, "--keep", "--output-dir", output)
    assert command(*words) == 0
    told = read_results(output)["run"]["scoring"]["calibration"]
    assert (told["speakers_in_trials"], told["across_speakers"]) == (0, False)
    kept = kept_of(copy)
    assert kept is not None and kept.calibration.names == ("score", "log_duration_min", "log_duration_max")
    line = lines_of(output)[0]
    row = pq.read_table(output / "trials.parquet").to_pylist()[0]
    capsys.readouterr()
    assert command("verify", copy, voices / line[1], voices / line[2], "--json") == 0
    answer = json.loads(capsys.readouterr().out)["same_speaker"]
    assert answer["llr"] == pytest.approx(row["llr"], abs=1e-3)
    assert row["score"] == row["llr"] != answer["score"]  # which order the trials, where qualities are weighed
    assert answer["probability"] == pytest.approx(1 / (1 + np.exp(-row["llr"])), abs=1e-3)
    assert command("predict", copy, voices / line[1], voices / line[2]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3 and f"{answer['probability']:.3f}" in said[2]
    assert command("verify", copy, second, *known, "--output-dir", tmp_path / "again") == 0
    again = pq.read_table(tmp_path / "again" / "trials.parquet")
    assert np.allclose(again["llr"], pq.read_table(output / "trials.parquet")["llr"], atol=1e-6)
    assert "as the model keeps it" in caplog.text
    assert command("verify", copy, second, *known, "--no-kept", "--output-dir", tmp_path / "plain") == 0
    assert "cllr" not in whole(tmp_path / "plain")
    assert command("verify", copy, first, *known, "--output-dir", tmp_path / "fitted") == 0
    assert "was fitted on this very list" in caplog.text
    assert command("verify", copy, second, *known, "--calibrate", second, "--output-dir", tmp_path / "heard") == 0
    assert "6 of its speakers and 18 of its recordings" in caplog.text


def test_speakers_of_training_are_warned_of(
    verify: Verify, voices: Path, model: Path, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Or that it is not known whether they were."""
    folder = verify()
    assert f"{SPEAKERS} tested speakers, such as speaker00, have the names of speakers that the model" in caplog.text
    assert read_results(folder)["run"]["scoring"]["speakers_of_training"] == SPEAKERS
    caplog.clear()
    words = ("--audio-root", voices, "--embedding-cache", cache, "--no-plots", "--output-dir", tmp_path / "unnamed")
    assert command("verify", model, voices / "trials.txt", *words) == 0
    assert "nor whether the model was trained on these speakers: --utterances says so" in caplog.text
    assert read_results(tmp_path / "unnamed")["run"]["scoring"]["speakers_of_training"] is None


def test_models_of_several_utterances_and_impostors(verify: Verify, voices: Path) -> None:
    """Clients and impostors without labels; a model's embedding is the mean of its utterances'."""
    rows = read_table(voices / "metadata.csv")
    by_speaker = {f"speaker{i:02}": [r["path"] for r in rows[EACH * i : EACH * i + EACH]] for i in range(SPEAKERS)}
    (voices / "spk2utt").write_text("".join(f"{who} {a} {b}\n" for who, (a, b, *_) in by_speaker.items()))
    pairs = {
        "clients.txt": [(who, paths[3]) for who, paths in by_speaker.items()],
        "impostors.txt": [(a, by_speaker[b][3]) for a, b in combinations(by_speaker, 2)],
    }
    for name, found in pairs.items():
        (voices / name).write_text("".join(f"{one} {other}\n" for one, other in found), encoding="utf-8")
    flags = ("--impostors", voices / "impostors.txt", "--enrolment", voices / "spk2utt")
    folder = verify(*flags, trials="clients.txt")
    counts = read_results(folder)["data"]["trials"]
    assert (counts["targets"], counts["nontargets"], counts["models"]) == (SPEAKERS, 66, SPEAKERS)
    known = read_embeddings(folder / "embeddings.parquet")
    vector = dict(zip(known.ids, known.vectors, strict=True))
    label, name, path, score = lines_of(folder)[0]
    enrolled = np.mean([vector[one.removesuffix(".wav")] for one in by_speaker[name][:2]], axis=0)
    assert label == "1" and float(score) == pytest.approx(cosine(enrolled, vector[path.removesuffix(".wav")]), abs=1e-6)


def test_scores_hang_on_nothing_but_the_pair(verify: Verify, voices: Path) -> None:
    """Turned round, in another order, and a few alone, of the same embeddings: the same digits."""
    lines = [line.split() for line in (voices / "trials.txt").read_text(encoding="utf-8").splitlines()]
    norm = ("--score-norm", "as-norm", "--top", 5, "--cohort", voices / "others.csv")
    found = {tuple(line[1:3]): line[3] for line in lines_of(verify(*norm))}
    turned = [f"{label} {other} {one}\n" for label, one, other in reversed(lines)]
    few = [turned[-1], next(line for line in turned if line[0] == "0")]
    for i, kept in enumerate((turned, few)):
        (voices / f"turned{i}.txt").write_text("".join(kept), encoding="utf-8")
        for _, one, other, score in lines_of(verify(*norm, trials=f"turned{i}.txt", folder=f"turned{i}")):
            assert score == found[other, one]


def test_one_at_a_time_scores_hang_on_nothing_else_from_the_audio_on(
    verify: Verify, voices: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All pairs, a few, and two files, each with embeddings of its own."""
    lines = (voices / "trials.txt").read_text(encoding="utf-8").splitlines()
    few = [lines[0], next(line for line in reversed(lines) if line.startswith("0"))]
    (voices / "few.txt").write_text("".join(f"{line}\n" for line in few), encoding="utf-8")
    found = {}
    for name in ("trials", "few"):
        flags = ("--batch-seconds", 0, "--embedding-cache", tmp_path / f"cache-{name}")
        found[name] = {tuple(line[:3]): line[3] for line in lines_of(verify(*flags, trials=f"{name}.txt", folder=name))}
    assert found["few"] == {tuple(line.split()): found["trials"][tuple(line.split())] for line in few}
    _, one, other = lines[0].split()
    capsys.readouterr()
    assert command("verify", model, voices / one, voices / other, "--json") == 0
    score = json.loads(capsys.readouterr().out)["same_speaker"]["score"]
    assert score == float(found["few"]["1", one, other])


def test_two_ranks_write_what_one_writes(voices: Path, model: Path, tmp_path: Path) -> None:
    words = ["verify", model, voices / "trials.txt", "--no-plots", "--utterances", voices / "metadata.csv"]
    words += ["--batch-seconds", 3, "--output-dir"]
    assert command(*words, tmp_path / "1") == 0
    finish_ranks("-m", "hf_speech.cli", *words, tmp_path / "2")
    for name in ("embeddings.parquet", "scores.txt", "trials.parquet"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    facts = [read_results(tmp_path / ranks)["run"]["scoring"]["embeddings"] for ranks in ("1", "2")]
    assert [one["ranks"] for one in facts] == [1, 2]


BAD: dict[str, tuple[str, str]] = {
    "1 a b c": ("has 4 fields", "line 3"),
    "1 a": ("has 2 fields", "line 3"),
    "yes a b": ("has the label 'yes'", "line 3"),
    "1 nowhere.wav audio/speaker00_001.wav": ("there is no audio nowhere; add it", "line 3"),
    "1 broken.wav audio/speaker00_001.wav": ("broken:", "line 3"),
    "1 audio/speaker01_001.wav audio/speaker00_001.wav": ("are two speakers; mend the label", "line 3"),
}


@pytest.fixture
def bad_list(voices: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Good lines about four speakers and, third, a bad one."""
    root = tmp_path / "bad"
    (root / "audio").mkdir(parents=True)
    (root / "broken.wav").write_bytes(b"RIFF no audio")
    for path in (voices / "audio").iterdir():
        (root / "audio" / path.name).symlink_to(path)
    names = [f"audio/speaker{speaker:02}_{i:03}.wav" for speaker in range(4) for i in (1, 2)]
    good = [f"{int(a[:15] == b[:15])} {a} {b}" for a, b in combinations(names, 2)]

    def write(line: str) -> Path:
        (root / "trials.txt").write_text("\n".join([*good[:2], line, *good[2:]]) + "\n", encoding="utf-8")
        return root / "trials.txt"

    return write


@pytest.mark.parametrize("line", BAD)
def test_a_bad_line_is_named_or_left_out(
    line: str,
    bad_list: Callable[[str], Path],
    voices: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["verify", model, bad_list(line), "--utterances", voices / "metadata.csv", "--no-plots"]
    words += ["--output-dir", tmp_path / "out"]
    said = refusal(capsys, *words)
    assert all(part in said for part in BAD[line]) and "--on-missing skip" in said
    assert not (tmp_path / "out" / "results.json").exists()
    assert command(*words, "--on-missing", "skip") == 0
    counts = read_results(tmp_path / "out")["data"]["trials"]
    assert counts["trials"] == 28 and sum(counts["left_out"].values()) == 1


def test_what_nothing_can_be_measured_by(
    bad_list: Callable[[str], Path], voices: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bad_list("1 audio/speaker00_001.wav audio/speaker00_002.wav")
    path.write_text("1 audio/speaker00_001.wav audio/speaker00_002.wav\n", encoding="utf-8")
    words = ["verify", model, path, "--utterances", voices / "metadata.csv", "--output-dir", tmp_path / "out"]
    assert "all 1 trials are targets: the EER is not defined; add non-targets" in refusal(capsys, *words)


def test_embeddings_that_are_no_numbers(
    bad_list: Callable[[str], Path], voices: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recording so loud that the network runs over: named with its line, or left out."""
    path = bad_list("1 loud.wav audio/speaker00_001.wav")
    loud = 1e38 * np.random.default_rng(0).uniform(-1, 1, 16_000)
    soundfile.write(path.parent / "loud.wav", loud.astype(np.float32), 16_000, subtype="FLOAT")
    words = ["verify", model, path, "--utterances", voices / "metadata.csv", "--no-plots"]
    words += ["--output-dir", tmp_path / "out"]
    said = refusal(capsys, *words)
    assert "NaN or infinite" in said and "line 3" in said and "loud" in said
    assert command(*words, "--on-missing", "skip") == 0
    counts = read_results(tmp_path / "out")["data"]["trials"]
    assert (counts["trials"], counts["left_out"]) == (28, {"bad audio": 1})


MISUSE: dict[str, list[object]] = {
    "--lda is fitted on recordings of known speakers: give --background too": ["--lda", 2],
    "--center needs recordings of others": ["--center"],
    "--score-norm needs recordings of others": ["--score-norm", "as-norm"],
    "--background is used by nothing": ["--background", "others.csv"],
    "--cohort is used by nothing": ["--cohort", "others.csv"],
    "--keep belongs to a calibration": ["--keep"],
    "unknown quality measure 'loudness'": ["--calibrate", "cross", "--qualities", "loudness"],
    "--top x: give a whole number": ["--top", "x"],
    "give --output-dir": [],
    "can't be dealt out into 5 parts": ["--calibrate", "cross"],
}


@pytest.mark.parametrize("message", MISUSE)
def test_flags_that_can_not_be(
    message: str,
    bad_list: Callable[[str], Path],
    voices: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["verify", model, bad_list("0 audio/speaker01_001.wav audio/speaker00_001.wav"), *MISUSE[message]]
    words += ["--utterances", voices / "metadata.csv"]
    words += [] if message == "give --output-dir" else ["--output-dir", tmp_path / "out"]
    assert message in refusal(capsys, *words)


def test_speakers_that_are_not_known(
    bad_list: Callable[[str], Path], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Intervals are then by trial, and a calibration across speakers is refused."""
    words = ["verify", model, bad_list("0 audio/speaker01_001.wav audio/speaker00_001.wav"), "--no-plots"]
    assert command(*words, "--output-dir", tmp_path / "out") == 0
    assert whole(tmp_path / "out")["eer"]["interval_unit"] == "trial"
    said = refusal(capsys, *words, "--calibrate", "cross", "--output-dir", tmp_path / "again")
    assert "who speaks is not known of every side: give --utterances" in said


def test_long_recordings_are_cut(voices: Path, model: Path, tmp_path: Path) -> None:
    """Two seconds in pieces of half a second: the mean of the pieces' embeddings."""
    rng = np.random.default_rng(0)
    for name in ("a1", "a2", "b1", "b2"):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.normal(size=32_000), 16_000, subtype="FLOAT")
    lines = ["1 a1.wav a2.wav", "1 b1.wav b2.wav", "0 a1.wav b1.wav", "0 a2.wav b2.wav"]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ["verify", model, tmp_path / "list.txt", "--chunk-seconds", 0.5, "--no-plots"]
    assert command(*words, "--output-dir", tmp_path / "out") == 0
    found = read_embeddings(tmp_path / "out" / "embeddings.parquet")
    pieces = np.split(read_audio(str(tmp_path / "a1.wav")), 4)
    assert np.allclose(found.vectors[0], load_model(model)[0].embed(pieces).mean(dim=0), atol=1e-5)
    assert found.seconds.tolist() == [2.0] * 4
