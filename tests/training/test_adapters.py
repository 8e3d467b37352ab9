"""Low-rank updates by the real command: what is trained, what is kept, and that the kept model is the adapted one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification, Wav2Vec2FeatureExtractor

from hf_speech.errors import InputError
from hf_speech.models.configuration import HfSpeechConfig
from hf_speech.models.modeling import HfSpeechForSequenceClassification
from hf_speech.testing import tiny_backbone_config
from hf_speech.training.adapters import load_lora

from ..models.tiny import lively
from .runs import (
    command,
    interrupted,
    read_results,
    read_table,
    refusal,
    same_weights,
    train_tiny,
    weights_of,
    write_yaml,
)

# What peft asks of transformers by an old name; the package silences it for itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

KINDS = (pytest.param("wav2vec2", marks=pytest.mark.slow), "wavlm")
# Of one training run on the encoder of `backbone`, with all that a model of ours can have beside it.
FIELDS = {
    "backbone_config": None,
    "lora": {"r": 4, "lora_alpha": 16},
    "layer": "weighted_sum",
    "pooling": "attentive",
    "pooling_config": {"bottleneck": 6},
    "projection": "linear",
    "projection_config": {"size": 8},
    "test": "speaker_id=speaker04,speaker05",
    "learning_rate": 1e-2,
}


@pytest.fixture(scope="module", params=KINDS)
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny encoder with its feature extractor."""
    folder = tmp_path_factory.mktemp(request.param) / "encoder"
    lively(AutoModel.from_config(tiny_backbone_config(request.param))).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapted(backbone: Path, corpus: Path) -> Path:
    """A finished model with low-rank updates."""
    return train_tiny(backbone.with_name("adapted"), corpus, backbone=str(backbone), **FIELDS)


