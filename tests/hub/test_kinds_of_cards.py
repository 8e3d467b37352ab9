"""Cards of several tasks, of ordered classes, of several labels, of speakers: the words, and snippets that run."""

import contextlib
import copy
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from huggingface_hub import ModelCard
from transformers import Wav2Vec2FeatureExtractor

from hf_speech.errors import InputError
from hf_speech.hub.card import render_card
from hf_speech.hub.recipe_card import is_recipe
from hf_speech.hub.words import METRICS
from hf_speech.metrics import CLASSIFICATION_METRICS, MULTILABEL_METRICS, ORDINAL_METRICS, REGRESSION_METRICS
from hf_speech.model_facts import model_facts
from hf_speech.models.modeling import HfSpeechForSequenceClassification
from hf_speech.results import Results, validate
from hf_speech.training.pictures import draw_curves

from ..models.tiny import lively, tiny_config
from ..test_results import example

REPOSITORY = Path(__file__).resolve().parents[2]
# Name of the target -> settings of a tiny model of it.
MODELS: dict[str, dict[str, Any]] = {
    "emotion": {"id2label": {0: "calm", 1: "angry"}, "head": "mlp"},
    "age": {"num_labels": 1, "unit": "years", "target_mean": 40.0, "target_std": 10.0},
    "ages": {"id2label": {0: "young", 1: "older", 2: "old"}, "head": "ordinal", "loss": "coral"},
    "moods": {"id2label": {0: "joy", 1: "fear", 2: "anger"}, "loss": "binary_cross_entropy"},
    "speaker_id": {
        "id2label": dict(enumerate(["ada", "bob", "ada at 0.9", "bob at 0.9"])),
        "head": "cosine",
        "loss": "aam_softmax",
    },
    "emotion, age": {
        "tasks": {
            "emotion": {"labels": ["calm", "angry"]},
            "age": {"loss": "ccc", "unit": "years", "target_mean": 40.0},
            "decade": {"labels": ["twenties", "thirties", "forties"], "head": "ordinal", "loss": "coral"},
        }
    },
}


def results_of(target: str) -> tuple[dict[str, Any], HfSpeechForSequenceClassification]:
    """The example's content for a tiny model of a target, and the model."""
    settings = MODELS[target] if "tasks" in MODELS[target] else {"target": target, **MODELS[target]}
    settings = {"num_labels": len(settings.get("id2label", "a")), **settings}
    model = lively(HfSpeechForSequenceClassification(tiny_config(**settings)))
    content = example()
    content["model"] = model_facts(model, name="demo", backbone=None, licence=None)
    content["data"] |= {"target": target, "unit": "years"}
    for split in content["data"]["splits"].values():
        split["labels"] = None
    content["confusion"] = None
    return content, model


