"""A gallery: who is in it, in which order they are named, and that no failure or neighbour costs it a voice."""

import json
import math
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from safetensors.numpy import save_file

from hf_speech.errors import InputError
from hf_speech.inference import load_model
from hf_speech.verification.calibration import Calibration
from hf_speech.verification.everyday import enroll_files, identify_file, remove_speaker
from hf_speech.verification.gallery import Gallery
from hf_speech.verification.identification import Match, enroll, identify, in_words, remove
from hf_speech.verification.kept import Kept, keep
from hf_speech.verification.pairs import same_speaker
from hf_speech.verification.recordings import embedder_digest, embeddings_of

from ..training.runs import refusal
from .speakers import BY_SCORE, SIZE, cosine, made_backend, write_model, write_voices

Loaded = tuple[Any, Any]
Voices = dict[str, list[Path]]


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Voices:
    return write_voices(tmp_path_factory.mktemp("voices"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Loaded:
    return load_model(folder)


@pytest.fixture
def gallery(model: Loaded, voices: Voices, tmp_path: Path) -> Path:
    """Everybody's first two recordings."""
    path = tmp_path / "gallery.safetensors"
    for name, files in voices.items():
        enroll(*model, name, files[:2], path)
    return path


def made(names: list[str], model: str = "m", seed: int = 0) -> Gallery:
    """A recording of each name, made up."""
    vectors = np.random.default_rng(seed).normal(size=(len(names), SIZE)).astype(np.float32)
    return Gallery(
        model, vectors, tuple(names), (1.0,) * len(names), tuple(f"{i:064x}" for i in range(len(names))), 30.0
    )


def assert_same(found: Gallery, wanted: Gallery) -> None:
    np.testing.assert_array_equal(found.embeddings, wanted.embeddings)
    for name in ("model", "names", "seconds", "digests", "piece"):
        assert getattr(found, name) == getattr(wanted, name)


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    for gallery in (
        made(["anna", "Bärbel Öz", "anna", "汉"]),
        Gallery.empty("m", 30.0),
        made(["anna"]).without("anna"),
    ):
        gallery.save(tmp_path / "g.safetensors")
        assert_same(Gallery.load(tmp_path / "g.safetensors"), gallery)
    assert [path.name for path in tmp_path.iterdir()] == ["g.safetensors"]


def test_speakers_are_means_of_their_recordings() -> None:
    gallery = replace(made(["zoe", "anna", "zoe", "zoe"]), seconds=(1.0, 2.5, 3.0, 0.5))
    names, means, seconds, counts = gallery.speakers()
    assert names == ["anna", "zoe"]
    np.testing.assert_allclose(means[0], gallery.embeddings[1])
    np.testing.assert_allclose(means[1], gallery.embeddings[[0, 2, 3]].astype(np.float64).mean(axis=0), rtol=1e-6)
    assert (seconds.tolist(), counts.tolist()) == ([2.5, 4.5], [1, 3])
    assert gallery.of("zoe") == (3, 4.5) and gallery.of("eva") == (0, 0)


@pytest.mark.parametrize("kept", [None, Kept(made_backend(), BY_SCORE)], ids=["cosine", "kept"])
def test_the_order_is_that_of_the_scores(model: Loaded, voices: Voices, gallery: Path, kept: Kept | None) -> None:
    for files in voices.values():
        found = identify(*model, files[2], gallery, kept=kept)
        alone = {name: same_speaker(*model, known[:2], files[2], kept=kept) for name, known in voices.items()}
        wanted = sorted(voices, key=lambda name: -alone[name].score)
        assert [match.name for match in found.matches] == wanted
        assert len({match.score for match in found.matches}) == 3
        for match in found.matches:
            assert match.score == alone[match.name].score  # to the last bit, alone or among others
            assert match.probability == alone[match.name].probability
        assert identify(*model, files[2], gallery, kept=kept, top=2).matches == found.matches[:2]


def test_scores_by_hand(model: Loaded, voices: Voices, gallery: Path) -> None:
    vectors, _ = embeddings_of(*model, [*voices["anna"][:2], voices["carl"][2]])
    (anna,) = [m for m in identify(*model, voices["carl"][2], gallery).matches if m.name == "anna"]
    wanted = cosine(vectors[:2].astype(np.float64).mean(axis=0), vectors[2])
    assert anna == Match("anna", pytest.approx(wanted, abs=1e-6), None)


def test_who_is_under_the_threshold_is_unknown(model: Loaded, voices: Voices, gallery: Path) -> None:
    file = voices["bert"][2]
    first = identify(*model, file, gallery).matches[0]
    # Without a threshold nobody is said to be anybody.
    found = identify(*model, file, gallery)
    assert (found.speaker, found.threshold) == (None, None)
    assert "nobody can be called unknown without a threshold" in in_words(found)[0]
    # A score that is given.
    for kept in (None, Kept(None, BY_SCORE)):
        for threshold, who in [(first.score, first.name), (np.nextafter(first.score, 2), "unknown")]:
            found = identify(*model, file, gallery, kept=kept, threshold=float(threshold))
            assert (found.speaker, found.threshold) == (who, threshold)
            assert in_words(found)[0].startswith(f"{who}: ")
            assert [match.name for match in found.matches][0] == first.name  # still listed
    # One that is kept: 10 * score - 4 is the ratio.
    llr = float(BY_SCORE.llr(first.score))
    for kept_ratio, who in [(llr, first.name), (np.nextafter(llr, 99), "unknown")]:
        calibration = replace(BY_SCORE, thresholds={"eer": kept_ratio, "never": 99.0})
        found = identify(*model, file, gallery, kept=Kept(None, calibration))
        assert found.speaker == who
        assert found.threshold == pytest.approx(first.score, abs=1e-12)
        assert identify(*model, file, gallery, kept=Kept(None, calibration), threshold="never").speaker == "unknown"
    with pytest.raises(InputError, match="threshold 'eer': none is kept with this model; give a score"):
        identify(*model, file, gallery, threshold="eer")
    with pytest.raises(InputError, match="unknown threshold 'best'; valid: eer, fmr_0.01"):
        identify(*model, file, gallery, kept=Kept(None, BY_SCORE), threshold="best")
    with pytest.raises(InputError, match="top is 0"):
        identify(*model, file, gallery, top=0)


def test_qualities_count_in_the_order(model: Loaded, voices: Voices, gallery: Path) -> None:
    """With a weight on durations that outdoes the scores, who has the longer recordings comes first, on average."""
    names = ("score", "log_duration_min", "log_duration_max")
    kept = Kept(None, Calibration(names, (1e-3, 100.0, 100.0), 0.0, 0.5, {"eer": 0.0}))
    lengths = {name: [soundfile.info(file).duration for file in files[:2]] for name, files in voices.items()}
    briefest = min(lengths, key=lambda name: np.mean(lengths[name]))
    third = soundfile.info(voices[briefest][2]).duration
    enroll(*model, briefest, voices[briefest][2:], gallery)
    lengths[briefest].append(third)
    wanted = sorted(lengths, key=lambda name: -np.mean(lengths[name]))
    assert wanted != sorted(lengths, key=lambda name: -np.sum(lengths[name]))
    found = identify(*model, voices["anna"][0], gallery, kept=kept)
    assert [match.name for match in found.matches] == wanted


def test_recordings_are_added_once_and_removed(model: Loaded, voices: Voices, gallery: Path, tmp_path: Path) -> None:
    before = Gallery.load(gallery)
    assert before.names == ("anna",) * 2 + ("bert",) * 2 + ("carl",) * 2
    copy = shutil.copy(voices["anna"][1], tmp_path / "another_name.wav")
    assert_same(enroll(*model, "anna", [copy, voices["anna"][0], copy], gallery), before)
    third = voices["anna"][2]
    assert enroll(*model, "anna", [third, third], gallery).of("anna")[0] == 3
    vectors, seconds = embeddings_of(*model, voices["anna"])
    names, means, total, counts = Gallery.load(gallery).speakers()
    assert (names[0], counts[0], total[0]) == ("anna", 3, pytest.approx(seconds.sum()))
    np.testing.assert_allclose(means[0], vectors.astype(np.float64).mean(axis=0), rtol=1e-6)
    after = remove("anna", gallery, [copy])  # known by its content
    assert after.of("anna")[0] == 2 and before.digests[1] not in after.digests
    replaced = enroll(*model, "anna", [third], gallery, replace=True)
    assert replaced.of("anna") == (1, pytest.approx(seconds[2]))
    assert replaced.of("bert") == before.of("bert")
    gone = remove("anna", gallery)
    assert sorted(set(gone.names)) == ["bert", "carl"]
    assert_same(Gallery.load(gallery), gone)
    remove("bert", gallery)
    assert remove("carl", gallery).names == ()
    with pytest.raises(InputError, match="nobody is enrolled"):
        identify(*model, third, gallery)
    assert enroll(*model, "eva", [third], gallery).of("eva")[0] == 1


def test_what_can_not_be_enrolled_leaves_the_gallery_as_it_was(
    model: Loaded, voices: Voices, gallery: Path, tmp_path: Path
) -> None:
    before, fresh = gallery.read_bytes(), voices["anna"][2]
    sound = fresh.read_bytes()
    (tmp_path / "cut.wav").write_bytes(sound[: len(sound) // 2])
    (tmp_path / "words.wav").write_text("not a sound")
    soundfile.write(tmp_path / "short.wav", np.zeros(100), 16_000)
    for name, files, words in [
        ("anna", [fresh, tmp_path / "cut.wav"], "cut.wav: "),
        ("anna", [fresh, tmp_path / "words.wav"], "words.wav: "),
        ("anna", [tmp_path / "short.wav"], "0.006 s long"),
        ("anna", [tmp_path / "none.wav"], "none.wav: no such file"),
        ("anna", [], "no recording of 'anna' was given"),
        ("anna", [fresh, voices["bert"][0]], "a recording of 'anna' is enrolled as bert; leave it out, or remove"),
        ("unknown", [fresh], "nobody can be called 'unknown'"),
        ("", [fresh], "'' can't be a speaker's name"),
        (" anna", [fresh], "' anna' can't be a speaker's name"),
        ("an\nna", [fresh], "can't be a speaker's name"),
    ]:
        for again in (False, True):
            with pytest.raises(InputError, match=words) as refused:
                enroll(*model, name, files, gallery, replace=again)
            assert "\n" not in str(refused.value)
    for arguments, words in [
        (("eva",), "unknown speaker 'eva'; valid: anna, bert, carl"),
        (("anna", [voices["bert"][0]]), "1 of the recordings are none that 'anna' was enrolled with"),
    ]:
        with pytest.raises(InputError, match=words):
            remove(arguments[0], gallery, *arguments[1:])
    assert gallery.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"gallery.safetensors", "cut.wav", "words.wav", "short.wav"}


def test_a_gallery_of_another_model_is_refused(voices: Voices, gallery: Path, tmp_path: Path) -> None:
    before = gallery.read_bytes()
    other = load_model(write_model(tmp_path / "other", seed=1))
    for ask in (
        lambda: enroll(*other, "anna", voices["anna"][2:], gallery),
        lambda: identify(*other, voices["anna"][2], gallery),
    ):
        with pytest.raises(InputError, match="its speakers were enrolled with another model; give that one, or enrol"):
            ask()
    assert gallery.read_bytes() == before


FOREIGN = {
    "text": lambda path: path.write_text("anna, bert, carl"),
    "nothing": lambda path: path.write_bytes(b""),
    "a back end": lambda path: made_backend().save(path),
    "other tensors": lambda path: save_file({"embeddings": np.zeros((2, 3), np.float32)}, path),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-10]),
    "another version": lambda path: save_file(
        {"embeddings": np.zeros((0, 3), np.float32)}, path, {"format": "hf_speech gallery 2", "model": "m"}
    ),
    "a table that does not fit": lambda path: save_file(
        {"embeddings": np.zeros((2, 3), np.float32)},
        path,
        {"format": "hf_speech gallery 1", "model": "m", "table": '{"names": ["a"], "seconds": [1], "digests": ["0"]}'},
    ),
    "a table of something else": lambda path: save_file(
        {"embeddings": np.zeros((2, 3), np.float32)},
        path,
        {"format": "hf_speech gallery 1", "model": "m", "table": "[1, 2]"},
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused_and_not_overwritten(model: Loaded, voices: Voices, gallery: Path, kind: str) -> None:
    FOREIGN[kind](gallery)
    before, file = gallery.read_bytes(), voices["anna"][2]
    for ask in (
        lambda: enroll(*model, "anna", [file], gallery),
        lambda: identify(*model, file, gallery),
        lambda: remove("anna", gallery),
    ):
        with pytest.raises(InputError, match="is no gallery of speakers") as refused:
            ask()
        assert str(refused.value).startswith(str(gallery)) and "\n" not in str(refused.value)
    assert gallery.read_bytes() == before


def table(**changed: object) -> str:
    """That of a gallery of two."""
    facts = {"names": ["anna", "bert"], "seconds": [1.0, 2.5], "digests": ["0" * 64, "1" * 64]}
    return json.dumps(facts | changed)


# Embeddings, table, and what is said of them.
HOSTILE: dict[str, tuple[np.ndarray, str, str]] = {
    "embeddings of nothing": (np.zeros((2, 0)), table(), "an embedding has no numbers"),
    "one axis": (np.zeros(2), table(), "shape (2,) for 2 names"),
    "three axes": (np.zeros((2, SIZE, 1)), table(), "for 2 names"),
    "not finite": (np.full((2, SIZE), np.nan), table(), "one that is not finite"),
    "whole numbers": (np.zeros((2, SIZE), np.int64), table(), "an embedding has no numbers"),
    "a nested table": (np.zeros((2, SIZE)), "[" * 100_000, "is no gallery of speakers (maximum recursion"),
    "names nested": (np.zeros((2, SIZE)), table(names=[["anna"], ["bert"]]), "is no gallery of speakers"),
    "names that are a word": (np.zeros((2, SIZE)), table(names="ab"), "columns that are no lists"),
    "names that are numbers": (np.zeros((2, SIZE)), table(names=[1, 2]), "1 can't be a speaker's name"),
    "escapes": (np.zeros((2, SIZE)), table(names=["a\x1b[2J", "b"]), r"'a\x1b[2J' can't be a speaker's name"),
    "line breaks": (np.zeros((2, SIZE)), table(names=["a", "b\nc"]), r"'b\nc' can't be a speaker's name"),
    "half a letter": (np.zeros((2, SIZE)), table(names=["a", "\ud800"]), r"'\ud800' can't be a speaker's name"),
    "text turned round": (np.zeros((2, SIZE)), table(names=["a", "\u202eb"]), r"'\u202eb' can't be a speaker's name"),
    "unknown": (np.zeros((2, SIZE)), table(names=["a", "unknown"]), "nobody can be called 'unknown'"),
    "nobody's name": (np.zeros((2, SIZE)), table(names=["a", ""]), "'' can't be a speaker's name"),
    "seconds in words": (np.zeros((2, SIZE)), table(seconds=["1", "2"]), "'1' seconds long"),
    "no seconds": (np.zeros((2, SIZE)), table(seconds=[1, 0]), "0 seconds long"),
    "seconds without an end": (np.zeros((2, SIZE)), table(seconds=[1, float("inf")]), "inf seconds long"),
    "a digest twice": (np.zeros((2, SIZE)), table(digests=["0", "0"]), "two recordings have one digest"),
    "digests that are numbers": (np.zeros((2, SIZE)), table(digests=[0, 1]), "one has none"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_gallery_that_would_do_harm_is_refused(
    folder: Path, model: Loaded, voices: Voices, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the digest of the model and all else that a gallery needs, as somebody would write it."""
    path, (vectors, written, message) = tmp_path / "g.safetensors", HOSTILE[kind]
    facts = {"format": "hf_speech gallery 1", "model": embedder_digest(*model), "piece": "30.0"}
    save_file({"embeddings": np.ones((2, SIZE), np.float32)}, path, facts | {"table": table()})
    assert len(identify(*model, voices["anna"][0], path).matches) == 2
    vectors = vectors if vectors.dtype.kind == "i" else vectors.astype(np.float32)
    save_file({"embeddings": vectors}, path, facts | {"table": written})
    for words in (
        ("identify", folder, voices["anna"][0], "--gallery", path),
        ("enroll", folder, "--name", "eva", voices["anna"][0], "--gallery", path),
        ("enroll", folder, "--name", "anna", "--remove", "--gallery", path),
    ):
        said = refusal(capsys, *words)
        assert f"{path}: is no gallery of speakers (" in said and message in said and said.isprintable()


def test_embeddings_of_another_size_are_refused(model: Loaded, voices: Voices, tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    narrow = replace(made(["anna", "bert"], embedder_digest(*model)), embeddings=np.ones((2, 5), np.float32))
    narrow.save(path)
    for ask in (
        lambda: identify(*model, voices["anna"][0], path),
        lambda: enroll(*model, "anna", [voices["anna"][0]], path),
    ):
        with pytest.raises(InputError, match=f"embeddings have 5 dimensions, and the model gives {SIZE}; enrol into"):
            ask()
    assert_same(Gallery.load(path), narrow)


def test_pieces_are_written_and_a_mix_is_refused(model: Loaded, voices: Voices, tmp_path: Path) -> None:
    path, files = tmp_path / "g.safetensors", sorted(voices["anna"], key=lambda file: soundfile.info(file).duration)
    shortest, longest = (soundfile.info(file).duration for file in (files[0], files[-1]))
    between, under = (shortest + longest) / 2, shortest / 2
    pieces = {length: Kept(None, BY_SCORE, chunk_seconds=length) for length in (None, between, under, math.inf)}
    assert enroll(*model, "anna", files[:1], path).piece == 30.0
    # What neither length cuts is the same under both.
    before = Gallery.load(path)
    assert identify(*model, voices["bert"][0], path, kept=pieces[between]).matches
    assert_same(enroll(*model, "anna", files[:1], path, kept=pieces[math.inf]), replace(before, piece=math.inf))
    assert enroll(*model, "anna", files[-1:], path, kept=pieces[between]).piece == between
    np.testing.assert_array_equal(
        Gallery.load(path).embeddings[1], embeddings_of(*model, files[-1:], chunk_seconds=between)[0][0]
    )
    content = path.read_bytes()
    for length, words in [(None, "in pieces of 30 s"), (under, f"in pieces of {under:g} s"), (math.inf, "whole")]:
        wanted = f"were enrolled in pieces of {between:g} s, and the model now takes them {words}; enrol them again"
        for ask in (
            lambda kept: identify(*model, voices["bert"][0], path, kept=kept),
            lambda kept: enroll(*model, "anna", files[1:2], path, kept=kept),
            lambda kept: enroll(*model, "bert", voices["bert"], path, kept=kept, replace=True),
        ):
            with pytest.raises(InputError, match=wanted) as refused:
                ask(pieces[length])
            assert str(refused.value).startswith(f"{path}: ") and "\n" not in str(refused.value)
    assert path.read_bytes() == content
    # Where the long one is forgotten, nothing is mixed.
    again = enroll(*model, "anna", files, path, kept=pieces[under], replace=True)
    np.testing.assert_array_equal(again.embeddings, embeddings_of(*model, files, chunk_seconds=under)[0])


def test_a_threshold_that_decides_nothing_is_refused(
    folder: Path, model: Loaded, voices: Voices, gallery: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = voices["anna"][0]
    for threshold in (math.nan, math.inf, -math.inf):
        with pytest.raises(InputError, match="give a finite score, or the name of a kept threshold"):
            identify(*model, file, gallery, threshold=threshold)
    for word in ("nan", "inf", "1e999"):
        assert "give a finite score" in refusal(
            capsys, "identify", folder, file, "--gallery", gallery, "--threshold", word
        )
    for prior in (0.0, 1.0, math.nan):
        with pytest.raises(InputError, match="prior is"):
            identify(*model, file, gallery, prior=prior)


def test_places_where_no_gallery_can_be(model: Loaded, voices: Voices, tmp_path: Path) -> None:
    file = voices["anna"][0]
    with pytest.raises(InputError, match="there is no folder"):
        enroll(*model, "anna", [file], tmp_path / "none" / "g.safetensors")
    with pytest.raises(InputError, match="there is no such gallery; `hf-speech enroll"):
        identify(*model, file, tmp_path / "g.safetensors")
    with pytest.raises(InputError, match="there is no such gallery"):
        enroll(*model, "anna", [file], tmp_path)


def test_threads_that_enrol_at_once_lose_nobody(model: Loaded, voices: Voices, tmp_path: Path) -> None:
    path = tmp_path / "gallery.safetensors"
    work = [(name, file) for name, files in voices.items() for file in files]
    with ThreadPoolExecutor(len(work)) as pool:
        list(pool.map(lambda one: enroll(*model, one[0], [one[1]], path), work))
    assert {name: Gallery.load(path).of(name)[0] for name in voices} == {"anna": 3, "bert": 3, "carl": 3}


ENROLS = """
import sys
import numpy as np
from hf_speech.verification.gallery import Gallery, changing
name, path = sys.argv[1:]
for i in range(20):
    with changing(path):
        gallery = Gallery.load(path)
        vectors = np.full((1, 4), i, np.float32)
        gallery.with_recordings(name, vectors, [1.0], [f"{name} {i}"]).save(path)
"""


def test_processes_that_enrol_at_once_lose_nobody(tmp_path: Path) -> None:
    path = tmp_path / "gallery.safetensors"
    Gallery.empty("m", 30.0).save(path)
    started = [subprocess.Popen([sys.executable, "-c", ENROLS, name, str(path)]) for name in ("anna", "bert", "carl")]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]
    gallery = Gallery.load(path)
    assert [gallery.of(name)[0] for name in ("anna", "bert", "carl")] == [20, 20, 20]
    assert list(tmp_path.iterdir()) == [path]


def test_ten_thousand_speakers(model: Loaded, voices: Voices, tmp_path: Path) -> None:
    path, file = tmp_path / "gallery.safetensors", voices["anna"][0]
    crowd = made([f"speaker{i % 10_000:05d}" for i in range(20_000)], embedder_digest(*model))
    crowd.save(path)
    began = time.monotonic()
    found = identify(*model, file, path, kept=Kept(made_backend(), BY_SCORE), top=3)
    assert time.monotonic() - began < 10  # some 0.3 s on one core
    vector = embeddings_of(*model, [file])[0]
    pairs = crowd.embeddings.astype(np.float64).reshape(2, 10_000, SIZE)
    means = pairs.mean(axis=0).astype(np.float32)
    scores = made_backend().score(np.concatenate([means, vector]), np.arange(10_000), np.full(10_000, 10_000))
    best = np.argsort(-scores)[:3]
    assert [match.name for match in found.matches] == [f"speaker{i:05d}" for i in best]
    assert [match.score for match in found.matches] == pytest.approx(scores[best], abs=1e-9)
    with pytest.raises(InputError, match="unknown speaker 'speaker1'.*valid: those of 10000 speakers"):
        remove("speaker1", path)


def test_the_commands_answers(folder: Path, model: Loaded, voices: Voices, tmp_path: Path) -> None:
    calibrated, gallery = shutil.copytree(folder, tmp_path / "model"), tmp_path / "g.safetensors"
    kept = keep(calibrated, None, BY_SCORE)
    said, lines = enroll_files(calibrated, "anna", voices["anna"][:2], gallery)
    seconds = sum(soundfile.info(file).duration for file in voices["anna"][:2])
    assert said == {
        "gallery": str(gallery),
        "speaker": "anna",
        "recordings": 2,
        "seconds": pytest.approx(seconds),
        "speakers": 1,
    }
    assert lines == [f"anna: 2 recordings, {seconds:.1f} s; 1 speaker in {gallery}"]
    enroll_files(calibrated, "bert", voices["bert"][:1], gallery)
    said, lines = identify_file(calibrated, voices["bert"][1], gallery, threshold="fmr_0.01", prior=0.1)
    found = identify(*model, voices["bert"][1], gallery, kept=kept, threshold="fmr_0.01", prior=0.1)
    assert json.loads(json.dumps(said)) == json.loads(json.dumps({"file": str(voices["bert"][1]), **asdict(found)}))
    assert lines == in_words(found) and len(lines) == 3
    assert identify_file(calibrated, voices["bert"][1], gallery, threshold="1.5")[0]["speaker"] == "unknown"
    said, lines = remove_speaker("anna", gallery)
    assert (said["recordings"], said["speakers"]) == (0, 1)
    assert lines == [f"anna: 0 recordings, 0.0 s; 1 speaker in {gallery}"]
