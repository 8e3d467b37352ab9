"""Stages of adaptation before fine-tuning: what they learn from, how they go on, what they refuse."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from hf_speech.audio import read_audio, write_audio
from hf_speech.errors import InputError
from hf_speech.pretraining.clusters import FACTS
from hf_speech.pretraining.frame_labels import read_frame_labels
from hf_speech.pretraining.stage_fields import pretraining_of
from hf_speech.pretraining.stages import adapt, key_of, stages_of, training_rows
from hf_speech.training.adapters import load_lora
from hf_speech.training.arguments import make_config

from ..ranks import finish_ranks
from ..training.runs import (
    TINY,
    command,
    read_json,
    read_results,
    read_table,
    refusal,
    same_weights,
    weights_of,
    write_table,
    write_yaml,
)
from ..training.test_resume import start
from .test_prediction import WAV2VEC

COMMON: dict[str, Any] = {"max_steps": 2, "batch_seconds": 5, "learning_rate": 1e-3}
LABELS: dict[str, Any] = {
    **COMMON,
    "objective": "labels",
    "backbone_config": {"model_type": "wav2vec", "network_config": WAV2VEC},
    "freeze": "cnn",
    "class_weights": "balanced",
    "validation": 0.25,
    "group_by": "none",
    "save_strategy": "steps",
    "save_steps": 1,
}
CLUSTERS: dict[str, Any] = {**COMMON, "objective": "clusters", "masking": {"prob": 0.5, "length": 4}}
P_TAPT: list[dict[str, Any]] = [
    {"pretrain": LABELS},
    {"cluster": {"layer": 1, "counts": [3, 5], "epochs": 2}},
    {"pretrain": CLUSTERS},
]
CONTRASTIVE: dict[str, Any] = {**COMMON, "masking": {"prob": 0.5, "length": 4}}
SMALL: dict[str, Any] = {"max_steps": 2, "test": "speaker_id=speaker03", "validation": "speaker_id=speaker02"}


def fields(corpus: Path, folder: Path, adaptation: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {**TINY, **SMALL, "dataset": str(corpus), "adaptation": adaptation, "output_dir": str(folder), **more}


def run(corpus: Path, folder: Path, adaptation: list[dict[str, Any]], *flags: object, **more: Any) -> int:
    values = {**SMALL, "dataset": str(corpus), "adaptation": adaptation, **more}
    config = write_yaml(folder.with_name(f"{folder.name}.yaml"), **values)
    return command("train", config, "--output-dir", folder, *flags)


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of P-TAPT's four phases."""
    folder = tmp_path_factory.mktemp("stages") / "run"
    assert run(corpus, folder, P_TAPT) == 0
    return folder


def changed(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.is_file()}


def test_the_four_phases_leave_what_they_made(finished: Path, corpus: Path) -> None:
    home = finished / "adaptation"
    assert sorted(path.name for path in home.iterdir()) == ["1-pretrain", "2-cluster", "3-pretrain", "stages.json"]
    learned = [row for row in read_table(corpus) if row["speaker_id"] in ("speaker00", "speaker01")]
    labels = read_frame_labels(home / "2-cluster")
    assert sorted(labels) == sorted(row["path"] for row in learned) and labels.counts == [3, 5]
    for name in ("1-pretrain", "3-pretrain"):
        splits = read_results(home / name)["data"]["splits"]
        assert sum(split["utterances"] for split in splits.values()) == len(learned)
    first = read_results(home / "1-pretrain")
    counts = first["data"]["splits"]["train"]["labels"].values()
    assert first["model"]["chance"]["accuracy"] == pytest.approx(max(counts) / sum(counts))
    last = read_results(home / "3-pretrain")["run"]
    assert last["pretraining"]["clusters"] == {"model": "1-pretrain", "layer": 1, "labels": ["label"]}
    assert last["recipe"]["clusters"] == "2-cluster"  # not where it lies on this machine
    assert "which was trained with the labels of `label`." in (home / "3-pretrain" / "README.md").read_text()
    results = read_results(finished)
    assert results["model"]["backbone"] == "wav2vec2, from scratch"
    assert results["run"]["arguments"]["adaptation"] == P_TAPT
    assert yaml.safe_load((finished / "train.yaml").read_text())["adaptation"] == P_TAPT


