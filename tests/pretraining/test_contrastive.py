"""The model of contrastive pretraining: transformers' own numbers, blind to padding, checkpoints in and out."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForPreTraining, Wav2Vec2FeatureExtractor

from hf_speech.audio import write_audio
from hf_speech.errors import InputError
from hf_speech.models.frames import conv_frames
from hf_speech.models.modeling import HfSpeechModel
from hf_speech.pretraining.collator import MaskedCollator
from hf_speech.pretraining.contrastive import (
    QUANTIZED,
    ContrastivePretraining,
    GumbelTemperature,
    load_contrastive,
    with_masks,
)
from hf_speech.pretraining.model import PretrainingOutput
from hf_speech.pretraining.spans import Masking
from hf_speech.testing import tiny_backbone_config

from ..models.tiny import STABLE, lively
from ..sounds import voice_like

MASKING = Masking(0.5, 5, 2)
KINDS = [("wav2vec2", {}), ("wav2vec2", STABLE), ("wav2vec2-conformer", {})]


def stock_of(kind: str, overrides: dict[str, Any]) -> Any:
    return lively(AutoModelForPreTraining.from_config(with_masks(tiny_backbone_config(kind, **overrides))))


def model_of(kind: str = "wav2vec2", overrides: dict[str, Any] | None = None) -> ContrastivePretraining:
    return ContrastivePretraining(stock_of(kind, overrides or {}), MASKING).eval()


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("pretraining")
    found = []
    for i, seconds in enumerate((1.1, 0.4, 0.9)):
        write_audio(folder / f"{i}.wav", voice_like(seconds, seed=i))
        found.append({"audio": {"bytes": None, "path": str(folder / f"{i}.wav")}, "draw": (0, 0, i, 0)})
    return found


def batch_of(model: ContrastivePretraining, rows: list[dict[str, Any]], negatives: int = 10) -> dict[str, Any]:
    config = model.config

    def frames_of(samples: torch.Tensor) -> torch.Tensor:
        return conv_frames(samples, config.conv_kernel, config.conv_stride)

    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    return MaskedCollator(extractor, model.masking, frames_of, negatives)(rows)


def numbers_of(output: PretrainingOutput) -> dict[str, float]:
    shares = {name: told.right.float().mean() for name, told in output.correct.items()}
    return {name: float(value) for name, value in {"loss": output.loss, **output.parts, **shares}.items()}


@torch.no_grad()
def said_of(model: ContrastivePretraining, batch: dict[str, Any]) -> PretrainingOutput:
    return model(**batch)


@pytest.mark.parametrize(("kind", "overrides"), KINDS)
def test_the_numbers_are_those_of_transformers(
    kind: str, overrides: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    stock = stock_of(kind, overrides)
    model = ContrastivePretraining(stock, MASKING).eval()
    batch = batch_of(model, rows[:1])
    said = said_of(model, batch)
    # transformers wants the distractors of all frames.
    hidden = batch["hidden"]
    places = hidden[0].nonzero()[:, 0]
    negatives = torch.zeros(1, hidden.shape[1], 10, dtype=torch.long)
    negatives[0, places] = places[batch["negatives"]]
    with torch.no_grad():
        wanted = stock(
            batch["input_values"],
            attention_mask=batch["attention_mask"],
            mask_time_indices=hidden,
            sampled_negative_indices=negatives,
        )
    count = int(hidden.sum())
    assert said.weight == count > 10
    for name in ("loss", "contrastive_loss", "diversity_loss"):
        assert float(numbers_of(said)[name]) == pytest.approx(float(wanted[name]) / count, abs=1e-5)
    assert float(said.parts["perplexity"]) == pytest.approx(float(wanted.codevector_perplexity), abs=1e-4)
    assert 0 < numbers_of(said)["accuracy"] < 1


@pytest.mark.parametrize(("kind", "overrides"), KINDS)
def test_padding_changes_nothing(kind: str, overrides: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    model = model_of(kind, overrides)
    together = batch_of(model, rows)
    lengths = together["attention_mask"].sum(-1)
    counts = conv_frames(lengths, model.config.conv_kernel, model.config.conv_stride)
    assert not any(hidden[count:].any() for hidden, count in zip(together["hidden"], counts, strict=True))
    together["input_values"][together["attention_mask"] == 0] = 7.0  # what stands there is nobody's
    padded = said_of(model, together)
    alone = [said_of(model, batch_of(model, [row])) for row in rows]
    assert padded.weight == sum(one.weight for one in alone)
    for name in ("contrastive_loss", "accuracy"):  # of codes in use there is no mean over utterances
        mean = sum(one.weight * numbers_of(one)[name] for one in alone) / padded.weight
        assert numbers_of(padded)[name] == pytest.approx(mean, abs=1e-5)


def test_masks_are_the_rows_own(rows: list[dict[str, Any]]) -> None:
    model = model_of()
    batch, turned = batch_of(model, rows), batch_of(model, rows[::-1])
    assert torch.equal(batch["hidden"], turned["hidden"].flip(0))
    again = batch_of(model, [{**row, "draw": (0, 1, i, 0)} for i, row in enumerate(rows)])
    assert not torch.equal(batch["hidden"], again["hidden"])  # another epoch
    owners = batch["hidden"].nonzero()[:, 0]
    assert (owners[batch["negatives"]] == owners[:, None]).all()  # of the same utterance
    with pytest.raises(InputError, match="frames are too few to hide 30 of them"):
        MaskedCollator(Wav2Vec2FeatureExtractor(), Masking(0.5, 30, 1), lambda samples: samples // 320)(rows)


@pytest.mark.parametrize("kind", QUANTIZED)
def test_it_learns_and_goes_out_as_a_checkpoint(kind: str, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    model = model_of(kind).train()
    model.temperature = GumbelTemperature(start=1.0, factor=0.9)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for model.optimizer_step in range(3):
        loss = model(**batch_of(model, rows)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    model.eval().save(tmp_path)
    again = load_contrastive(model.config, str(tmp_path), MASKING).eval()
    batch = batch_of(model, rows)
    wanted, found = said_of(model, batch), said_of(again, batch)
    assert numbers_of(wanted) == numbers_of(found)
    encoder = HfSpeechModel.from_backbone(str(tmp_path)).eval()
    values = batch["input_values"]
    with torch.no_grad():
        frames = model.encoder(values, batch["attention_mask"]).frames
        assert torch.equal(encoder.encoder(values, batch["attention_mask"]).frames, frames)


@pytest.mark.parametrize(("step", "wanted"), [(0, 2.0), (1, 1.0), (2, 0.5), (99, 0.3)])
def test_the_choice_of_codes_hardens(step: int, wanted: float) -> None:
    """Which code is drawn does not hang on the temperature; the gradient of the soft choice does."""
    model = model_of().train()
    model.temperature, model.optimizer_step = GumbelTemperature(2.0, 0.5, 0.3), step
    features = torch.randn(20, model.config.conv_dim[-1], requires_grad=True)
    torch.manual_seed(0)
    vectors, _, _ = model._quantized(features)
    (found,) = torch.autograd.grad(vectors.square().sum(), features)
    torch.manual_seed(0)
    scores = model.quantizer.weight_proj(features).unflatten(-1, (2, 8))
    chosen = F.gumbel_softmax(scores, tau=wanted, hard=True)
    books = model.quantizer.codevectors.view(2, 8, -1)
    (expected,) = torch.autograd.grad(torch.einsum("mgv,gvd->mgd", chosen, books).square().sum(), features)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["hubert", "unispeech-sat", "wavlm"])
def test_an_encoder_without_codebooks_is_refused(kind: str) -> None:
    with pytest.raises(
        InputError, match=f"transformers has no codebooks for {kind}; take a backbone of wav2vec2 or wav2vec2-conformer"
    ):
        load_contrastive(tiny_backbone_config(kind), None, MASKING)


def test_a_checkpoint_without_codebooks_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stock = stock_of("wav2vec2", {})
    stock.wav2vec2.save_pretrained(tmp_path)
    model = load_contrastive(stock.config, str(tmp_path), MASKING)
    assert "has no codebooks: they start at random" in caplog.text
    weights = stock.wav2vec2.state_dict()
    found = model.encoder.backbone.state_dict()
    assert all(torch.equal(values, found[name]) for name, values in weights.items())
