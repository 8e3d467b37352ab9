"""Models that were pushed: the proof, and whoever loads them: with the package, without it, and offline."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from huggingface_hub import ModelCard

from hf_speech.hub import proof
from hf_speech.samples import sample_corpus

from ..training.runs import TINY
from .conftest import Command
from .test_push import files_of

LOADED = """
import json, sys
without = sys.argv[1] == "without"
if without:
    sys.modules["hf_speech"] = None
else:
    import hf_speech
import numpy as np, soundfile, torch, datasets
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline
name = "ada/emotion-tiny"
model = AutoModelForAudioClassification.from_pretrained(name, trust_remote_code=without).eval()
assert type(model).__module__.startswith("transformers_modules" if without else "hf_speech"), type(model)
extractor = AutoFeatureExtractor.from_pretrained(name)
waveform, rate = soundfile.read("speech.wav", dtype="float32")
with torch.no_grad():
    logits = model(**extractor(waveform, sampling_rate=rate, return_tensors="pt")).logits
classify = pipeline("audio-classification", model=name, trust_remote_code=without)
best = classify({"raw": waveform, "sampling_rate": rate})[0]
assert best["label"] == model.config.id2label[logits.argmax(-1).item()]
rows = datasets.load_dataset("ada/mine", split="test").cast_column("audio", datasets.Audio(decode=False))
print(json.dumps({"logits": logits[0].tolist(), "rows": len(rows), "bytes": len(rows[0]["audio"]["bytes"])}))
"""


def run(code: str, ada: Command, folder: Path, *words: str, **environment: str) -> str:
    """What a fresh process prints that knows this Hub alone."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env=ada.environment(folder / "another-home", **environment),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout


@pytest.mark.slow
def test_a_pushed_model_is_loaded_by_anybody_and_again_offline(
    ada: Command, model: Path, corpus: Path, tmp_path: Path
) -> None:
    ada("prepare", "csv", "--data-dir", corpus.parent, "--output-dir", tmp_path / "data", "--test", "0.25",
        "--push-to-hub", "mine", "--public")  # fmt: skip
    url, *told = ada("push", model, "emotion-tiny")
    assert url == f"{ada.hub.endpoint}/ada/emotion-tiny"
    assert told[0] == "  loaded back in a fresh process: its logits differ from those here by at most 0.0e+00"
    assert told[-1] == "  left here: checkpoint-40/; predictions.csv"

    voice = sample_corpus().parent / "audio" / "ada-test-1.flac"
    waveform, rate = soundfile.read(voice, dtype="float32")
    soundfile.write(tmp_path / "speech.wav", waveform, rate, subtype="FLOAT")
    here = proof.said_here(model).values["logits-0"][0]
    for words in (["with"], ["without"]):
        for environment in ({}, {"HF_HUB_OFFLINE": "1"}):
            said = json.loads(run(LOADED, ada, tmp_path, *words, **environment))
            np.testing.assert_allclose(said["logits"], here, atol=1e-5)
            assert said["rows"] == 6 and said["bytes"] > 1_000

    # What the card tells people to do, as they would.
    card = files_of(ada.hub, "ada/emotion-tiny", "model")["README.md"].decode()
    soundfile.write(tmp_path / "other.wav", waveform[::-1], rate)
    blocks = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert len(blocks) >= 3
    printed = run("\n".join(blocks), ada, tmp_path)
    assert "anger" in printed and "neutral" in printed


@pytest.mark.slow
def test_a_repository_holds_what_the_folder_holds_by_its_name(ada: Command, model: Path) -> None:
    benchmark(ada, "lab/emotions", [{"id": "acted", "split": "test"}, {"id": "other", "split": "dev"}, {"no": "id"}])
    results = json.loads((model / "results.json").read_text())
    for metric in results["metrics"]:
        metric["dataset"] = "lab/emotions"
    (model / "results.json").write_text(json.dumps(results))
    (model / "curves.png").write_bytes((model / "confusion.png").read_bytes())
    ada("push", model, "lab/emotion", "--private")
    api = ada.hub.api("ada")
    api.upload_file(path_or_fileobj=b"MIT", path_in_repo="LICENSE", repo_id="lab/emotion")
    assert "](curves.png)" in files_of(ada.hub, "lab/emotion", "model")["README.md"].decode()
    (model / "curves.png").unlink()
    ada("push", model, "lab/emotion")

    # A plot of the version before is gone, and what somebody has added is not.
    there = files_of(ada.hub, "lab/emotion", "model")
    assert "curves.png" not in there and there["LICENSE"] == b"MIT" and "confusion.png" in there
    assert "](curves.png)" not in there["README.md"].decode() and api.model_info("lab/emotion").private

    # Every number of the metadata is one of the results.
    pushed = json.loads(there["results.json"])
    assert pushed["model"]["name"] == "lab/emotion"
    shown = {found.metric_value for found in ModelCard(there["README.md"].decode()).data.eval_results}
    assert shown and shown <= {metric["value"] for metric in results["metrics"]}

    # The first number stands where the benchmark's leaderboard looks for it.
    (entry,) = yaml.safe_load(there[".eval_results/lab--emotions.yaml"])
    assert entry["dataset"] == {"id": "lab/emotions", "task_id": "acted"}
    assert entry["value"] == results["metrics"][0]["value"] and "95 % interval" in entry["notes"]
    assert entry["source"]["url"] == f"{ada.hub.endpoint}/lab/emotion"

    # The card is made of what lies beside it: made there once more, it is the same.
    folder = model.parent / "there"
    for name, content in there.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "README.md").unlink()
    ada("card", folder)
    assert (folder / "README.md").read_bytes() == there["README.md"]