@pytest.mark.parametrize("target", MODELS)
def test_the_snippets_run_and_say_what_predict_says(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_speech.inference import load_model, predict

    content, model = results_of(target)
    model.save_pretrained(tmp_path / "demo")
    Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(tmp_path / "demo")
    for seed, name in enumerate(("speech.wav", "other.wav")):
        samples = np.random.default_rng(seed).normal(0, 0.1, 8000).astype(np.float32)
        soundfile.write(tmp_path / name, samples, 16_000, subtype="FLOAT")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", render_card(content), flags=re.DOTALL)
    assert len(blocks) == (4 if target == "speaker_id" else 3)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec("\n".join(blocks), {})
    lines = printed.getvalue().splitlines()
    (said,) = predict(*load_model("demo"), ["speech.wav"])
    told = said.get("tasks", {"": said})
    for line, (name, one) in zip(lines, told.items(), strict=False):
        answer = line.removeprefix(f"{name}: ") if name else line
        if "value" in one:
            assert float(answer) == pytest.approx(one["value"], abs=1e-4)
        else:
            assert answer == str(one["labels"] if "labels" in one else one["label"])
    if target == "speaker_id":
        first, second = (soundfile.read(name, dtype="float32")[0] for name in ("speech.wav", "other.wav"))
        one, two = model.embed([first, second]).double().numpy()
        cosine = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
        assert float(lines[1]) == pytest.approx(cosine, abs=1e-5)


def test_where_the_pipeline_answers_otherwise_the_card_says_so() -> None:
    """It gives the likeliest class of all that the model has."""
    said = {}
    for target in MODELS:
        section = render_card(results_of(target)[0]).partition("As a pipeline")[2].partition("\n## ")[0]
        said[target] = " ".join(section.split())
    assert "first, the mode of the distribution; the numbers of this card are of its median" in said["ages"]
    assert "lists each speaker at each of 2 speeds" in said["speaker_id"]
    assert {target for target, text in said.items() if "The pipeline" in text} == {"ages", "speaker_id"}


def several() -> dict[str, Any]:
    """The content of a model of three tasks, with a number of each."""
    content, _ = results_of("emotion, age")
    place = {key: content["metrics"][0][key] for key in ("dataset", "split", "n", "fingerprint", "interval_unit")}
    between = {"value": 0.5, "low": 0.25, "high": 0.75} | place
    content["metrics"] = [
        {"name": "emotion/uar", "unit": "fraction"} | between,
        {"name": "age/ccc", "unit": "correlation"} | between,
        {"name": "decade/class_mae", "unit": "classes"} | between | {"n": 12, "fingerprint": "fedcba9876543210"},
    ]
    for split in content["data"]["splits"].values():
        split["labels"] = {"calm": 3, "angry": 4}
        split["task_labels"] = {"emotion": split["labels"], "age": None, "decade": {"twenties": 5, "thirties": 6}}
    return content


def test_the_card_of_several_tasks_says_so() -> None:
    files = {"confusion-emotion.png", "confusion-decade.png", "regression-age.png", "numbers.png", "confusion.png"}
    card = render_card(several(), files)
    assert "predicts 3 things at once:" in card
    assert "- `emotion`: the emotion it is spoken with: one of 2 labels (`calm`, `angry`)" in card
    assert "- `age`: the speaker's age, as a number in years" in card
    assert "- `decade`: its `decade`: one of 3 labels in their order (`twenties`, `thirties`, `forties`)" in card
    assert "| emotion: UAR (unweighted average recall, UA) | 0.500 | 0.250 to 0.750 |" in card
    assert "| decade: Mean distance in classes | 0.50 classes | 0.25 to 0.75 classes |" in card
    assert all(f"]({name})" in card for name in files)
    assert "![Confusion matrix of `decade`](confusion-decade.png)\n\n*Confusion matrix of `decade`: rows" in card
    assert (
        "Utterances by `emotion`:" in card and "Utterances by `decade`:" in card and "| forties | 0 | 0 | 0 |" in card
    )
    assert "| loss of age | ccc, weight 1 |" in card and "| head of decade | ordinal, weight" not in card
    assert "acted emotions, test, for `emotion` and `age`: `0123456789abcdef`" in card
    assert "acted emotions, test, for `decade`: `fedcba9876543210`" in card
    assert "it answers for `emotion`, the first task" in card
    assert "does not know what a person feels" in card and "Not for proof of age" in card.replace("\n", " ")
    data = ModelCard(card).data
    assert data.tags[2:] == ["emotion", "age", "decade"]
    assert [result.metric_type for result in data.eval_results] == ["recall", "ccc", "mae"]


def test_every_metric_has_words() -> None:
    measured = {*CLASSIFICATION_METRICS, *ORDINAL_METRICS, *MULTILABEL_METRICS, *REGRESSION_METRICS}
    assert measured | {"eer", "min_dcf", "act_dcf", "cllr", "min_cllr", "fnmr", "fmr"} == set(METRICS)
    assert len({title for title, *_ in METRICS.values()}) == len(METRICS)


def test_numbers_of_trials_are_told_as_such() -> None:
    content, _ = results_of("speaker_id")
    shared = {"dataset": "VoxCeleb1", "split": "test", "n": 37_611, "fingerprint": None, "interval_unit": "trial"}
    content["metrics"] = [
        {"name": "eer", "value": 0.0123, "low": 0.011, "high": 0.0138, "unit": "fraction"} | shared,
        {"name": "min_dcf", "value": 0.15, "low": 0.12, "high": 0.18, "unit": "cost at p_target 0.01"} | shared,
    ]
    card = render_card(content)
    assert "| Split | Trials |" in card and "| Equal error rate (EER) | 0.012 | 0.011 to 0.014 | VoxCeleb1 |" in card
    assert "| Minimum detection cost (minDCF) | 0.150 cost at p_target 0.01 |" in card
    assert "bootstrap over trials alone" in card
    content["metrics"] = [metric | {"interval_unit": "speaker"} for metric in content["metrics"]]
    card = render_card(content)
    assert "| Split | Trials |" in card and "bootstrap over speakers" in card
    content["metrics"][0]["interval_unit"] = "session"
    with pytest.raises(InputError, match="valid: speaker, utterance, trial"):
        validate(content)


def test_a_list_of_trials_has_no_labels_and_no_tag_of_its_own() -> None:
    content, _ = results_of("speaker_id")
    content["data"] |= {"target": "same speaker", "overlaps": None}
    content["data"]["splits"] = {
        "trials": {**content["data"]["splits"]["test"], "labels": {"target": 3, "non-target": 9}}
    }
    content["model"]["tasks"] = content["model"]["tasks"][:1]
    content["metrics"] = [content["metrics"][0] | {"name": "eer", "split": "trials", "interval_unit": "trial"}]
    card = render_card(content)
    assert "by label" not in card and "hf-speech verify demo one.wav other.wav" in card
    assert ModelCard(card).data.tags == ["hf_speech", "speech", "speaker-verification"]


def test_parts_stand_in_the_recipe_with_their_options() -> None:
    config = tiny_config(
        "ecapa-tdnn", pooling="attentive", pooling_config={"bottleneck": 8, "global_context": False},
        projection="batchnorm+linear", projection_config={"size": 12}, head="cosine", loss="am_softmax",
        loss_config={"margin": 0.3, "annealing": True}, target="speaker_id",
    )  # fmt: skip
    content = example()
    model = HfSpeechForSequenceClassification(config)
    content["model"] = model_facts(model, name="demo", backbone="ecapa-256", licence=None, lora={"r": 8})
    content["run"]["recipe"] = {"augment": {"speeds": [0.9, 1.0], "speed_classes": True}}
    card = render_card(content)
    for line in (
        "| network | ecapa-tdnn (channels: [16, 16, 16, 16, 24], scale: 4, se_channels: 8) |",
        "| front end | speechbrain-fbank |",
        "| pooling | attentive (bottleneck: 8, global_context: false) |",
        "| projection | batchnorm+linear (size: 12) |",
        "| head | cosine |",
        "| loss | am_softmax (margin: 0.3, annealing: true) |",
        "| adapter | lora (r: 8), merged into the weights |",
        "| augment | speeds: [0.9, 1.0], speed_classes: true |",
    ):
        assert line in card, line
    assert "| neck |" not in card  # there is none


def test_a_task_without_its_form_is_refused() -> None:
    content = several()
    validate(content)
    for change, said in (("tasks", "model.tasks is 3; it must be a list"), ("labels", r"tasks\[1\] has no 'labels'")):
        broken = copy.deepcopy(content)
        if change == "tasks":
            broken["model"]["tasks"] = 3
        else:
            del broken["model"]["tasks"][1]["labels"]
        with pytest.raises(InputError, match=said):
            validate(broken)


def of_encoder(objective: str, **learnt: Any) -> dict[str, Any]:
    """The results of the published encoder, as if it had learnt otherwise."""
    content = vars(Results.read(REPOSITORY / "model_cards" / "wav2vec2-small-pretrained"))
    content = copy.deepcopy(content) | {"metrics": []}
    content["model"]["problem_type"] = content["run"]["recipe"]["objective"] = objective
    content["run"]["pretraining"] = learnt
    return content


def test_a_card_of_an_encoder_says_whose_labels_its_clusters_know() -> None:
    clusters = {"model": "1-pretrain", "layer": 3, "labels": ["emotion"]}
    card = render_card(of_encoder("clusters", clusters=clusters))
    assert "The clusters are of layer 3 of 1-pretrain, which was trained with the labels of `emotion`." in card
    assert "target: clusters that were made with labels of `emotion`" in card
    assert "without labels" not in card and "are not used" not in card
    card = render_card(of_encoder("clusters", clusters={**clusters, "labels": []}, backbone_labels=["age", "gender"]))
    assert "The clusters are of layer 3 of 1-pretrain.\n" in card and "are not used" in card
    assert "What it began as was trained with the labels of `age` and `gender`." in card
    assert "without labels, to tell hidden frames from others" in render_card(of_encoder("contrastive", codes=128))


@pytest.mark.parametrize(
    ("objective", "papers", "beside"),
    [
        ("contrastive", ["2006.11477"], "those of the codebooks among them, which are kept beside the encoder"),
        ("clusters", ["2106.07447", "2110.06309"], "those of the heads among them, which are not kept"),
        ("labels", ["2110.06309"], "those of the heads among them, which are not kept"),
    ],
)
def test_a_card_of_an_encoder_names_the_papers_and_all_that_was_trained(
    objective: str, papers: list[str], beside: str
) -> None:
    card = render_card(of_encoder(objective))
    assert [
        paper for paper in ("2006.11477", "2106.07447", "2110.06309") if f"arxiv.org/abs/{paper})" in card
    ] == papers
    assert f"| trained parameters | 563,104, {beside} |" in card and "| parameters | 538,272 |" in card
    assert "| layer |" not in card and "| soft labels |" not in card


def test_curves_of_an_encoder_are_seen_beside_guessing_and_all_codes(tmp_path: Path) -> None:
    parts = {"loss": 4.0, "contrastive_loss": 3.9, "perplexity": 40.0, "accuracy": 0.2}
    history = [{"step": step, **parts} for step in (1, 2)]
    found = Results(**of_encoder("contrastive", codes=128))
    drawn = draw_curves(history, found, tmp_path / "curves.png")
    dotted = {line.get_label(): line.get_ydata()[0] for axes in drawn.axes for line in axes.lines[1:]}
    assert dotted["guessing"] == 0.01039 and dotted["all codes alike often"] == 128
    plain = draw_curves([{"step": 1, "loss": 2.0}], Results(**example()), tmp_path / "plain.png")
    assert [len(axes.lines) for axes in plain.axes] == [1]


def test_published_results_still_have_the_form() -> None:
    folders = [path.parent for path in REPOSITORY.glob("model_cards/*/results.json") if not is_recipe(path.parent)]
    assert len(folders) >= 6
    for folder in folders:
        assert render_card(vars(Results.read(folder)))
