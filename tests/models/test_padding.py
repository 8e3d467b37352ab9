"""An utterance alone, and the same utterance in a padded batch: the same numbers, the same gradients."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel

from hf_speech.models.frames import conv_frames
from hf_speech.models.modeling import HfSpeechForSequenceClassification, HfSpeechModel
from hf_speech.models.padding import MaskedGroupNorm

from ..pairs import some_pairs
from .tiny import (
    LENGTHS,
    RAW_BACKBONES,
    SIZE,
    STABLE,
    TOLERANCE,
    differences,
    lively,
    padded,
    tiny_config,
    waveforms,
    without_dropout,
)

# Kinds of checkpoints beyond the one that stands for each backbone: (backbone, values of its configuration).
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2-stable": ("wav2vec2", STABLE),
    "hubert-stable": ("hubert", STABLE),
    "hubert-batch-norm": ("hubert", {"conv_pos_batch_norm": True}),
    "wavlm-stable": ("wavlm", STABLE),
    "unispeech-sat-stable": ("unispeech-sat", STABLE),
    "conformer-rotary": ("wav2vec2-conformer", {"position_embeddings_type": "rotary"}),
    "conformer-no-positions": ("wav2vec2-conformer", {"position_embeddings_type": None}),
}


def classifier(
    backbone: str, overrides: dict[str, Any] | None = None, **settings: Any
) -> HfSpeechForSequenceClassification:
    settings = {"head": "mlp"} | settings
    return lively(HfSpeechForSequenceClassification(tiny_config(backbone, overrides, **settings)))


@pytest.mark.parametrize("layer", ["last", 1, "weighted_sum"])
@pytest.mark.parametrize("backbone", RAW_BACKBONES)
def test_padding_changes_nothing_at_any_layer(backbone: str, layer: int | str) -> None:
    found = differences(classifier(backbone, layer=layer, pooling="mean+std"))
    assert max(found.values()) <= TOLERANCE, found


@pytest.mark.parametrize("layer", ["last", 1, "weighted_sum"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_changes_nothing_in_the_variants(variant: str, layer: int | str) -> None:
    backbone, overrides = VARIANTS[variant]
    found = differences(classifier(backbone, overrides, layer=layer, pooling="mean+std"))
    assert max(found.values()) <= TOLERANCE, found


@pytest.mark.parametrize("backbone", RAW_BACKBONES)
def test_padding_changes_nothing_with_eager_attention_which_gives_its_weights(backbone: str) -> None:
    config = tiny_config(backbone, head="mlp", pooling="mean+std")
    model = lively(HfSpeechForSequenceClassification._from_config(config, attn_implementation="eager"))
    found = differences(model)
    assert max(found.values()) <= TOLERANCE, found
    waves = waveforms((5_000, 4_000))
    attentions = model(**padded(waves, 6_000), output_attentions=True).attentions
    assert len(attentions) == 2
    for weights in attentions:  # (B, heads, F, F); 5,000 samples give 15 frames, 4,000 give 12, 6,000 give 18
        assert weights.shape == (2, 2, 18, 18)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 18))
        assert (weights[0, ..., 15:] == 0).all() and (weights[1, ..., 12:] == 0).all()


class Stock(nn.Module):
    """An encoder as transformers has it, with the mean over the real frames behind it."""

    def __init__(self, ours: HfSpeechModel) -> None:
        super().__init__()
        self.encoder = AutoModel.from_config(ours.encoder.backbone.config).eval()
        ours.encoder.load_stock_weights(lively(self.encoder).state_dict())

    def forward(self, input_values: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        frames = self.encoder(input_values, attention_mask=attention_mask).last_hidden_state
        lengths = torch.full((1,), input_values.shape[1]) if attention_mask is None else attention_mask.sum(-1)
        config = self.encoder.config
        counts = conv_frames(lengths, config.conv_kernel, config.conv_stride)
        real = (torch.arange(frames.shape[1]) < counts[:, None])[..., None]
        return {"embeddings": (frames * real).sum(1) / counts[:, None]}


@pytest.mark.parametrize("backbone", RAW_BACKBONES)
def test_the_stock_encoders_do_change_with_padding(backbone: str) -> None:
    # The proof that the tests above can see a leak: same weights, same batches.
    ours = HfSpeechModel(tiny_config(backbone, pooling="mean")).eval()
    stock = Stock(ours)
    found = differences(ours, ("embeddings",))["embeddings"], differences(stock, ("embeddings",))["embeddings"]
    print(f"{backbone}: ours {found[0]:.1e}, stock {found[1]:.1e}")
    assert found[0] <= TOLERANCE < 1e-3 < found[1]


@torch.inference_mode()
def test_alone_the_encoders_are_the_stock_ones() -> None:
    for backbone in RAW_BACKBONES:
        ours = HfSpeechModel(tiny_config(backbone, pooling="mean")).eval()
        stock = Stock(ours)
        for wave in waveforms(LENGTHS):
            torch.testing.assert_close(
                ours(wave[None]).embeddings, stock(wave[None])["embeddings"], atol=TOLERANCE, rtol=0
            )


@pytest.mark.parametrize("backbone", RAW_BACKBONES)
def test_bfloat16_gives_numbers(backbone: str) -> None:
    batch = padded(waveforms(LENGTHS), SIZE)
    exact = classifier(backbone, pooling="mean+std")
    with torch.inference_mode():
        expected = exact(**batch)
    model = classifier(backbone, pooling="mean+std").to(torch.bfloat16).train()
    labels = torch.tensor([0, 1, 2, 0])
    batch["input_values"] = batch["input_values"].to(torch.bfloat16)
    output = model(**batch, labels=labels)
    output.loss.backward()
    assert output.loss.dtype == torch.float32 and output.logits.dtype == torch.bfloat16
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad and p.grad is not None)
    with torch.inference_mode():
        output = model.eval()(**batch)
    # bfloat16 has 8 bits; the errors add up over some twenty operations.
    torch.testing.assert_close(output.embeddings.float(), expected.embeddings, atol=0.25, rtol=0)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


# Reentrant checkpointing of WavLM never ends, in transformers as here: its layers hand a position bias on as a keyword.
@pytest.mark.parametrize(
    ("backbone", "reentrant"), [(b, r) for b in RAW_BACKBONES for r in (False, True) if not (b == "wavlm" and r)]
)
def test_gradients_of_a_padded_batch_are_the_mean_of_the_single_ones(backbone: str, reentrant: bool) -> None:
    model = classifier(backbone, without_dropout(backbone), pooling="mean+std", head_config={"dropout": 0.0}).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()  # its batch statistics are of the batch by definition
    waves, labels = waveforms(LENGTHS), torch.tensor([0, 1, 2, 1])
    for wave, label in zip(waves, labels, strict=True):
        (model(wave[None], labels=label[None]).loss / len(waves)).backward()
    expected = gradients(model)
    model.zero_grad()
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    loss = model(**padded(waves, SIZE), labels=labels).loss
    # Another batch, of other lengths, before the backward pass: what is recomputed must be the first one.
    model(**padded(waveforms((3_000, 12_000, 700), seed=1), 13_000))
    loss.backward()
    found = gradients(model)
    assert found.keys() == expected.keys() and len(found) > 20
    largest = max(g.abs().max() for g in expected.values())
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5 * max(1.0, float(largest)), rtol=0, msg=name)


@pytest.mark.parametrize(("kind", "layer"), some_pairs([*RAW_BACKBONES, *VARIANTS], ["last", "weighted_sum"], every=2))
def test_threads_share_a_model(kind: str, layer: str) -> None:
    model = classifier(*VARIANTS.get(kind, (kind, None)), layer=layer)
    batches = [
        padded(waveforms([2_000 + 500 * i, 700 + 300 * i, 400], seed=i), 2_500 + 500 * (7 - i) + 3_500)
        for i in range(8)
    ]

    def logits(batch: dict[str, Tensor]) -> list[Tensor]:
        with torch.inference_mode():  # a thread has its own
            return [model(**batch).logits for _ in range(3)]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(logits, batches))  # first: the hooks that catch hidden states are made on the way
    for batch, found in zip(batches, together, strict=True):
        expected = logits(batch)[0]
        for one in found:
            torch.testing.assert_close(one, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name.startswith("conformer")])
def test_what_is_cached_in_evaluation_does_not_stop_training(variant: str) -> None:
    backbone, overrides = VARIANTS[variant]
    model = classifier(backbone, overrides)
    batch = padded(waveforms((5_000, 4_000)), 5_000)
    with torch.inference_mode():
        model(**batch)
    model(**batch).logits.sum().backward()
    assert all(weights.grad is not None for weights in model.parameters() if weights.requires_grad)


def test_the_group_norm_of_a_recorded_graph_is_the_same() -> None:
    torch.manual_seed(0)
    stock = nn.GroupNorm(6, 6)
    nn.init.normal_(stock.weight)
    nn.init.normal_(stock.bias)
    norm, frames, counts = MaskedGroupNorm(stock), 3 + 2 * torch.randn(3, 6, 40), torch.tensor([40, 17, 2])
    found, recorded = norm(frames, counts), norm._masked(frames, counts)
    for row, length in enumerate(counts.tolist()):
        expected = stock(frames[row : row + 1, :, :length])[0]
        torch.testing.assert_close(found[row, :, :length], expected, atol=0, rtol=0)
        torch.testing.assert_close(recorded[row, :, :length], expected, atol=1e-5, rtol=0)
    compiled = torch.compile(norm, dynamic=True, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(frames, counts), recorded, atol=1e-6, rtol=0)
