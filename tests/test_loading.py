"""One saved folder, three ways to load it, the same bits: installed, from the code in the folder, and by `pipeline`."""

import json
import os
import subprocess
import sys
from itertools import cycle, islice, starmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForAudioClassification, Wav2Vec2FeatureExtractor, pipeline

from hf_speech.models.backbones import OWN_BACKBONES, SpectralNetworkConfig
from hf_speech.models.configuration import BACKBONES
from hf_speech.models.frontends import FRONTENDS
from hf_speech.models.heads import HEADS
from hf_speech.models.losses import LOSSES, valid_heads
from hf_speech.models.modeling import HfSpeechForSequenceClassification, HfSpeechModel
from hf_speech.models.necks import NECKS
from hf_speech.models.pooling import POOLINGS
from hf_speech.models.projections import PROJECTIONS

from .models.tiny import lively, padded, small, takes, tiny_config, waveforms

LABELS = {0: "calm", 1: "angry", 2: "sad"}
LAYERS = ("last", 1, "weighted_sum")
# Every loss with a head that goes with it, and every head with such a loss.
PAIRS = [(valid_heads(loss)[0], loss) for loss in LOSSES]
PAIRS += [(head, next(loss for loss in LOSSES if head in valid_heads(loss))) for head in HEADS]
REGISTRIES = (BACKBONES, LAYERS, NECKS, POOLINGS, PROJECTIONS, PAIRS)
_count = max(2 * len(BACKBONES), *map(len, REGISTRIES))  # each backbone twice, and so enough behind front ends


def _together(backbone: str, layer: int | str, neck: str, pooling: str, *others: Any) -> tuple[Any, ...]:
    """The parts of one model, with another backbone or neck where the layer or the pooling needs one."""
    if not takes(backbone, pooling):
        backbone = "hubert"
    if hasattr(POOLINGS[pooling], "token"):
        neck = "relu"
    return (backbone, "last" if backbone in OWN_BACKBONES else layer, neck, pooling, *others)


# Models with the next entry of every registry each, and those behind a front end with the next of these; a preset; and
# one of several tasks.
PARTS = dict(enumerate(starmap(_together, zip(*(islice(cycle(r), _count) for r in REGISTRIES), strict=True))))
SPECTRAL = [name for name, kind in OWN_BACKBONES.items() if issubclass(kind, SpectralNetworkConfig)]
BEHIND = dict(zip((n for n, (backbone, *_) in PARTS.items() if backbone in SPECTRAL), cycle(FRONTENDS), strict=False))
MODELS: list[int | str] = [*PARTS, "preset", "tasks"]
TASKS: dict[str, Any] = {
    "emotion": {"labels": [*LABELS.values()], "head": "mlp", "head_config": {"size": 8}},
    "age": {"loss": "ccc", "target_mean": 40.0, "target_std": 9.0, "unit": "years", "weight": 0.5},
    "decade": {"labels": ["twenties", "thirties"], "head": "ordinal", "loss": "coral"},
}


def settings_of(loss: str) -> dict[str, Any]:
    if LOSSES[loss].problem_type == "regression":
        return {"num_labels": 1, "id2label": {0: "age"}, "label2id": {"age": 0}, "target_mean": 40.0, "target_std": 9.0}
    return {
        "num_labels": 3,
        "id2label": LABELS,
        "label2id": {name: i for i, name in LABELS.items()},
        "class_counts": [3, 2, 1],
    }


def built(number: int | str) -> HfSpeechForSequenceClassification:
    if number == "preset":
        return lively(HfSpeechForSequenceClassification.from_backbone("ecapa-256", labels=[*LABELS.values()]))
    if number == "tasks":
        return lively(HfSpeechForSequenceClassification(tiny_config("wavlm", tasks=TASKS)))
    assert isinstance(number, int)
    backbone, layer, neck, pooling, projection, (head, loss) = PARTS[number]
    names = {"neck": neck, "pooling": pooling, "projection": projection, "head": head}
    registries = {"neck": NECKS, "pooling": POOLINGS, "projection": PROJECTIONS, "head": HEADS}
    options = {f"{what}_config": small(registries[what][name]) for what, name in names.items()}
    front = {"frontend": BEHIND[number]} if number in BEHIND else {}
    config = tiny_config(backbone, front, layer=layer, loss=loss, **names, **options, **settings_of(loss))
    return lively(HfSpeechForSequenceClassification(config), seed=number)


