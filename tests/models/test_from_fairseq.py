"""fairseq's checkpoints become models of ours with a fresh head, whose encoder computes what fairseq's does."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hf_speech.errors import InputError
from hf_speech.models.conversion_foreign import from_fairseq
from hf_speech.models.modeling import HfSpeechForSequenceClassification, HfSpeechForXVector, HfSpeechModel

from .test_conversion_fairseq import CASES, args_of, in_fairseq, pretraining_model
from .test_conversion_wav2vec import AGGREGATOR, FEATURES, LARGE_FLAGS, LAYERS, by_fairseq
from .test_conversion_wav2vec import in_fairseq as wav2vec_in_fairseq
from .tiny import padded, reloaded, waveforms

LABELS = ["calm", "angry", "sad"]


def wav2vec2_file(path: Path, case: str = "base") -> Any:
    """A pretrained wav2vec 2.0 with random weights, as fairseq would have saved it; the same in transformers."""
    original = pretraining_model(case)
    torch.save({"model": in_fairseq(original), "args": args_of(original.config)}, path)
    return original.wav2vec2


def wav2vec_file(path: Path, **more: Any) -> dict[str, Tensor]:
    state = wav2vec_in_fairseq(LARGE_FLAGS, LAYERS, AGGREGATOR)
    torch.save({"model": state, "args": Namespace(conv_feature_layers=FEATURES, **LARGE_FLAGS, **more)}, path)
    return state


@torch.inference_mode()
@pytest.mark.parametrize("layer", ["last", 1])
@pytest.mark.parametrize("case", CASES)
def test_wav2vec2_gives_its_frames_at_any_layer(case: str, layer: int | str, tmp_path: Path) -> None:
    original = wav2vec2_file(tmp_path / "a.pt", case)
    model = from_fairseq(tmp_path / "a.pt", labels=LABELS, layer=layer, pooling="mean+std", head="mlp").eval()
    assert type(model) is HfSpeechForSequenceClassification and model.config.id2label == dict(enumerate(LABELS))
    assert (model.config.pooling, model.config.head, model.config.layer) == ("mean+std", "mlp", layer)
    assert model.config.normalizes is (case == "large")
    assert len(model.encoder.backbone.encoder.layers) == (layer if layer == 1 else original.config.num_hidden_layers)
    waves = waveforms((8_000, 5_000))
    together = model.base_model(**padded(waves, 8_500))
    for wave, frames, mask in zip(waves, together.last_hidden_state, together.frame_mask, strict=True):
        expected = original(wave[None], output_hidden_states=True)
        frame = expected.last_hidden_state if layer == "last" else expected.hidden_states[1]
        assert frame.std() > 0.1
        torch.testing.assert_close(frames[mask], frame[0], atol=1e-5, rtol=0)
    wave = waves[0][None]
    again = reloaded(model, tmp_path / "ours")
    torch.testing.assert_close(again(wave).logits, model(wave).logits, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_wav2vec_gives_its_frames(tmp_path: Path) -> None:
    state = wav2vec_file(tmp_path / "wav2vec.pt")
    model = from_fairseq(tmp_path / "wav2vec.pt", model_class=HfSpeechModel).eval()
    assert type(model) is HfSpeechModel and model.config.backbone_config.model_type == "wav2vec"
    waves = waveforms((4_000, 1_234))
    together = model(**padded(waves, 4_500))
    for wave, frames, mask in zip(waves, together.last_hidden_state, together.frame_mask, strict=True):
        expected = by_fairseq(wave, state, LARGE_FLAGS)
        torch.testing.assert_close(frames[mask].double(), expected, atol=1e-5, rtol=0)
    again = reloaded(model, tmp_path / "ours")
    torch.testing.assert_close(again(waves[0][None]).embeddings, together.embeddings[:1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("told", "expected"), [({}, False), ({"normalize": True}, True), ({"normalize": False}, False)]
)
def test_whether_wav2vec_s_waveforms_are_normalised_is_as_the_file_says(
    told: dict[str, bool], expected: bool, tmp_path: Path
) -> None:
    wav2vec_file(tmp_path / "wav2vec.pt", **told)
    assert from_fairseq(tmp_path / "wav2vec.pt").config.normalizes is expected
    assert from_fairseq(tmp_path / "wav2vec.pt", do_normalize=not expected).config.normalizes is not expected


def test_it_trains(tmp_path: Path) -> None:
    wav2vec2_file(tmp_path / "a.pt")
    settings = {"model_class": HfSpeechForXVector, "backbone_config": {"hidden_dropout": 0.0}}
    model = from_fairseq(tmp_path / "a.pt", labels=LABELS, **settings)
    assert model.training and (model.config.head, model.config.loss) == ("cosine", "aam_softmax")
    assert model.config.backbone_config.hidden_dropout == 0.0
    model(torch.randn(2, 8_000), labels=torch.tensor([0, 2])).loss.backward()
    assert model.encoder.backbone.encoder.layers[0].attention.q_proj.weight.grad.abs().max() > 0


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    wav2vec2_file(path)
    with pytest.raises(InputError, match="^unknown setting of HfSpeechConfig 'poling'"):
        from_fairseq(path, poling="mean")
    with pytest.raises(InputError, match=r"no-such\.pt: no such file; give a checkpoint file"):
        from_fairseq(tmp_path / "no-such.pt")
    # Of a whole state dict each weight is needed.
    content = torch.load(path, weights_only=False)
    content["model"].pop("encoder.layers.1.fc2.bias")
    torch.save(content, tmp_path / "part.pt")
    with pytest.raises(InputError, match=r"part\.pt: the weights lack 1 parts of the encoder, such as \S+output_dense"):
        from_fairseq(tmp_path / "part.pt")
    from_fairseq(tmp_path / "part.pt", layer=1)  # where nothing is missing
    content["model"]["encoder.layers.1.fc2.bias"] = torch.ones(5)
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(InputError, match=r"odd\.pt: the weights of the encoder: .*output_dense\.bias") as refusal:
        from_fairseq(tmp_path / "odd.pt")
    assert "\n" not in str(refusal.value)
    torch.save({"model": {"bert.weight": torch.ones(2)}}, tmp_path / "bert.pt")
    with pytest.raises(InputError, match=r"bert\.pt: no state dict of a wav2vec 2\.0 of fairseq's"):
        from_fairseq(tmp_path / "bert.pt")
    state = wav2vec_file(tmp_path / "wav2vec.pt")
    state.pop("feature_aggregator.conv_layers.1.3.bias")
    torch.save({"model": state, "args": Namespace(conv_feature_layers=FEATURES, **LARGE_FLAGS)}, tmp_path / "less.pt")
    with pytest.raises(
        InputError, match=r"less\.pt: the weights of the network \(Wav2Vec\) lack context\.1\.norm\.bias$"
    ):
        from_fairseq(tmp_path / "less.pt")
