"""`hf-speech pretrain`: what it leaves, how it goes on, what it refuses."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoFeatureExtractor, AutoModelForPreTraining

from hf_speech.audio import write_audio
from hf_speech.data.heard import heard_by
from hf_speech.models.modeling import HfSpeechModel
from hf_speech.pretraining.fields import check_pretraining
from hf_speech.pretraining.run import PRETRAINING
from hf_speech.results import Results
from hf_speech.testing import write_fake_corpus
from hf_speech.training.arguments import make_config
from hf_speech.training.hf_arguments import greater_is_better
from hf_speech.training.run import summary

from ..sounds import voice_like
from ..training.runs import (
    TINY,
    command,
    interrupted,
    read_results,
    read_table,
    refusal,
    same_weights,
    train_tiny,
    weights_of,
    write_table,
)

ENCODER = TINY["backbone_config"] | {
    "num_codevectors_per_group": 8,
    "codevector_dim": 16,
    "proj_codevector_dim": 16,
    "num_negatives": 5,
}
FIELDS: dict[str, Any] = {
    "backbone_config": ENCODER,
    "masking": {"prob": 0.5, "length": 4},
    "validation": "speaker_id=speaker03",
    "crop_seconds": 0.8,
    "batch_seconds": 5.0,
    "max_steps": 4,
    "save_strategy": "steps",
    "save_steps": 2,
    "logging_steps": 1,
    "learning_rate": 1e-3,
}


def write_fields(path: Path, dataset: Path | str, **fields: Any) -> Path:
    values = {name: value for name, value in {**FIELDS, "dataset": str(dataset), **fields}.items() if value is not None}
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def pretrain(folder: Path, dataset: Path, *flags: object, **fields: Any) -> Path:
    config = write_fields(folder.with_name(f"{folder.name}.yaml"), dataset, **fields)
    assert command("pretrain", config, "--output-dir", folder, *flags) == 0
    return folder


@pytest.fixture(scope="module")
def adapted(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    return pretrain(tmp_path_factory.mktemp("adapted") / "adapted", corpus)


def test_the_folder_is_a_checkpoint_of_transformers(adapted: Path) -> None:
    stock, report = AutoModelForPreTraining.from_pretrained(adapted, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert type(stock).__name__ == "Wav2Vec2ForPreTraining" and AutoFeatureExtractor.from_pretrained(adapted)
    last = load_file(adapted / "checkpoint-4" / "model.safetensors")
    best = {entry["step"]: entry["eval_loss"] for entry in read_table(adapted / "metrics.csv") if entry["eval_loss"]}
    assert set(best) == {"2", "4"}
    if best["4"] < best["2"]:
        name = "encoder.layers.1.attention.k_proj.weight"
        assert torch.equal(stock.wav2vec2.state_dict()[name], last[f"encoder.backbone.{name}"])


def test_the_log_has_the_parts_of_the_loss(adapted: Path) -> None:
    rows = [row for row in read_table(adapted / "metrics.csv") if row["loss"]]
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    for row in rows:
        weighed = float(row["contrastive_loss"]) + 0.1 * float(row["diversity_loss"])
        assert float(row["loss"]) == pytest.approx(weighed, abs=2e-4)
        assert 2 <= float(row["perplexity"]) <= 16 and 0 <= float(row["accuracy"]) <= 1
        assert 1 / 6 <= float(row["chance"]) < 1


def test_the_results_tell_of_hidden_frames_of_validation_rows(adapted: Path) -> None:
    results = read_results(adapted)
    (number,) = results["metrics"]
    assert (number["name"], number["split"], number["n"]) == ("accuracy", "validation", 6)
    logged = [float(row["eval_accuracy"]) for row in read_table(adapted / "metrics.csv") if row["eval_accuracy"]]
    assert any(number["value"] == pytest.approx(value, abs=1e-6) for value in logged)  # the same masks every time
    learnt = results["run"]["pretraining"]
    assert (
        2 <= learnt["perplexity"] <= learnt["codes"] == 16
        and learnt["chance"] == results["model"]["chance"]["accuracy"]
    )
    assert f"Its codebooks use {learnt['perplexity']:.0f} of 16 codes" in (adapted / "README.md").read_text()
    assert f"(guessing {learnt['chance']:.3f})  95 % interval" in summary(Results.read(adapted), adapted)
    assert results["data"]["target"] == "" and results["run"]["recipe"]["objective"] == "contrastive"
    assert results["data"]["splits"]["train"]["labels"] is None
    card = (adapted / "README.md").read_text()
    assert "pipeline_tag: feature-extraction" in card and "![Loss during training" in card
    assert f"guessing gives {100 * results['model']['chance']['accuracy']:.0f} %" in card


def test_training_starts_from_it(adapted: Path, corpus: Path, tmp_path: Path) -> None:
    model = train_tiny(
        tmp_path / "model", corpus, "--backbone", adapted, "--learning-rate", 1e-12, backbone_config=None, max_steps=1
    )
    ours = HfSpeechModel.from_pretrained(model).encoder.backbone.state_dict()
    there = {name: values for name, values in weights_of(adapted).items() if name.startswith("wav2vec2.encoder.layers")}
    assert len(there) > 20
    for name, values in there.items():
        assert torch.allclose(ours[name.removeprefix("wav2vec2.")], values, atol=1e-6)


def test_a_killed_run_goes_on_to_the_same_weights(adapted: Path, tmp_path: Path) -> None:
    again = interrupted(adapted, tmp_path / "again", 2)
    shutil.copy(adapted.with_suffix(".yaml"), tmp_path)
    assert command("pretrain", tmp_path / "adapted.yaml", "--output-dir", again) == 0
    assert same_weights(adapted, again)


def test_gradients_are_the_same_under_checkpointing(adapted: Path, corpus: Path, tmp_path: Path) -> None:
    other = pretrain(tmp_path / "other", corpus, "--activation-checkpointing", "true")
    one, two = weights_of(adapted), weights_of(other)
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5


def test_an_adapted_encoder_is_adapted_further(adapted: Path, corpus: Path, tmp_path: Path) -> None:
    further = pretrain(
        tmp_path / "further", corpus, "--backbone", adapted, "--learning-rate", 1e-12, backbone_config=None
    )
    one, two = weights_of(adapted), weights_of(further)
    assert one.keys() == two.keys()
    validated = [row for row in read_table(further / "metrics.csv") if row["eval_loss"]]
    for name in ("eval_loss", "eval_accuracy", "eval_chance"):  # nothing was learnt, and the masks are the same
        assert float(validated[0][name]) == pytest.approx(float(validated[1][name]), abs=1e-6)
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-6


def test_collapsed_codebooks_end_the_run(
    adapted: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collapsed = shutil.copytree(adapted, tmp_path / "collapsed")
    weights = weights_of(adapted)
    weights["quantizer.weight_proj.weight"].zero_()
    weights["quantizer.weight_proj.bias"].copy_(20.0 * (torch.arange(16) % 8 == 3))
    save_file(weights, collapsed / "model.safetensors", metadata={"format": "pt"})
    config = write_fields(tmp_path / "run.yaml", corpus, backbone=str(collapsed), backbone_config=None, max_steps=6)
    assert command("pretrain", config, "--output-dir", tmp_path / "out", "--learning-rate", 1e-9) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "step 3: the codebooks have collapsed: 2.0 codes of 2 books are in use" in said and "checkpoint-2" in said
    assert not (tmp_path / "out" / "results.json").exists()


def test_short_recordings_are_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = write_fake_corpus(tmp_path / "corpus", per_speaker=2)
    rows = read_table(table)
    write_audio(table.parent / rows[0]["path"], voice_like(0.05))
    folder = pretrain(tmp_path / "model", table, max_steps=1)
    (left_out,) = read_results(folder)["data"]["left_out"]
    assert left_out["file"] == Path(rows[0]["path"]).name and "no frame can be hidden" in left_out["reason"]
    assert f"recordings, such as {left_out['file']}, are shorter than" in caplog.text
    assert "| Why | How many |" in (folder / "README.md").read_text()


@pytest.mark.parametrize("kind", ["wav_path", "wav.scp"])
def test_lists_of_files_are_learnt_from(kind: str, corpus: Path, tmp_path: Path) -> None:
    files = sorted((corpus.parent / "audio").glob("*.wav"))[:6]
    lines = [str(file) if kind == "wav_path" else f"utt{i} {file}" for i, file in enumerate(files)]
    (tmp_path / kind).write_text("\n".join(lines) + "\n")
    folder = pretrain(tmp_path / "model", tmp_path / kind, max_steps=1, validation=None)
    results = read_results(folder)
    assert results["data"]["splits"]["train"]["utterances"] == 6 and results["metrics"] == []
    assert "**Not measured**" in (folder / "README.md").read_text()


def run_of(corpus: Path, folder: Path, **more: Any) -> Any:
    """The parts of a run, untrained."""
    fields = {**FIELDS, "dataset": str(corpus), "output_dir": str(folder), **more}
    fields = {name: value for name, value in fields.items() if value is not None}
    return PRETRAINING.make(make_config(fields, check=check_pretraining), folder)


def test_validation_is_a_mean_over_hidden_frames(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(corpus, tmp_path, crop_seconds=None)
    rows = run.rows.splits["validation"]
    monkeypatch.setattr("hf_speech.pretraining.trainer.BATCH_SECONDS", 1.5)  # one row in a batch, or two
    answers = run.trainer.measure(rows)
    assert len(set(answers.asked["accuracy"])) > 1  # or any mean would do
    losses = []
    for i in range(len(rows)):
        batch = run.trainer.validating([{**rows[i], "draw": (0, 0, i, 0)}])
        batch.pop("origin")
        with torch.no_grad():
            output = run.model.eval()(**batch)
        losses.append(float(output.parts["contrastive_loss"]))
        assert (output.weight, int(output.correct["accuracy"].right.sum())) == (
            answers.asked["accuracy"][i],
            answers.right["accuracy"][i],
        )
    weighed = (answers.asked["accuracy"] * losses).sum() / answers.asked["accuracy"].sum()
    told = run.trainer.numbers(answers.counted(), answers.use)
    assert told["contrastive_loss"] == pytest.approx(weighed, abs=1e-5)
    assert answers.use.sum() == 2 * answers.asked["accuracy"].sum()  # one of each codebook


def test_codes_in_use_do_not_depend_on_the_batches(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(corpus, tmp_path, crop_seconds=None)
    found = []
    for seconds in (0.1, 1.5, 60.0):
        monkeypatch.setattr("hf_speech.pretraining.trainer.BATCH_SECONDS", seconds)
        answers = run.trainer.measure(run.rows.splits["validation"])
        found.append(run.trainer.numbers(answers.counted(), answers.use))
    assert found[0]["perplexity"] > 2.5  # several are
    for other in found[1:]:
        assert other == pytest.approx({**found[0], "chance": other["chance"]}, abs=1e-4)
    weight = run.model.config.diversity_loss_weight
    assert found[0]["loss"] == pytest.approx(found[0]["contrastive_loss"] + weight * found[0]["diversity_loss"])


def test_what_is_validated_on_is_not_augmented(corpus: Path, tmp_path: Path) -> None:
    noise = {"noise": {"probability": 1.0, "snr": [-10, -10]}}
    parts = []
    for i, augment in enumerate(({}, noise)):
        run = run_of(corpus, tmp_path / str(i), augment=augment, seed=1)
        batch = run.trainer.validating([run.rows.splits["validation"][0]])
        train = run.trainer.data_collator([{**run.rows.splits["train"][0], "draw": (0, 0, 0, 0)}])
        parts.append((batch["input_values"], train["input_values"]))
    assert torch.equal(parts[0][0], parts[1][0]) and not torch.equal(parts[0][1], parts[1][1])


def test_speeds_leave_enough_of_short_recordings(tmp_path: Path) -> None:
    table = write_fake_corpus(tmp_path / "corpus", per_speaker=2, seconds=(0.107, 0.12))  # five frames, of which four
    more = {"crop_seconds": None, "augment": {"speeds": [1.3]}, "validation": None, "max_steps": 1}
    pretrain(tmp_path / "model", table, **more)


@pytest.mark.parametrize("name", ["contrastive_loss", "diversity_loss", "loss_k64", "frame_loss", "loss"])
def test_less_of_a_part_of_the_loss_is_better(name: str) -> None:
    assert not greater_is_better(name) and greater_is_better("accuracy_k64")


class TestLeaks:
    def test_clusters_of_tested_rows_are_refused(
        self, corpus: Path, tmp_path: Path, adapted: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ("--layer", 1, "--counts", "4", "--epochs", 1, "--output-dir", tmp_path / "clusters")
        assert command("cluster", adapted, corpus, *words) == 0
        fields = {"objective": "clusters", "clusters": str(tmp_path / "clusters"), "max_steps": 1}
        config = write_fields(tmp_path / "run.yaml", corpus, test="speaker_id=speaker00", **fields)
        assert command("pretrain", config, "--output-dir", tmp_path / "out") == 2
        said = capsys.readouterr().err.splitlines()[-1]  # before it stands the bar of datasets
        assert "were fitted on 6 recordings that are tested on, such as speaker00_0" in said
        pretrain(tmp_path / "whole", corpus, **fields)  # nothing is tested on

    def test_what_an_encoder_has_heard_is_not_tested_on(
        self, corpus: Path, tmp_path: Path, adapted: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        start = {"backbone": str(adapted), "backbone_config": None, "only": "speaker_id=speaker03"}
        again = pretrain(tmp_path / "again", corpus, **start, validation=None, max_steps=1)
        before, after = heard_by(str(adapted)), heard_by(str(again))
        assert (len(before), len(after)) == (18, 24) and set(before) < set(after)
        words = ("--dataset", corpus, "--target", "label", "--max-steps", 1, "--validation", "none")
        for backbone, speaker, heard in ((adapted, "speaker00", True), (adapted, "speaker03", False)):
            tested = ("--backbone", backbone, "--test", f"speaker_id={speaker}")
            status = command("train", *words, *tested, "--output-dir", tmp_path / speaker)
            said = capsys.readouterr().err
            assert status == (2 if heard else 0), said
            assert (f"test: the backbone {adapted} has heard 6 of 6 recordings, such as speaker00_" in said) == heard

    def test_test_rows_are_not_heard(self, corpus: Path, tmp_path: Path) -> None:
        fields = {**FIELDS, "dataset": str(corpus), "test": "speaker_id=speaker00", "output_dir": str(tmp_path / "run")}
        run = PRETRAINING.make(make_config(fields, check=check_pretraining), tmp_path)
        assert set(run.rows.splits) == {"train", "validation"}
        assert set(run.rows.splits["train"]["speaker_id"]) == {"speaker01", "speaker02"}

    @pytest.mark.parametrize("how", ["the same file", "a copy under another name"])
    def test_a_test_file_among_them_is_refused(
        self, how: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rows = [{**row, "path": str(corpus.parent / row["path"]), "split": "train"} for row in read_table(corpus)]
        rows[0]["split"] = "test"
        twin = tmp_path / "twin.wav"
        shutil.copy(rows[0]["path"], twin)
        place = rows[0]["path"] if how == "the same file" else str(twin)
        table = write_table(tmp_path / "table.csv", [*rows, {**rows[0], "path": place, "split": "train"}])
        config = write_fields(tmp_path / "run.yaml", table)
        said = refusal(capsys, "pretrain", config, "--output-dir", tmp_path / "out")
        name = Path(place).name
        assert f"train: 1 recordings to learn from are tested on too, such as {name}" in said
        assert not (tmp_path / "out").exists()

    def test_other_times_of_one_recording_are_not_the_same_speech(self, tmp_path: Path) -> None:
        write_audio(tmp_path / "long.wav", voice_like(3.0))
        spans = [(0.0, 1.0, "test"), (1.0, 2.0, "train"), (2.0, 3.0, "train")]
        cells = [{"path": "long.wav", "start": a, "end": b, "split": split} for a, b, split in spans]
        folder = pretrain(tmp_path / "model", write_table(tmp_path / "t.csv", cells), max_steps=1, validation=None)
        assert read_results(folder)["data"]["splits"]["train"]["utterances"] == 2


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a head": ({"head": "mlp"}, "head has no part in pretraining; leave it out"),
    "a layer": ({"layer": 3}, "layer has no part in pretraining; leave it out"),
    "a network": (
        {"backbone": "ecapa-512", "backbone_config": None},
        "is a network that is trained as a whole; give an encoder",
    ),
    "another encoder": ({"backbone_config": {"model_type": "hubert"}}, "transformers has no codebooks for hubert"),
    "frozen": ({"freeze": "backbone"}, "freeze backbone leaves nothing to pretrain"),
    "a mask": ({"masking": {"probs": 0.5}}, "masking: unknown field 'probs'; valid: prob, length, min_masks"),
    "no mask": ({"masking": {"prob": 0}}, "prob of masks is 0; give a share above 0"),
    "a rising temperature": ({"temperature": {"end": 3.0}}, "give an end above 0, a start that is not lower"),
    "long masks": ({"masking": {"length": 100}, "crop_seconds": None}, "are shorter than 2.02 s, so no frame can be"),
    "short crops": (
        {"crop_seconds": 0.05},
        "crop_seconds is 0.05, in which no frame can be hidden; give 0.105 or more",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_can_not_be_is_refused_in_a_line(
    case: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields, told = BAD[case]
    config = write_fields(tmp_path / "run.yaml", corpus, **fields)
    assert told in refusal(capsys, "pretrain", config, "--output-dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_list_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wav_path").write_text("")
    config = write_fields(tmp_path / "run.yaml", tmp_path / "wav_path", validation=None)
    assert "wav_path" in refusal(capsys, "pretrain", config, "--output-dir", tmp_path / "out")


def test_a_finished_classifier_is_no_encoder_to_adapt(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = train_tiny(tmp_path / "model", corpus, max_steps=1)
    config = write_fields(tmp_path / "run.yaml", corpus, backbone=str(model), backbone_config=None)
    said = refusal(capsys, "pretrain", config, "--output-dir", tmp_path / "out")
    assert "is a finished classifier; give the encoder that it started from" in said


BAD_LABELS: dict[str, tuple[dict[str, Any], str]] = {
    "weights": ({"class_weights": [1.0]}, "class_weights has 1 factors for 2 labels; give one for each"),
    "votes": ({"soft_labels": True}, "soft_labels need a column votes with a table {label: number} in each row"),
    "clusters": ({"clusters": "x"}, "clusters has no part in objective labels"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_labels_that_can_not_be_learnt_are_refused_in_a_line(
    case: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields, told = BAD_LABELS[case]
    config = write_fields(tmp_path / "run.yaml", corpus, objective="labels", masking=None, **fields)
    assert told in refusal(capsys, "pretrain", config, "--output-dir", tmp_path / "out")


def test_a_recipe_of_pretraining_trains_no_classifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(capsys, "train", "wav2vec2-sre-pretraining", "--output-dir", tmp_path / "out")
    assert "is a recipe of pretraining; run it by `hf-speech pretrain`" in said


def test_fields_of_pretraining_have_no_part_in_training(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump({**TINY, "dataset": str(corpus), "masking": {"length": 4}}))
    assert "masking has no part in training a classifier" in refusal(capsys, "train", config, "--output-dir", tmp_path)
