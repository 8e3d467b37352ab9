"""What pages say: right on real speech, the same numbers as the commands, in words that escape nothing."""

import json
import math
import shutil
import threading
from pathlib import Path

import pytest

from hf_speech.cli import main
from hf_speech.demo.answers import _compared, _headline, classify, compare, lay_out
from hf_speech.demo.limits import Limits
from hf_speech.demo.models import AGAIN_AFTER, NO_MODEL, Loaded, Models
from hf_speech.demo.pictures import bars, scale
from hf_speech.demo.recordings import listen_to
from hf_speech.errors import InputError
from hf_speech.samples import sample_files
from hf_speech.verification.pairs import PairAnswer

from .voices import is_held_out, speakers_of, trials_of

LIMITS = Limits()


@pytest.fixture(scope="session")
def loaded(voices: Path) -> Loaded:
    return Models([str(voices)]).get()


def test_labels_are_right_on_voices_it_has_not_heard_and_as_predict_has_them(
    speech: Path, voices: Path, loaded: Loaded, capsys: pytest.CaptureFixture[str]
) -> None:
    import csv

    with (speech / "speaker" / "metadata.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if is_held_out(row["speaker"])][::8]
    files = [str(speech / "speaker" / row["path"]) for row in rows]
    said = [classify(loaded, file, LIMITS)[0] for file in files]
    right = [one["label"] == row["gender"] for one, row in zip(said, rows, strict=True)]
    assert len(rows) > 12 and sum(right) >= 0.85 * len(rows)
    capsys.readouterr()
    assert main(["predict", str(voices), *files, "--json"]) == 0
    predicted = json.loads(capsys.readouterr().out)
    for one, other in zip(said, predicted, strict=True):
        assert one["label"] == other["label"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)
        first, last = one["evidence"]
        assert 0 <= first <= last <= one["seconds"] + 0.05


def test_pairs_are_judged_as_verify_judges_them(
    speech: Path, voices: Path, loaded: Loaded, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = trials_of(speech)[::12]
    sides = [[str(speech / "speaker" / file) for file in (a, b)] for _, a, b in trials]
    said = [compare(loaded, one, other, LIMITS)[0] for one, other in sides]
    right = [answer["decision"] == same for answer, (same, _, _) in zip(said, trials, strict=True)]
    assert len(trials) > 15 and sum(right) >= 0.7 * len(trials)
    assert all(0 < answer["probability"] < 1 for answer in said)
    capsys.readouterr()
    assert main(["verify", str(voices), *sides[0]]) == 0
    words = capsys.readouterr().out
    assert f"probability {said[0]['probability']:.3f}" in words or f"the same {said[0]['probability']:.3f}" in words


def test_words_fit_the_decision(speech: Path, loaded: Loaded) -> None:
    seen = set()
    for _, a, b in trials_of(speech)[::20]:
        fields, page = compare(loaded, str(speech / "speaker" / a), str(speech / "speaker" / b), LIMITS)
        answer = PairAnswer(**fields)
        assert answer.probability is not None
        headline = "the same speaker" if answer.decision else "two different speakers"
        sure = answer.decision == (answer.probability >= 0.5)
        headline = f"Probably {headline}" if sure else f"Not sure; by the model&#x27;s threshold {headline}"
        side = "above" if answer.decision else "below"
        assert headline in page and f"{answer.score:.2f}, {side} the threshold of {answer.threshold:.2f}" in page
        assert (answer.score >= answer.threshold) == answer.decision
        seen.add(answer.decision)
    assert seen == {True, False}


def test_a_map_joins_recordings_of_one_voice(speech: Path, loaded: Loaded) -> None:
    speakers = speakers_of(speech)
    named: dict[str, list[str]] = {}
    for path, speaker in speakers.items():
        if is_held_out(speaker) and speaker.startswith("libri"):
            named.setdefault(speaker, []).append(str(speech / "speaker" / path))
    files = [path for paths in [paths for paths in named.values() if len(paths) > 1][:4] for path in paths[:2]]
    fields, page = lay_out(loaded, files, LIMITS)
    assert len(fields["recordings"]) == 8 and len(fields["pairs"]) == 28
    scores = [pair["score"] for pair in fields["pairs"]]
    assert scores == sorted(scores, reverse=True)
    voice = {place["name"]: place["voice"] for place in fields["recordings"]}
    for pair in fields["pairs"]:
        if pair["same_speaker"]:
            assert voice[pair["one"]] == voice[pair["other"]]
    count = max(voice.values())
    assert f"{count} voice{'s' if count > 1 else ''} in 8 recordings" in page
    assert page.count("<li") == 8 and page.count("<tr>") == 29


def test_without_a_calibration_there_is_a_similarity_and_no_verdict(loaded: Loaded) -> None:
    bare = Loaded(loaded.name, loaded.model, loaded.extractor, None, loaded.shortest)
    one, other = sample_files(2)
    fields, page = compare(bare, one, other, LIMITS)
    assert fields["probability"] is None and f"Similarity {fields['score']:.2f}" in page and "no calibration" in page
    fields, page = lay_out(bare, [one, other], LIMITS)
    assert {place["voice"] for place in fields["recordings"]} == {None}
    assert "Most alike" in page and "Voice 1" not in page


def test_one_recording_twice_has_two_names(loaded: Loaded) -> None:
    (path,) = sample_files(1)
    fields, _ = lay_out(loaded, [path, path], LIMITS)
    assert [place["name"] for place in fields["recordings"]] == ["ada-test-1.flac", "ada-test-1.flac (2)"]
    assert fields["pairs"][0]["same_speaker"] is True


@pytest.mark.parametrize("count", [0, 1, 13])
def test_a_map_says_how_many_it_takes(loaded: Loaded, count: int) -> None:
    with pytest.raises(InputError, match="2 to 12 recordings"):
        lay_out(loaded, sample_files(1) * count, LIMITS)


def test_names_of_files_are_shown_and_not_run(loaded: Loaded, tmp_path: Path) -> None:
    paths = []
    for number, path in enumerate(sample_files(2)):
        evil = tmp_path / f"<img src=x onerror=alert({number})>&.flac"
        evil.write_bytes(Path(path).read_bytes())
        paths.append(str(evil))
    for page in (compare(loaded, *paths, LIMITS)[1], lay_out(loaded, paths, LIMITS)[1]):
        assert "<img" not in page and "&lt;img src=x onerror=alert(0)&gt;&amp;.flac" in page


def test_a_model_that_can_not_is_named(tmp_path: Path) -> None:
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForSequenceClassification,
        Wav2Vec2ForXVector,
    )

    from hf_speech.testing import tiny_backbone_config

    config = tiny_backbone_config("wav2vec2").to_dict()
    (path,) = sample_files(1)
    for kind in (Wav2Vec2ForXVector, Wav2Vec2ForSequenceClassification):
        folder = tmp_path / kind.__name__
        kind(Wav2Vec2Config(**{**config, "tdnn_dim": [8, 8, 8], "xvector_output_dim": 8})).save_pretrained(folder)
        Wav2Vec2FeatureExtractor().save_pretrained(folder)
    stock = Models([str(tmp_path / "Wav2Vec2ForXVector"), str(tmp_path / "Wav2Vec2ForSequenceClassification")])
    with pytest.raises(InputError, match="has no labels: it compares voices, and can't name what it hears"):
        classify(stock.get(), path, LIMITS)
    with pytest.raises(InputError, match="gives labels only, and can't compare voices"):
        compare(stock.get(stock.names[1]), path, path, LIMITS)
    with pytest.raises(InputError, match="This page has no model /etc/passwd. It has: "):
        stock.get("/etc/passwd")


def test_a_model_that_was_not_there_is_tried_again_after_a_while(
    voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hf_speech.demo.models as home

    now = [1_000.0]
    monkeypatch.setattr(home.time, "monotonic", lambda: now[0])
    models = Models([str(tmp_path / "coming")])
    with pytest.raises(InputError) as caught:
        models.get()
    assert (
        str(caught.value)
        == f"The model {tmp_path / 'coming'} can't be loaded. Whoever runs this page finds why in its log."
    )
    assert len(str(caught.value).splitlines()) == 1
    (tmp_path / "coming").symlink_to(voices)
    with pytest.raises(InputError):
        models.get()
    now[0] += AGAIN_AFTER
    assert models.get().kept is not None


def test_without_a_model_the_page_says_what_to_set() -> None:
    with pytest.raises(InputError, match="HF_SPEECH_MODEL") as caught:
        Models([]).get()
    assert str(caught.value) == NO_MODEL


def test_a_threshold_beyond_the_middle_is_told_as_doubt(loaded: Loaded) -> None:
    """What is 60 % probable and below the threshold is neither "probably two" nor "probably one"."""
    one, other = sample_files(2)
    said = PairAnswer(0.5, math.log(1.5), 0.6, False, 0.55)
    page = _compared(said, [listen_to(one, LIMITS), listen_to(other, LIMITS)], loaded.kept)
    assert "Not sure; by the model&#x27;s threshold two different speakers" in page and "60 %" in page


def test_the_scale_rises_with_the_score() -> None:
    places = [float(scale(0.5, 0.4, margin).split("left:")[1].split("%")[0]) for margin in (-9, -1, 0, 0.2, 1, 9)]
    assert places == sorted(set(places)) and places[2] == 50 and 0 <= places[0] and places[-1] <= 100


def test_whatever_is_wrong_with_a_model_the_page_stays_up(voices: Path, tmp_path: Path) -> None:
    for number, (file, text) in enumerate((("preprocessor_config.json", "[]"), ("config.json", '{"id2label": 5}'))):
        folder = Path(shutil.copytree(voices, tmp_path / str(number)))
        (folder / file).write_text(text)
        with pytest.raises(InputError, match=f"The model {number} can't be loaded. Whoever runs"):
            Models([str(folder)]).get()


def test_a_model_that_loads_slowly_hinders_no_other(voices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = Models([str(voices), "slow/model"])
    models.get()
    begun, go_on = threading.Event(), threading.Event()

    def load(name: str) -> Loaded:
        begun.set()
        assert go_on.wait(60)
        raise InputError("slow")

    monkeypatch.setattr(models, "_load", load)
    thread = threading.Thread(target=lambda: pytest.raises(InputError, models.get, "slow/model"))
    thread.start()
    assert begun.wait(60)
    assert models.get().kept is not None  # at once, while the other is still loading
    go_on.set()
    thread.join(60)


def test_numbers_have_names_and_nothing_stands_out_of_hundreds() -> None:
    assert _headline("age", {"value": -0.2}) == "age: -0.2"
    many = {f"s{i}": 1 / 800 for i in range(800)}
    assert "no label stands out" in _headline("", {"label": "s0", "score": 1 / 800, "scores": many})
    assert "792 further labels have" in bars(many) and "1 further label has" in bars({f"{i}": 0.1 for i in range(9)})
