"""Trials among the validation rows: what decides while training is what the results, the card and the terminal show."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoModel

from hf_speech.fingerprint import fingerprint
from hf_speech.metrics import verification_numbers
from hf_speech.testing import write_fake_corpus

from .runs import read_results, read_table, refusal, train_tiny, write_yaml

RUN = {"target": "speaker_id", "validation": "0.5", "test": "none", "max_steps": 3, "max_seconds": 30.0}


def trials_of(corpus: Path) -> list[tuple[int, str, str]]:
    """All pairs of the table's rows."""
    rows = read_table(corpus)
    return [
        (int(one["speaker_id"] == other["speaker_id"]), one["path"], other["path"])
        for one, other in combinations(rows, 2)
    ]


def write_trials(path: Path, trials: list[tuple[int, str, str]]) -> Path:
    path.write_text("".join(f"{label} {one} {other}\n" for label, one, other in trials), encoding="utf-8")
    return path


def test_numbers_of_trials_are_those_of_the_kept_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By paths below the table, as it has no ids; measured anew here, one recording at a time."""
    corpus = write_fake_corpus(tmp_path / "corpus", speakers=12, per_speaker=4)
    first = train_tiny(tmp_path / "first", corpus, **RUN)
    held_out = {row["id"] for row in read_table(first / "predictions.csv")}
    trials = [trial for trial in trials_of(corpus) if {trial[1], trial[2]} <= held_out]
    listed = write_trials(tmp_path / "trials.txt", trials)
    capsys.readouterr()
    folder = train_tiny(tmp_path / "model", corpus, "--trials", listed, **RUN)
    said = capsys.readouterr().out
    model = AutoModel.from_pretrained(folder).eval()
    vectors = {}
    for path in held_out:
        waveform = torch.from_numpy(soundfile.read(corpus.parent / path, dtype="float32")[0])
        normal = (waveform - waveform.mean()) / (waveform.var(unbiased=False) + 1e-7).sqrt()
        with torch.no_grad():
            vector = model(normal[None]).embeddings[0].double().numpy()
        vectors[path] = vector / np.linalg.norm(vector)
    who = {row["path"]: row["speaker_id"] for row in read_table(corpus)}
    labels, scores = [label for label, _, _ in trials], [vectors[one] @ vectors[other] for _, one, other in trials]
    sides = [who[one] for _, one, _ in trials], [who[other] for _, _, other in trials]
    wanted = verification_numbers(labels, scores, sides, seed=42)
    found = {row["name"]: row for row in read_results(folder)["metrics"] if row["split"] == "validation"}
    for number in wanted:
        row = found[number["name"]]
        assert [row[key] for key in ("value", "low", "high")] == pytest.approx(
            [number[key] for key in ("value", "low", "high")], abs=1e-6
        )
        assert row["interval_unit"] == number["interval_unit"] == "speaker"
        assert row["n"] == len(trials)
        assert row["fingerprint"] == fingerprint(f"{one} {other}" for _, one, other in trials)
        assert f"({len(trials)} trials, by speaker)" in said
    assert found["accuracy"]["n"] == len(held_out) != len(trials)
    card = (folder / "README.md").read_text()
    assert "| Equal error rate (EER) |" in card and "Utterances or trials" in card
    assert (
        f"Fingerprint of the trials in {found['eer']['dataset']}, validation: `{found['eer']['fingerprint']}`" in card
    )
    assert ", for ``" not in card
    assert (folder / "det.png").exists() and "](det.png)" in card and not (first / "det.png").exists()


def test_a_label_that_the_speakers_belie_is_refused_before_training(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row["path"] for row in read_table(corpus) if row["speaker_id"] in ("speaker04", "speaker05")]
    trials = [(0, rows[0], rows[1]), (1, rows[1], rows[2])]
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), max_steps=1)
    flags = ("--validation", "speaker_id=speaker04,speaker05", "--output-dir", tmp_path / "model")
    listed = write_trials(tmp_path / "trials.txt", trials)
    said = refusal(capsys, "train", config, *flags, "--trials", listed)
    pair = " and ".join(row.removesuffix(".wav") for row in rows[:2])
    assert f"{listed}, line 1: the label is 0, but {pair} are one speaker; mend the label" in said
    unknown = write_trials(tmp_path / "unknown.txt", [(1, rows[0], "audio/gone.wav")])
    assert "there is no audio audio/gone; add it" in refusal(capsys, "train", config, *flags, "--trials", unknown)
