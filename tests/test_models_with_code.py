"""Audio classifiers with code of their own: it runs only where that is said, and where it fails one line says so."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from transformers import Wav2Vec2FeatureExtractor

from hf_speech.audio import read_audio, write_audio
from hf_speech.data.checks import check_rows
from hf_speech.data.recordings import rows_of_files
from hf_speech.errors import InputError
from hf_speech.foreign import longest_heard
from hf_speech.inference import infer, load_model, predict
from hf_speech.models.modeling import HfSpeechForSequenceClassification

from .foreign import by_hand, saved
from .models.tiny import lively, tiny_config
from .sounds import voice_like
from .training.runs import command, read_results, refusal

CONFIGURATION = """
from transformers import PretrainedConfig

class BandsConfig(PretrainedConfig):
    model_type = "bands-of-somebody"
"""
MODELING = """
import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput
from .configuration_bands import BandsConfig

class BandsForAudioClassification(PreTrainedModel):
    config_class = BandsConfig

    def __init__(self, config):
        super().__init__(config)
        self.classifier = torch.nn.Linear(20, config.num_labels)
        self.post_init()

    def forward(self, energies):
        return SequenceClassifierOutput(logits=self.classifier(energies.mean(1)))
"""
EXTRACTION = """
import numpy as np
from transformers import BatchFeature, SequenceFeatureExtractor

class BandsFeatureExtractor(SequenceFeatureExtractor):
    model_input_names = ["energies"]

    def __call__(self, waveform, sampling_rate, return_tensors):
        kept = (waveform - waveform.mean())[: 10 * sampling_rate]
        kept = np.pad(kept, (0, -len(kept) % 160)).reshape(1, -1, 20, 8)
        return BatchFeature({"energies": np.log(np.square(kept).mean(-1) + 1e-6)}, tensor_type=return_tensors)
"""
FILES = {"configuration": CONFIGURATION, "modeling": MODELING, "feature_extraction": EXTRACTION}


def write_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(fields), encoding="utf-8")


def add_to_json(path: Path, **fields: Any) -> None:
    write_json(path, **json.loads(path.read_text(encoding="utf-8")), **fields)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.35 s."""
    path = tmp_path_factory.mktemp("speech") / "short.wav"
    write_audio(path, voice_like(0.35))
    return path


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A place of the tests' own for code that is loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
        patch.syspath_prepend(transformers.dynamic_module_utils.HF_MODULES_CACHE)
        yield


