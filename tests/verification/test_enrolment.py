"""Models of several utterances, and the average that stands for each."""

from pathlib import Path

import numpy as np
import pytest

from hf_speech.data.problems import Problems
from hf_speech.errors import InputError
from hf_speech.verification import Backend, averaged, complete, read_enrolment, read_trials, spoken, utterances_of

MODELS = {"anna": ("a/1", "a/2", "a/3"), "ben": ("b/1",)}


def test_a_map_is_read(tmp_path: Path) -> None:
    (tmp_path / "enrol.map").write_text("anna a/1.wav a/2.flac  a/3\n\nben b/1\n")
    assert read_enrolment(tmp_path / "enrol.map") == MODELS


@pytest.mark.parametrize(
    ("line", "said"),
    [("carl", "'carl' has no utterance"), ("carl c/1 c/1.wav", "an utterance twice"), ("ben b/2", "an earlier line")],
)
def test_a_line_that_is_no_model_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "enrol.map").write_text(f"anna a/1 a/2 a/3\nben b/1\n{line}\n")
    problems = Problems("skip")
    assert read_enrolment(tmp_path / "enrol.map", problems) == MODELS and len(problems) == 1
    with pytest.raises(InputError, match=f"enrol.map, line 3: .*{said}"):
        read_enrolment(tmp_path / "enrol.map")


def test_an_empty_map_is_refused(tmp_path: Path) -> None:
    (tmp_path / "enrol.map").write_text("\n")
    with pytest.raises(InputError, match="enrol.map: holds no model"):
        read_enrolment(tmp_path / "enrol.map")


def test_a_side_is_the_mean_of_its_models_embeddings(tmp_path: Path) -> None:
    (tmp_path / "trials").write_text("anna x target\nben x nontarget\nanna b/1 nontarget\n")
    trials = read_trials(tmp_path / "trials")
    names = utterances_of(trials)
    ids = spoken(names, MODELS)
    assert sorted(ids) == ["a/1", "a/2", "a/3", "b/1", "x"]
    embeddings = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    sides = averaged(embeddings, ids, names, MODELS)
    row = dict(zip(ids, embeddings.astype(float), strict=True))
    anna = (row["a/1"] + row["a/2"] + row["a/3"]) / 3
    expected = {"anna": anna, "ben": row["b/1"], "x": row["x"], "b/1": row["b/1"]}
    np.testing.assert_allclose(sides, [expected[name] for name in names], rtol=1e-6)
    place = {name: i for i, name in enumerate(names)}
    score = Backend.cosine(4).score(sides, [place["anna"]], [place["x"]])
    assert score[0] == pytest.approx(anna @ row["x"] / np.linalg.norm(anna) / np.linalg.norm(row["x"]), abs=1e-6)


def test_a_model_that_lacks_an_utterance_is_left_out_whole() -> None:
    assert complete(["anna", "ben", "x", "y"], MODELS, ["a/1", "a/3", "b/1", "x"]) == ["ben", "x"]
    with pytest.raises(InputError, match=r"no embedding of a/2 \(2 in all\)"):
        averaged(np.eye(2), ["a/1", "a/3"], ["anna", "x"], MODELS)