def benchmark(ada: Command, name: str, tasks: list[dict[str, str]]) -> None:
    """A data set that the Hub knows as a benchmark."""
    api = ada.hub.api("ada")
    api.create_repo(name, repo_type="dataset")
    text = yaml.safe_dump({"name": "A benchmark", "tasks": tasks}).encode()
    api.upload_file(path_or_fileobj=text, path_in_repo="eval.yaml", repo_id=name, repo_type="dataset")


@pytest.mark.slow
def test_what_answers_otherwise_when_loaded_back_is_not_moved_to(ada: Command, model: Path) -> None:
    ada.hub.corrupt("ada/emotion-tiny", "model.safetensors")
    line = ada.refused("push", model, "emotion-tiny")
    assert "differs by" in line or "can't be loaded" in line
    assert files_of(ada.hub, "ada/emotion-tiny", "model") == {}
    assert [branch.name for branch in ada.hub.api("ada").list_repo_refs("ada/emotion-tiny").branches] == ["main"]


@pytest.mark.parametrize("wrong", ["gone", "other", "map"])
def test_what_a_stranger_could_not_load_is_not_sent(ada: Command, model: Path, wrong: str) -> None:
    if wrong == "gone":
        (model / "pooling.py").unlink()
    elif wrong == "other":
        text = (model / "heads.py").read_text()
        (model / "heads.py").write_text(
            text.replace("self, features", "self, features, and_more", 1) + "\nraise OSError\n"
        )
    else:
        config = json.loads((model / "config.json").read_text())
        del config["auto_map"]
        (model / "config.json").write_text(json.dumps(config))
    line = ada.refused("push", model, "emotion-tiny")
    assert "can't be loaded in a process without this package" in line
    assert not [asked for asked in ada.hub.requests if asked.method == "PUT" or "create" in asked.path]


@pytest.mark.slow
def test_a_run_pushes_its_finished_model(ada: Command, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(yaml.safe_dump({**TINY, "dataset": str(corpus), "num_train_epochs": 1}))
    words = ["train", tmp_path / "train.yaml", "--output-dir", tmp_path / "run", "--validation", "0.25"]
    words += ["--push-to-hub", "--hub-private-repo", "true", "--hub-model-id"]
    assert "ada may not write to bob's repositories" in ada.refused(*words, "bob/mine")
    assert not (tmp_path / "run" / "model.safetensors").exists()
    ada(*words, "lab/mine")
    there = files_of(ada.hub, "lab/mine", "model")
    assert there["model.safetensors"] == (tmp_path / "run" / "model.safetensors").read_bytes()
    assert ada.hub.api("ada").model_info("lab/mine").private
    assert "push_to_hub" not in there["train.yaml"].decode() and "hub_model_id" not in there["results.json"].decode()
    assert str(tmp_path) not in there["train.yaml"].decode() + there["results.json"].decode()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--hub-model-id", "ada/mine"], "hub_model_id is without effect: give push_to_hub too"),
        (["--push-to-hub", "--hub-strategy", "every_save"], "only the finished model is pushed; leave it out"),
    ],
)
def test_fields_of_a_push_that_have_no_part(
    ada: Command, corpus: Path, tmp_path: Path, flags: list[str], said: str
) -> None:
    (tmp_path / "train.yaml").write_text(yaml.safe_dump({**TINY, "dataset": str(corpus)}))
    assert said in ada.refused("train", tmp_path / "train.yaml", "--output-dir", tmp_path / "run", *flags)


def test_experiments_do_not_push(ada: Command, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(yaml.safe_dump({**TINY, "dataset": str(corpus)}))
    line = ada.refused(
        "crossval", tmp_path / "train.yaml", "--folds", "speaker_id", "--output-dir", tmp_path / "cv", "--push-to-hub"
    )
    assert "of many runs none is pushed" in line