@pytest.fixture(scope="module")
def bands(tmp_path_factory: pytest.TempPathFactory, modules: Any) -> Path:
    """A model of which transformers knows nothing."""
    folder = tmp_path_factory.mktemp("bands")
    for name, code in FILES.items():
        (folder / f"{name}_bands.py").write_text(code, encoding="utf-8")
    names = {i: label for i, label in enumerate(("low", "high"))}
    write_json(
        folder / "config.json",
        model_type="bands-of-somebody",
        architectures=["BandsForAudioClassification"],
        id2label=names,
        label2id={label: i for i, label in names.items()},
        auto_map={
            "AutoConfig": "configuration_bands.BandsConfig",
            "AutoModelForAudioClassification": "modeling_bands.BandsForAudioClassification",
        },
    )
    write_json(
        folder / "preprocessor_config.json",
        feature_extractor_type="BandsFeatureExtractor",
        sampling_rate=16_000,
        feature_size=20,
        padding_value=0.0,
        auto_map={"AutoFeatureExtractor": "feature_extraction_bands.BandsFeatureExtractor"},
    )
    torch.manual_seed(0)
    weights = {"classifier.weight": torch.randn(2, 20) / 5, "classifier.bias": torch.randn(2)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("name", ["predict", "evaluate"])
def test_code_of_its_own_runs_only_where_that_is_said(
    name: str, bands: Path, corpus: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (name, bands, *([corpus, "--output-dir", tmp_path / "out"] if name == "evaluate" else [file]))
    line = refusal(capsys, *words)
    assert line.endswith(f"{bands}: brings code of its own; read it, then give --trust-remote-code to run it")
    assert command(*words, "--trust-remote-code") == 0
    if name == "evaluate":
        assert read_results(tmp_path / "out")["run"]["arguments"]["trust_remote_code"] is True
        assert read_results(tmp_path / "out")["metrics"][0]["n"] == 24
        return
    model, extractor = load_model(bands, trust_remote_code=True)
    assert type(model).__module__.startswith("transformers_modules.")
    rows = check_rows(rows_of_files([file]))[0]
    wanted = by_hand(model, extractor, read_audio(file))
    np.testing.assert_allclose(infer(model, extractor, rows).logits[0], wanted, atol=1e-5)


def test_an_unknown_feature_extractor_is_tried_out(bands: Path, tmp_path: Path) -> None:
    """This one keeps ten seconds, which half of the half of thirty do not exceed."""
    model, extractor = load_model(bands, trust_remote_code=True)
    assert longest_heard(extractor, 30.0) == 7.5 and longest_heard(extractor, 10.0) == 10.0
    write_audio(tmp_path / "long.wav", voice_like(12.0))
    pieces = np.array_split(read_audio(tmp_path / "long.wav"), 2)
    wanted = np.mean([by_hand(model, extractor, piece) for piece in pieces], axis=0)
    rows = check_rows(rows_of_files([tmp_path / "long.wav"]))[0]
    np.testing.assert_allclose(infer(model, extractor, rows).logits[0], wanted, atol=1e-5)


FAULTS = [
    (("self.classifier(energies", "self.absent(energies"), "fails on it (AttributeError in transformers"),
    (("SequenceClassifierOutput(logits=", "("), "gives no logits"),
    ((".mean(1)", ""), "gives logits of shape (1, 35, 2), where a classifier gives (1, 2)"),
    (("import torch\n", "import torch, no_such_package\n"), "can't be loaded as an audio classifier (ImportError"),
    (("self.post_init()", "self.x = 1 / 0"), "can't be loaded as an audio classifier (ZeroDivisionError"),
]


@pytest.mark.parametrize(("change", "said"), FAULTS)
def test_code_that_fails_is_one_line(
    change: tuple[str, str], said: str, bands: Path, file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / f"faulty{FAULTS.index((change, said))}"  # by this name transformers knows the code
    folder.mkdir()
    for path in bands.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "modeling_bands.py").write_text(MODELING.replace(*change), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        predict(*load_model(folder, trust_remote_code=True), [file])
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_known_type_may_bring_code_too(tmp_path: Path) -> None:
    """The stock class would load the same weights, and perhaps give other numbers."""
    saved(tmp_path, "wav2vec2")
    add_to_json(tmp_path / "config.json", auto_map={"AutoModelForCTC": "modeling.Ctc"})
    load_model(tmp_path)  # code for another use
    saved(tmp_path, "wav2vec2")
    add_to_json(tmp_path / "config.json", auto_map={"AutoModelForAudioClassification": "modeling.Better"})
    with pytest.raises(InputError, match="brings code of its own"):
        load_model(tmp_path)
    saved(tmp_path, "wav2vec2")
    add_to_json(tmp_path / "preprocessor_config.json", auto_map={"AutoFeatureExtractor": "extraction.Better"})
    with pytest.raises(InputError, match="brings code of its own"):
        load_model(tmp_path)


@pytest.mark.parametrize("trusted", [False, True])
def test_models_of_ours_need_no_trust(trusted: bool, tmp_path: Path) -> None:
    lively(HfSpeechForSequenceClassification(tiny_config())).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path)
    assert "AutoModelForAudioClassification" in json.loads((tmp_path / "config.json").read_text())["auto_map"]
    model, _ = load_model(tmp_path, trust_remote_code=trusted)
    assert type(model) is HfSpeechForSequenceClassification