@pytest.fixture(scope="module")
def models() -> dict[int | str, HfSpeechForSequenceClassification]:
    """The models of MODELS, before they are saved."""
    return {number: built(number) for number in MODELS}


@pytest.fixture(scope="module")
def folders(
    models: dict[int | str, HfSpeechForSequenceClassification], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with a model folder for each of MODELS, and the plain base model."""
    root = tmp_path_factory.mktemp("saved")
    for number, model in models.items():
        model.save_pretrained(root / f"model-{number}")
    lively(HfSpeechModel(tiny_config("wavlm"))).save_pretrained(root / "base")
    for folder in root.iterdir():
        Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return root


# Run where the package can't be imported: loads every folder by the code in it, and saves what the models say.
WITHOUT_THE_PACKAGE = """
import gc, importlib.abc, json, sys
from pathlib import Path

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "hf_speech":
            raise ModuleNotFoundError(f"No module named {name!r}")

gc.disable()
sys.meta_path.insert(0, Absent())
try:
    import hf_speech
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the package can be imported")

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForAudioClassification, pipeline

root = Path(sys.argv[1])
batch = load_file(root / "batch.safetensors")
found = {}
for folder in sorted(root.glob("model-*")):
    model = AutoModelForAudioClassification.from_pretrained(folder, trust_remote_code=True)
    assert type(model).__module__.startswith("transformers_modules."), type(model).__module__
    with torch.inference_mode():
        outputs = model(**batch)
    found[folder.name] = torch.cat(list((outputs.task_logits or {"": outputs.logits}).values()), dim=-1)
again = root.parent / "again" / "model-0"
model = AutoModelForAudioClassification.from_pretrained(root / "model-0", trust_remote_code=True)
model.save_pretrained(again)
model = AutoModelForAudioClassification.from_pretrained(again, trust_remote_code=True)
base = AutoModel.from_pretrained(root / "base", trust_remote_code=True)
inner = AutoModel.from_pretrained(root / "model-0", trust_remote_code=True)
with torch.inference_mode():
    found["again"] = model(**batch).logits
    found["base"] = base(**batch).embeddings
    found["inner"] = inner(**batch).embeddings
save_file(found, root / "found.safetensors")
waveform = batch["input_values"][0].numpy()
classify = pipeline("audio-classification", model=str(root / "model-0"), trust_remote_code=True)
(root / "scores.json").write_text(json.dumps(classify(waveform, top_k=None)))
"""


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    return padded(waveforms((16_000, 9_000, 5_000)), 16_000)


@pytest.fixture(scope="module")
def found_without_the_package(
    folders: Path, batch: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    save_file(batch, folders / "batch.safetensors")
    home = tmp_path_factory.mktemp("home")  # a fresh cache: nothing is known of earlier runs
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHONPATH"))}
    environment |= {"HF_HOME": str(home), "HF_MODULES_CACHE": str(home / "modules"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_PACKAGE, str(folders)],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3_000:]
    return folders


def said(model: HfSpeechForSequenceClassification, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The logits of all tasks, beside each other."""
    with torch.inference_mode():
        outputs = model(**batch)
    return torch.cat(list((outputs.task_logits or {"": outputs.logits}).values()), dim=-1)


def installed(folder: Path, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    model = AutoModelForAudioClassification.from_pretrained(folder)
    assert type(model) is HfSpeechForSequenceClassification and not model.training
    return said(model, batch)


def test_every_registered_name_is_in_some_model() -> None:
    for place, registry in enumerate(REGISTRIES):
        assert {parts[place] for parts in PARTS.values()} == set(registry)
    assert set(BEHIND.values()) == set(FRONTENDS)
    assert {head for head, _ in PAIRS} == set(HEADS) and {loss for _, loss in PAIRS} == set(LOSSES)


@pytest.mark.parametrize("number", MODELS)
def test_what_was_saved_is_loaded(
    number: int | str,
    models: dict[int | str, HfSpeechForSequenceClassification],
    folders: Path,
    batch: dict[str, torch.Tensor],
) -> None:
    saved = models[number]
    loaded = AutoModelForAudioClassification.from_pretrained(folders / f"model-{number}")
    weights = loaded.state_dict()
    assert weights.keys() == saved.state_dict().keys()
    assert all(torch.equal(weights[name], values) for name, values in saved.state_dict().items())
    expected = said(saved, batch)
    assert expected.std() > 1e-3  # far above what is allowed below
    # Not to the bit: where a tensor lies in memory decides over the order of sums.
    torch.testing.assert_close(installed(folders / f"model-{number}", batch), expected, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("number", MODELS)
def test_installed_and_from_the_folder_s_code_the_bits_are_equal(
    number: int | str, folders: Path, batch: dict[str, torch.Tensor], found_without_the_package: Path
) -> None:
    remote = load_file(found_without_the_package / "found.safetensors")[f"model-{number}"]
    assert torch.equal(installed(folders / f"model-{number}", batch), remote)


def test_what_the_folder_s_code_saved_loads_both_ways(
    folders: Path, batch: dict[str, torch.Tensor], found_without_the_package: Path
) -> None:
    expected = installed(folders / "model-0", batch)
    assert torch.equal(load_file(found_without_the_package / "found.safetensors")["again"], expected)
    assert torch.equal(installed(folders.parent / "again" / "model-0", batch), expected)


def test_the_base_model_loads_both_ways(
    folders: Path, batch: dict[str, torch.Tensor], found_without_the_package: Path
) -> None:
    model = AutoModel.from_pretrained(folders / "base")
    assert type(model) is HfSpeechModel
    with torch.inference_mode():
        expected = model(**batch).embeddings
    assert torch.equal(load_file(found_without_the_package / "found.safetensors")["base"], expected)


@pytest.mark.parametrize("number", MODELS)
def test_a_classifier_s_folder_gives_its_embeddings(
    number: int | str, folders: Path, batch: dict[str, torch.Tensor]
) -> None:
    classifier = AutoModelForAudioClassification.from_pretrained(folders / f"model-{number}")
    model, report = AutoModel.from_pretrained(folders / f"model-{number}", output_loading_info=True)
    assert type(model) is HfSpeechModel
    assert not report["missing_keys"]
    with torch.inference_mode():
        assert torch.equal(model(**batch).embeddings, classifier(**batch).embeddings)


def test_a_classifier_s_folder_gives_its_embeddings_without_the_package(
    folders: Path, batch: dict[str, torch.Tensor], found_without_the_package: Path
) -> None:
    with torch.inference_mode():
        expected = AutoModel.from_pretrained(folders / "model-0")(**batch).embeddings
    assert torch.equal(load_file(found_without_the_package / "found.safetensors")["inner"], expected)


def test_pipeline_gives_the_softmax_of_the_logits(
    folders: Path, batch: dict[str, torch.Tensor], found_without_the_package: Path
) -> None:
    classify = pipeline("audio-classification", model=str(folders / "model-0"))
    waveform = batch["input_values"][0].numpy()
    scores = {row["label"]: row["score"] for row in classify(waveform, top_k=None)}
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folders / "model-0")
    with torch.inference_mode():
        inputs = extractor(waveform, sampling_rate=16_000, return_tensors="pt")
        logits = AutoModelForAudioClassification.from_pretrained(folders / "model-0")(**inputs).logits[0].numpy()
    softmax = np.exp(logits) / np.exp(logits).sum()
    assert scores == pytest.approx(dict(zip(LABELS.values(), softmax.tolist(), strict=True)), abs=1e-6)
    assert max(scores.values()) - min(scores.values()) > 0.05
    remote = json.loads((found_without_the_package / "scores.json").read_text())
    assert {row["label"]: row["score"] for row in remote} == scores


def test_the_folder_holds_safetensors_and_the_code_and_no_pickle(folders: Path) -> None:
    names = {path.name for path in (folders / "model-0").iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "modeling.py", "encoder.py"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl", ".pickle"))]
    config = json.loads((folders / "model-0" / "config.json").read_text())
    assert config["auto_map"] == {
        "AutoConfig": "configuration.HfSpeechConfig",
        "AutoModel": "modeling.HfSpeechModel",
        "AutoModelForAudioClassification": "modeling.HfSpeechForSequenceClassification",
        "AutoModelForAudioXVector": "modeling.HfSpeechForXVector",
    }
    assert config["model_type"] == "hf_speech"