def test_the_run_starts_from_the_last_encoder(corpus: Path, finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished / "adaptation", folder / "adaptation")
    assert run(corpus, folder, P_TAPT, "--learning-rate", 1e-12) == 0  # and takes what is finished
    adapted, model = weights_of(finished / "adaptation" / "3-pretrain"), weights_of(folder)
    name = "encoder.layers.0.attention.q_proj.weight"
    assert float((adapted[name] - model[f"speech.frame_encoder.backbone.{name}"]).abs().max()) < 1e-6


@pytest.mark.parametrize("lost", ["between stages", "within a stage", "before fine-tuning", "within fine-tuning"])
def test_a_killed_run_goes_on_where_it_was(lost: str, corpus: Path, finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "results.json").unlink()
    home, kept = folder / "adaptation", {"1-pretrain", "2-cluster", "3-pretrain"}
    if lost == "between stages":
        shutil.rmtree(home / "3-pretrain")
        kept -= {"3-pretrain"}
    elif lost == "within a stage":  # after the first of two steps of the first one
        for place in ("2-cluster", "3-pretrain"):
            shutil.rmtree(home / place)
        (home / "1-pretrain" / "results.json").unlink()
        shutil.rmtree(home / "1-pretrain" / "checkpoint-2")
        kept = set()
    for place in folder.glob("checkpoint-*") if lost != "within fine-tuning" else []:
        shutil.rmtree(place)
    before = changed(home)
    assert run(corpus, folder, P_TAPT) == 0
    after = changed(home)
    assert all(after[name] == time for name, time in before.items() if name.partition("/")[0] in kept)
    assert same_weights(folder, finished) and same_weights(home / "1-pretrain", finished / "adaptation" / "1-pretrain")
    assert (
        read_json(home / "2-cluster" / FACTS)["labels"]
        == read_json(finished / "adaptation/2-cluster" / FACTS)["labels"]
    )


# What the run says at the moment of a kill: within each of the four phases, and between them.
KILLS = (
    ("1-pretrain: begins", "step 3 of 8"),
    ("2-cluster: begins", None),
    ("3-pretrain: begins", None),
    ("3-pretrain: begins", "step 5 of 8"),
    ("finished: ", "step 5 of 8"),  # it is finished, and the run itself trains
)


@pytest.mark.slow
def test_five_kills_change_nothing(corpus: Path, tmp_path: Path) -> None:
    longer = {"max_steps": 8, "save_strategy": "steps", "save_steps": 2, "logging_steps": 1}
    stages = [{"pretrain": {**LABELS, **longer}}, P_TAPT[1], {"pretrain": {**CLUSTERS, **longer}}]
    fields = {**SMALL, **longer, "dataset": str(corpus), "adaptation": stages}
    config = write_yaml(tmp_path / "run.yaml", **fields)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert command("train", config, "--output-dir", whole) == 0
    for first, then in KILLS:
        process = start(config, killed)
        assert process.stderr is not None
        waiting = [first, *([then] if then else [])]
        for line in process.stderr:
            if waiting and waiting[0] in line:
                waiting.pop(0)
            if not waiting:
                break
        assert not waiting, f"never said: {waiting[0]}"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    assert command("train", config, "--output-dir", killed) == 0
    for place in (".", "adaptation/1-pretrain", "adaptation/3-pretrain"):
        assert same_weights(whole / place, killed / place), place
    one, two = (read_frame_labels(folder / "adaptation" / "2-cluster") for folder in (whole, killed))
    assert list(one) == list(two) and all((one[name][5] == two[name][5]).all() for name in one)
    assert not [path for path in killed.rglob(".*") if path.name != ".gitignore"]  # nothing half-written is left


