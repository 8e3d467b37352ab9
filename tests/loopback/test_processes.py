"""Processes of their own that know this Hub alone: the libraries push, load, stream, and do without it."""

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from .server import Hub


def run(hub: Hub, home: Path, code: str, user: str | None = "ada", **more: str) -> str:
    """What a fresh process prints that runs the code."""
    environment = hub.environment(home, hub.token(user) if user else None, **more)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, cwd=home.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_process_is_who_its_token_says(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "https_proxy"):
        monkeypatch.setenv(name, "1")
    whoami = "import huggingface_hub as h; print(h.whoami()['name'], h.create_repo('mine', exist_ok=True).repo_id)"
    assert run(hub, tmp_path / "a", whoami) == "ada ada/mine\n"
    outside = """
import huggingface_hub as h
from huggingface_hub.utils import get_session
try: h.whoami()
except h.errors.LocalTokenNotFoundError: print("nobody")
try: get_session().get("https://example.org/")
except Exception as error: print(error)
for url in ("http://example.org/a", h.constants.ENDPOINT.replace("://", "://viewer.") + "/info"):
    print(get_session().get(url).status_code)
"""
    assert run(hub, tmp_path / "b", outside, user=None).splitlines() == ["nobody", "502 Bad Gateway", "502", "404"]
    assert hub.outside == ["CONNECT example.org:443", "GET http://example.org/a"]


PUSH_DATA = """
import pyarrow as pa, pyarrow.parquet as pq, huggingface_hub as h
from pathlib import Path
folder = Path("made/data"); folder.mkdir(parents=True)
for split, rows in (("train", 7), ("test", 3)):
    pq.write_table(pa.table({"x": list(range(rows)), "text": ["a"] * rows}), folder / f"{split}-00000-of-00001.parquet")
h.create_repo("ada/data", repo_type="dataset", private=True)
h.upload_folder(repo_id="ada/data", repo_type="dataset", folder_path="made")
from datasets import Dataset
Dataset.from_dict({"y": [1, 2]}).push_to_hub("ada/pushed", split="train")
"""
LOAD_DATA = """
from datasets import load_dataset
for split in ("train", "test"):
    print(split, sum(load_dataset("ada/data", split=split)["x"]))
"""
STREAM_DATA = """
from datasets import load_dataset
print(sum(row["x"] for row in load_dataset("ada/data", split="train", streaming=True)))
print(load_dataset("ada/pushed", split="train")["y"][:])
"""


def test_data_sets_are_pushed_loaded_streamed_and_kept(hub: Hub, tmp_path: Path) -> None:
    run(hub, tmp_path / "a", PUSH_DATA)
    assert run(hub, tmp_path / "b", LOAD_DATA + STREAM_DATA) == "train 21\ntest 3\n21\n[1, 2]\n"
    asked = len(hub.requests)
    assert run(hub, tmp_path / "b", LOAD_DATA, HF_HUB_OFFLINE="1") == "train 21\ntest 3\n"
    assert len(hub.requests) == asked and hub.outside == []


MODELS = """
import numpy as np, huggingface_hub as h
from transformers import AutoConfig, pipeline
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification
config = Wav2Vec2Config(
    hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8,) * 7,
    num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, id2label={0: "low", 1: "high"},
)
Wav2Vec2ForSequenceClassification(config).push_to_hub("ada/model")
Wav2Vec2FeatureExtractor().push_to_hub("ada/model")
h.metadata_update("ada/model", {"license": "mit", "pipeline_tag": "audio-classification"})
h.ModelCard("---\\nlicense: mit\\n---\\n# Text\\n").push_to_hub("ada/model", create_pr=True)
h.create_repo("ada/remote")
code = {
    "config.json": b'{"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}, "size": 5}',
    "own.py": b"from transformers import PretrainedConfig\\nfrom .more import NAME\\n"
              b"class OwnConfig(PretrainedConfig):\\n    model_type = NAME\\n",
    "more.py": b'NAME = "own"\\n',
}
h.create_commit("ada/remote", [h.CommitOperationAdd(*file) for file in code.items()], commit_message="Code")
classify = pipeline(model="ada/model", token=False)
print(sorted(one["label"] for one in classify(np.zeros(16_000, np.float32))))
print(AutoConfig.from_pretrained("ada/remote", trust_remote_code=True).size)
"""


def test_models_are_pushed_and_loaded_also_with_their_own_code(hub: Hub, tmp_path: Path) -> None:
    assert run(hub, tmp_path / "a", MODELS) == "['high', 'low']\n5\n"
    info = hub.api().model_info("ada/model")
    assert (info.pipeline_tag, info.card_data.license) == ("audio-classification", "mit")
    assert hub.api().get_discussion_details("ada/model", 1).status == "open"
    assert not any(one.had_authorization for one in hub.requests if one.method == "PUT") and hub.outside == []


def test_by_hand(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.loopback", "--port", "0", "--folder", str(tmp_path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(6)]
        (endpoint,) = re.findall(r"export HF_ENDPOINT=(\S+)", "".join(lines))
        assert "export HF_TOKEN=hf_adatoken\n" in lines
        request = urllib.request.Request(f"{endpoint}/api/whoami-v2", headers={"Authorization": "Bearer hf_bobtoken"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert b'"name": "bob"' in answer.read()
        while (line := process.stdout.readline()) and "whoami" not in line:
            pass
        assert line == "200 GET /api/whoami-v2\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
