"""Folders as commands leave them: a finished model with lively weights, a prepared data set, a Space."""

import shutil
from pathlib import Path
from typing import Any

from hf_speech.cli import main
from hf_speech.hub.card import write_card
from hf_speech.model_facts import model_facts
from hf_speech.models.modeling import HfSpeechForSequenceClassification
from hf_speech.results import Results

from ..models.tiny import lively, tiny_config
from ..test_results import example

LABELS = ("anger", "neutral", "sadness")


def finished_model(folder: Path, *, seed: int = 0, **settings: Any) -> Path:
    """A model's folder as a run leaves it: tiny, its results those of the example."""
    settings = {"target": "emotion", "pooling": "mean+std", **settings}
    config = tiny_config(id2label=dict(enumerate(LABELS)), **settings)
    model = lively(HfSpeechForSequenceClassification(config), seed)
    model.save_pretrained(folder)
    content = example()
    content["model"] = model_facts(model, name=folder.name, backbone=None, licence=None)
    content["run"]["arguments"] = {"dataset": "metadata.csv", "target": "emotion"}
    Results(**content).write(folder)
    (folder / "train.yaml").write_text(f"dataset: {folder.parent}/metadata.csv\ntarget: emotion\n", encoding="utf-8")
    (folder / "predictions.csv").write_text("id,label\nsecret-speaker.wav,anger\n", encoding="utf-8")
    (folder / "checkpoint-40").mkdir()
    (folder / "checkpoint-40" / "optimizer.pt").write_bytes(b"\x80")
    shutil.copyfile(Path(__file__).with_name("picture.png"), folder / "confusion.png")
    write_card(folder)
    return folder


def prepared_data(folder: Path, recordings: Path) -> Path:
    """A data set as `prepare` leaves it, of the recordings that a csv names."""
    words = ["prepare", "csv", "--data-dir", recordings.parent, "--output-dir", folder, "--test", "0.25"]
    assert main([str(word) for word in words]) == 0
    return folder


def space(folder: Path) -> Path:
    """A Space that does nothing."""
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("---\ntitle: Try it\nsdk: gradio\napp_file: app.py\n---\n\nA Space.\n")
    (folder / "app.py").write_text("import gradio\n")
    (folder / "requirements.txt").write_text("gradio\n")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "app.cpython-311.pyc").write_bytes(b"\0")
    (folder / ".env").write_text("HF_TOKEN=nobody sees this\n")
    return folder