class TestLeaks:
    """Nothing that is held out is ever heard by a stage."""

    @pytest.mark.parametrize("test", ["speaker_id=speaker03", "0.2"])
    def test_what_is_held_out_need_not_be_there(self, test: str, corpus: Path, tmp_path: Path) -> None:
        # Lone rows are stratified by the label, which an encoder does not learn: it must not split them anew.
        table = shutil.copytree(corpus.parent, tmp_path / "corpus") / corpus.name
        config = make_config(fields(table, tmp_path / "run", P_TAPT, test=test, group_by="none", validation="none"))
        rows = training_rows(config)
        assert len(rows.train) + len(rows.held_out["test"]) == 24
        for place in paths(rows.held_out["test"]):
            Path(place).unlink()
        encoder = adapt(config, tmp_path / "run")  # all stages, on what is left
        labels = read_frame_labels(Path(encoder).with_name("2-cluster"))
        assert {str(table.parent / name) for name in labels} == paths(rows.train)

    def test_a_test_file_under_another_name_is_refused(
        self, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rows = [{**row, "path": str(corpus.parent / row["path"])} for row in read_table(corpus)]
        held_out = next(row for row in rows if row["speaker_id"] == "speaker03")
        twin = Path(shutil.copy(held_out["path"], tmp_path / "twin.wav"))
        table = write_table(tmp_path / "t.csv", [*rows, {**held_out, "path": str(twin), "speaker_id": "speaker00"}])
        config = write_yaml(tmp_path / "run.yaml", dataset=str(table), adaptation=[{"pretrain": CONTRASTIVE}], **SMALL)
        said = refusal(capsys, "train", config, "--output-dir", tmp_path / "out")
        assert "1 recordings to learn from are tested on too, such as twin.wav" in said

    def test_other_data_with_a_test_file_are_refused(
        self, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        held_out = next(row for row in read_table(corpus) if row["speaker_id"] == "speaker03")
        (tmp_path / "wav_path").write_text(f"{corpus.parent / held_out['path']}\n")
        stage = {"pretrain": {**CONTRASTIVE, "dataset": str(tmp_path / "wav_path")}}
        assert run(corpus, tmp_path / "out", [stage]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"tested on too, such as {Path(held_out['path']).name}" in said


def paths(rows: Any) -> set[str]:
    return {audio["path"] for audio in rows["audio"]}


def test_tapt_is_one_stage(corpus: Path, tmp_path: Path) -> None:
    assert run(corpus, tmp_path / "run", [{"pretrain": CONTRASTIVE}]) == 0
    adapted = tmp_path / "run" / "adaptation" / "1-pretrain"
    assert read_results(adapted)["data"]["splits"]["train"]["utterances"] == 12
    assert "quantizer.codevectors" in weights_of(adapted)


def test_clusters_are_made_anew_of_an_adapted_encoder(corpus: Path, tmp_path: Path) -> None:
    cluster = {"cluster": {"layer": 2, "counts": [4], "epochs": 1}}
    again = [{"pretrain": CONTRASTIVE}, cluster, {"pretrain": CLUSTERS}, cluster]
    assert run(corpus, tmp_path / "run", [*again, {"pretrain": {**CLUSTERS, "backbone": "previous"}}]) == 0
    home = tmp_path / "run" / "adaptation"
    first, second = (read_json(home / name / FACTS)["codebook"] for name in ("2-cluster", "4-cluster"))
    assert first["encoder"]["weights"] != second["encoder"]["weights"]
    arguments = read_results(home / "5-pretrain")["run"]["arguments"]
    assert (arguments["backbone"], arguments["clusters"]) == ("3-pretrain", "4-cluster")


@pytest.mark.slow
def test_runs_share_stages_of_the_same_rows(corpus: Path, tmp_path: Path) -> None:
    config = write_yaml(
        tmp_path / "train.yaml", dataset=str(corpus), adaptation=[{"pretrain": CONTRASTIVE}], max_steps=1
    )
    root = tmp_path / "folds"
    words = ("--folds", "speaker_id/2", "--runs", 2, "--output-dir", root)
    assert command("crossval", config, *words) == 0
    homes = sorted((root / "adaptation").iterdir())
    assert len(homes) == 2  # a fold each, of two runs
    names = [[row["id"] for row in read_table(path)] for path in sorted(root.glob("fold*-run1/predictions.csv"))]
    assert len(names) == 2 and not set(names[0]) & set(names[1])
    assert all(read_results(home / "1-pretrain")["data"]["splits"]["train"]["utterances"] == 12 for home in homes)


def test_other_stages_in_the_folder_are_refused(
    finished: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished / "adaptation", folder / "adaptation")
    assert run(corpus, folder, [{"pretrain": CONTRASTIVE}]) == 2
    assert "holds the adaptation of another run, by stages" in capsys.readouterr().err.splitlines()[-1]
    assert run(corpus, folder, [{"pretrain": CONTRASTIVE}], "--overwrite", "true") == 0
    assert sorted(path.name for path in (folder / "adaptation").iterdir()) == ["1-pretrain", "stages.json"]


BAD: dict[str, tuple[list[Any], str]] = {
    "no stage": ([{"pretrain": CONTRASTIVE, "cluster": {}}], "stage 1 is {"),
    "another word": ([{"pretraining": {}}], "give {pretrain: {...}} or {cluster: {...}}"),
    "no encoder": ([{"cluster": {"layer": 1}}], "no stage adapts an encoder"),
    "a stray field": ([{"pretrain": {"head": "mlp"}}], "1-pretrain: fields: head has no part in pretraining"),
    "a word for a field": ([{"pretrain": {"maxsteps": 3}}], "1-pretrain: fields: unknown field 'maxsteps'"),
    "no clusters": ([{"pretrain": CLUSTERS}], "1-pretrain: objective clusters: no stage before it clusters frames"),
    "nothing before": ([{"pretrain": {"backbone": "previous"}}], "backbone previous: no stage before it"),
    "a field of clusters": (
        [{"pretrain": CONTRASTIVE}, {"cluster": {"layers": 1}}],
        "2-cluster: unknown field 'layers' (did you mean 'layer'?); valid: batch_seconds, ",
    ),
    "a place of its own": ([{"pretrain": {**CONTRASTIVE, "output_dir": "x"}}], "1-pretrain: output_dir is the run's"),
    "rows of its own": ([{"pretrain": {**CONTRASTIVE, "test": "0.1"}}], "1-pretrain: test is the run's"),
    "too high a layer": (
        [{"pretrain": CONTRASTIVE}, {"cluster": {"layer": 3, "counts": [3]}}],
        "2-cluster: layer is 3, and the encoder that the stage before makes has 2",
    ),
    "no layer": ([{"pretrain": CONTRASTIVE}, {"cluster": {"counts": [3]}}], "2-cluster: give --layer"),
    "nothing to cluster": (
        [{"cluster": {"layer": 1, "counts": [3]}}, {"pretrain": CLUSTERS}],
        "1-cluster: no stage before it has made an encoder; give model",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_stages_that_can_not_be_are_refused_beforehand(case: str, corpus: Path, tmp_path: Path) -> None:
    adaptation, told = BAD[case]
    config = make_config(fields(corpus, tmp_path / "run", adaptation))
    with pytest.raises(InputError) as error:
        stages_of(config)
    assert "adaptation" in str(error.value) and told in str(error.value)


def test_the_key_is_of_all_that_stages_make_something_of(corpus: Path, tmp_path: Path) -> None:
    def key(stage: dict[str, Any] = CONTRASTIVE, **more: Any) -> str:
        config = make_config(fields(corpus, tmp_path, [{"pretrain": stage}], **more))
        return key_of(config, training_rows(config))

    assert key() == key(seed=7)  # which is of fine-tuning
    wider = {**TINY["backbone_config"], "hidden_size": 64}
    others = [
        key({**CONTRASTIVE, "max_steps": 3}),
        key(test="speaker_id=speaker00"),
        key(backbone_config=wider),
        key(normalize=False),
        key(channel=0),
        key(target="speaker_id", test="0.2", group_by="none", validation="none"),
    ]
    assert len({key(), *others}) == 7


def test_the_key_is_of_what_is_heard_and_started_from(corpus: Path, finished: Path, tmp_path: Path) -> None:
    def key(place: Path, backbone: Path) -> str:
        config = make_config(fields(place, tmp_path, [{"pretrain": {"max_steps": 1}}], backbone=str(backbone)))
        return key_of(config, training_rows(config))

    other = shutil.copytree(corpus.parent, tmp_path / "other")
    start = shutil.copytree(finished / "adaptation" / "1-pretrain", tmp_path / "start")
    first = key(corpus, start)
    assert first == key(other / corpus.name, start)  # the same audio elsewhere
    wave = other / read_table(corpus)[0]["path"]
    write_audio(wave, 0.5 * read_audio(wave))
    assert key(other / corpus.name, start) != first
    shutil.copy(finished / "adaptation" / "3-pretrain" / "model.safetensors", start)
    assert key(corpus, start) != first


def test_what_is_left_of_stages_that_were_being_removed_is_not_finished(
    corpus: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished / "adaptation", folder / "adaptation")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hf_speech.pretraining.stages.shutil.rmtree", killed)
    config = make_config(fields(corpus, folder, [{"pretrain": CONTRASTIVE}], overwrite=True))
    with pytest.raises(KeyboardInterrupt):
        adapt(config, folder)
    left = {path.name for path in (folder / "adaptation").rglob("*")}
    assert "model.safetensors" in left and not left & {"results.json", "clusters.json", "stages.json"}


def test_an_adapter_finds_the_encoder_that_was_adapted_for_it(
    corpus: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, base = tmp_path / "run", str(finished / "adaptation" / "1-pretrain")
    stage = {"pretrain": {**CONTRASTIVE, "max_steps": 1}}
    assert run(corpus, folder, [stage], backbone=str(finished / "adaptation" / "3-pretrain"), lora={"r": 2}) == 0
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(base, tmp_path / "elsewhere" / "1-pretrain")  # another run's
    monkeypatch.chdir(tmp_path / "elsewhere")
    moved = folder.rename(tmp_path / "moved")
    weights = weights_of(moved / "adaptation" / "1-pretrain")
    (own,) = [values for name, values in weights.items() if name.endswith("layers.0.attention.q_proj.weight")]
    found = load_lora(moved).base_model.model.encoder.backbone.encoder.layers[0].attention.q_proj.base_layer.weight
    assert torch.equal(found, own)
    shutil.rmtree(moved / "adaptation")
    with pytest.raises(InputError, match="its encoder was adapted for it, and is not in .*; give it as backbone"):
        load_lora(moved)


def test_stages_hear_what_the_run_hears(corpus: Path, tmp_path: Path) -> None:
    config = make_config(fields(corpus, tmp_path, P_TAPT, normalize=False))
    stages = stages_of(config)
    made = {"pretrain": "1-pretrain", "cluster": "2-cluster"}
    assert pretraining_of(stages[2], config, tmp_path, made).model.normalize is False
    assert pretraining_of(stages[0], config, tmp_path, {}).model.normalize is None  # an encoder of its own


@pytest.mark.slow
def test_two_processes_make_the_stages_together(corpus: Path, tmp_path: Path) -> None:
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), adaptation=P_TAPT, **SMALL)
    said = finish_ranks("-m", "hf_speech.cli", "train", config, "--output-dir", tmp_path / "run")
    home = tmp_path / "run" / "adaptation"
    assert len(read_frame_labels(home / "2-cluster")) == 12
    for name in ("1-pretrain", "3-pretrain"):
        assert read_results(home / name)["run"]["steps"] == 2
        assert sum(line.endswith(f"adaptation, {name}: begins") for line in said) == 1
    assert sum("on each of 2 ranks" in line for line in said) == 3  # two stages, and the run itself
    again = finish_ranks("-m", "hf_speech.cli", "train", config, "--output-dir", tmp_path / "run", "--overwrite")
    assert sum("is finished" in line for line in again) == 3