def logits_of(model: torch.nn.Module, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return model.eval()(torch.randn(3, 9_000, generator=generator)).logits


def test_only_queries_and_values_of_the_encoder_are_changed(adapted: Path, backbone: Path) -> None:
    started = AutoModel.from_pretrained(backbone).state_dict()
    trained = AutoModelForAudioClassification.from_pretrained(adapted).encoder.backbone.state_dict()
    shared = [name for name in started if name in trained]
    assert len(shared) > 40
    changed = {name for name in shared if not torch.equal(trained[name], started[name])}
    layers = [f"encoder.layers.{i}.attention.{name}.weight" for i in range(2) for name in ("q_proj", "v_proj")]
    assert changed == set(layers)
    for name in layers:  # an update of rank 4
        difference = (trained[name] - started[name]).double()
        assert torch.linalg.matrix_rank(difference, rtol=1e-4) == 4, name


def test_the_finished_folder_is_the_adapted_model_without_peft(adapted: Path, backbone: Path) -> None:
    finished = AutoModelForAudioClassification.from_pretrained(adapted)
    assert type(finished) is HfSpeechForSequenceClassification
    assert not [name for name in weights_of(adapted) if "lora" in name or "modules_to_save" in name]
    unmerged = load_lora(adapted)
    assert isinstance(unmerged, PeftModel)
    torch.testing.assert_close(logits_of(finished), logits_of(unmerged), atol=1e-5, rtol=0)
    unchanged = HfSpeechForSequenceClassification(HfSpeechConfig.from_pretrained(adapted))
    unchanged.encoder.load_pretrained(str(backbone))
    assert (logits_of(unchanged) - logits_of(finished)).abs().max() > 1e-3
    by_peft = PeftModel.from_pretrained(unchanged, str(adapted / "adapter"))
    torch.testing.assert_close(logits_of(by_peft), logits_of(finished), atol=1e-5, rtol=0)


def test_predictions_and_facts_are_those_of_the_finished_model(adapted: Path, backbone: Path, corpus: Path) -> None:
    model = AutoModelForAudioClassification.from_pretrained(adapted).eval()
    extractor = AutoFeatureExtractor.from_pretrained(adapted)
    row = read_table(adapted / "predictions.csv")[0]
    waveform, rate = soundfile.read(corpus.parent / row["id"], dtype="float32")
    with torch.no_grad():
        scores = model(**extractor(waveform, sampling_rate=rate, return_tensors="pt")).logits[0].softmax(-1).tolist()
    assert [float(row["high"]), float(row["low"])] == pytest.approx(scores, abs=1e-5)
    facts = read_results(adapted)["model"]
    assert facts["adapter"] == {"kind": "lora", "r": 4, "lora_alpha": 16}
    assert facts["parameters"] == model.num_parameters()
    assert facts["architecture"] == "HfSpeechForSequenceClassification"
    card = (adapted / "README.md").read_text(encoding="utf-8")
    assert "| adapter | lora (r: 4, lora_alpha: 16), merged into the weights |" in card
    assert "load_lora" in (adapted / "adapter" / "README.md").read_text(encoding="utf-8")
    saved = load_file(adapted / "adapter" / "adapter_model.safetensors")
    counted = sum(values.numel() for name, values in saved.items() if "running" not in name and "tracked" not in name)
    assert f"| trained parameters | {counted} |" in card
    assert "| precision | float32 |" in card


def test_an_adapter_can_be_trained_on(adapted: Path) -> None:
    model = load_lora(adapted).train()
    model(torch.randn(2, 8_000), labels=torch.tensor([0, 1])).loss.backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert any("lora_A" in name for name in with_gradient) and any("heads.0" in name for name in with_gradient)
    assert all("lora_" in name or "modules_to_save" in name for name in with_gradient)


def test_a_learned_class_token_is_trained_and_kept(backbone: Path, corpus: Path, tmp_path: Path) -> None:
    first = {**FIELDS, "backbone": str(backbone), "pooling": "first+cls-learned", "pooling_config": {}}
    folder = train_tiny(tmp_path / "model", corpus, **first)
    model = AutoModelForAudioClassification.from_pretrained(folder)
    assert (model.encoder.class_token.token != 1).all()
    torch.testing.assert_close(logits_of(model), logits_of(load_lora(folder)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("backbone", ["wavlm"], indirect=True)
def test_updates_that_eager_wavlm_would_pass_by_are_refused(
    backbone: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"backbone": str(backbone), "backbone_config": None, "lora": {"r": 4}, "attn_implementation": "eager"}
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), **values)
    said = "lora: WavLM's eager attention passes the updates by; choose attn_implementation sdpa"
    assert said in refusal(capsys, "train", config, "--output-dir", tmp_path / "model")


def test_a_stopped_run_goes_on_to_the_same_weights(backbone: Path, corpus: Path, tmp_path: Path) -> None:
    values = {**FIELDS, "backbone": str(backbone), "max_steps": -1, "num_train_epochs": 2, "save_total_limit": 9}
    whole = train_tiny(tmp_path / "whole", corpus, **values)
    stopped = interrupted(whole, tmp_path / "stopped", read_results(whole)["run"]["steps"] // 2)
    train_tiny(stopped, corpus, **values)
    assert same_weights(whole, stopped)


def test_the_best_adapter_is_kept(backbone: Path, corpus: Path, tmp_path: Path) -> None:
    best = {"validation": "speaker_id=speaker03", "num_train_epochs": 3, "save_total_limit": 9, "max_steps": -1}
    folder = train_tiny(tmp_path / "model", corpus, **{**FIELDS, "backbone": str(backbone), **best})
    assert len(list(folder.glob("checkpoint-*/adapter_model.safetensors"))) == 3
    finished = AutoModelForAudioClassification.from_pretrained(folder)
    torch.testing.assert_close(logits_of(finished), logits_of(load_lora(folder)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"backbone": "ecapa-256"}, "lora: the encoder (ecapa-tdnn) has no attention to adapt; leave lora out"),
        ({"backbone": "ecapa-256", "lora": {"target_modules": ["conv"]}}, "has no attention to adapt; leave lora out"),
        ({"lora": {"rank": 4}}, "unknown field of lora 'rank'"),
        ({"lora": {"r": 0}}, "lora: "),
        ({"lora": 4}, "lora: 4 is not of the kind dict"),
        ({"lora": {"target_modules": ["q_prj"]}}, "lora: "),
        ({"freeze": "backbone"}, None),
    ],
)
def test_what_can_not_be_adapted(
    fields: dict[str, object], said: str | None, backbone: Path, corpus: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    values = {"backbone": str(backbone), "backbone_config": None, "pooling": "mean", "lora": {"r": 4}, "max_steps": 1}
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), **{**values, **fields})
    words = ("train", config, "--output-dir", tmp_path / "model")
    if said is None:  # a frozen encoder can have updates all the same
        assert command(*words) == 0
    else:
        assert said in refusal(capsys, *words)


def test_a_folder_without_an_adapter_is_refused(finished: Path) -> None:
    with pytest.raises(InputError, match="no adapter here; give the folder of a model that was trained with lora"):
        load_lora(finished)


WITHOUT_PEFT = """
import json, sys
from importlib.machinery import PathFinder

class WithoutPeft(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "peft" else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutPeft
from hf_speech.cli import main
print(json.dumps([main(words) for words in json.loads(sys.argv[1])]))
"""


def test_without_peft_training_says_what_to_install_and_finished_models_load(
    adapted: Path, backbone: Path, corpus: Path, tmp_path: Path
) -> None:
    fields = {**FIELDS, "backbone": str(backbone)}
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), **fields)
    train = ["train", config, "--output-dir", tmp_path / "model"]
    predict = ["predict", adapted, corpus.parent / read_table(corpus)[0]["path"]]
    words = json.dumps([list(map(str, one)) for one in (train, predict)])
    done = subprocess.run([sys.executable, "-c", WITHOUT_PEFT, words], capture_output=True, text=True, timeout=120)
    *predicted, statuses = done.stdout.splitlines()
    assert json.loads(statuses) == [2, 0] and predicted
    (line,) = done.stderr.splitlines()
    assert line.endswith("LoRA needs peft, which is not installed: pip install 'hf_speech[lora]'")
