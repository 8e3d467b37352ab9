"""Fine-tuning and embedding on a GPU, in bfloat16, with and without `torch.compile`, against transformers on the same.

    python -m benchmarks gpu        # ten minutes, on a machine with a GPU

Encoders of the sizes of wav2vec2-base, wav2vec2-large (XLSR) and WavLM-large with random weights. Embedding: files in,
embeddings out, against transformers' pipeline in bfloat16, 8 and 32 waveforms at a time. Fine-tuning: as in
`benchmarks/finetuning.py`, both in bfloat16. ECAPA-TDNN of 1,024 channels is embedded alone. Told besides are seconds
of audio a second, the share of the rate of a product of matrices in bfloat16 that the forward pass reaches, and the
most memory in use. With `torch.compile` a first pass has compiled before one is timed; of fine-tuning compiling counts.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModel,
    AutoModelForAudioClassification,
    PretrainedConfig,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    pipeline,
)

from hf_speech import HfSpeechConfig, HfSpeechModel
from hf_speech.verification.embeddings import embed_files

from .encoder import read
from .finetuning import HALF, Trained, recipe_for
from .machine import SIDE, operations, product
from .rows import Row, audio_facts
from .sample import Sample
from .turns import by_turns, fastest, ratio

ROUNDS, TRAINED, AT_LEAST, BATCHES = 3, 1, 1.0, (8, 32)
LARGE: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
    "layerdrop": 0.0,
}
CONFIGS: dict[str, PretrainedConfig] = {
    "wav2vec2-base": Wav2Vec2Config(layerdrop=0.0),
    "wav2vec2-large": Wav2Vec2Config(**LARGE, conv_bias=True),
    "wavlm-large": WavLMConfig(**LARGE),
}
WAYS = ("as it is", "compiled")
COMPILED = ("--torch_compile", "true")


def rows(
    sample: Sample, device: str = "cuda", configs: Mapping[str, PretrainedConfig] = CONFIGS, rounds: int = ROUNDS
) -> list[Row]:
    """All rows of this file.

    Args:
        sample: the recordings.
        device: "cuda"; "cpu" to try the benchmark itself.
        configs: of encoders, by name.
        rounds: how often each way of embedding is timed.
    """
    made = []
    for name, config in configs.items():
        made += embedded(name, config, sample, device, rounds)
        made += fine_tuned(name, config, sample, device)
    return [*made, *network("ecapa-1024", sample, device, rounds)]


def embedded(name: str, config: PretrainedConfig, sample: Sample, device: str, rounds: int) -> list[Row]:
    """Of one encoder, embedding."""
    torch.manual_seed(0)
    files = {str(path): path for path in sample.files}
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    stock = AutoModelForAudioClassification.from_config(config).eval()
    asked = pipeline(
        "audio-classification", model=stock, feature_extractor=extractor, device=device, dtype=torch.bfloat16
    )
    models = {way: HfSpeechModel(HfSpeechConfig(backbone_config=config, pooling="mean")) for way in WAYS}
    models["compiled"].compile(dynamic=True)
    ways: dict[str, Any] = {
        f"pipeline of {size}": lambda size=size: asked(read(sample.files), batch_size=size) for size in BATCHES
    }
    for way, model in models.items():
        model.to(device).eval()
        ways[way] = lambda model=model: embed_files(model, extractor, files, dtype="bfloat16")
    ways["product"] = product(SIDE[device], torch.bfloat16, device)
    _forget_peak(device)
    times = by_turns(ways, rounds)
    best = fastest(times, "pipeline")
    with torch.device("meta"):
        bare = AutoModel.from_config(config, attn_implementation="eager").eval()
    share = operations(bare, sample.seconds) / (2 * SIDE[device] ** 3)
    return [
        Row(
            f"{name}, embedding, {way}",
            f"embedding {sample.total:.0f} s of speech, size of {name}, bfloat16, {way}",
            f"transformers' `pipeline`, bfloat16, {best.removeprefix('pipeline of ')} at a time",
            ratio(times[way], times[best]),
            AT_LEAST,
            facts={
                **audio_facts(
                    times[way], {name: times[name] for name in times if name.startswith("pipe")}, sample.total
                ),
                "share_of_the_product": ratio(times[way], times["product"], share).median,
                "gigabytes_of_all_ways": _peak(device),
            },
        )
        for way in models
    ]


def fine_tuned(name: str, config: PretrainedConfig, sample: Sample, device: str) -> list[Row]:
    """Of one encoder, training."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        trained = Trained(Path(folder), sample, AutoModel.from_config(config), recipe_for(sample), device)
        ways = {
            "pipeline": lambda: trained.stock("stock", "--bf16"),
            "as it is": lambda: trained.ours("as it is", *HALF),
            "compiled": lambda: trained.ours("compiled", *HALF, *COMPILED),
        }
        times = by_turns(ways, TRAINED, warm=False, clock=lambda way: way())
    return [
        Row(
            f"{name}, fine-tuning, {way}",
            f"fine-tuning steps, size of {name}, bfloat16, {way}, {sample.total:.0f} s of speech",
            "transformers' `Trainer`, bfloat16, as its example sets it up",
            ratio(times[way], times["pipeline"]),
            AT_LEAST,
            facts={
                **audio_facts(times[way], times["pipeline"], sample.total),
                "gigabytes": trained.gigabytes[way],
                "losses": trained.losses[way],
                "stock_losses": trained.losses["stock"],
            },
        )
        for way in WAYS
    ]


def network(preset: str, sample: Sample, device: str, rounds: int) -> Sequence[Row]:
    """Of a network of ours, embedding: compiled against as it is."""
    files = {str(path): path for path in sample.files}
    torch.manual_seed(0)
    models = {way: HfSpeechModel(HfSpeechConfig(preset=preset)) for way in WAYS}
    models["compiled"].compile(dynamic=True)
    extractor = models["as it is"].make_feature_extractor()
    ways: dict[str, Any] = {}
    for way, model in models.items():
        model.to(device).eval()
        ways[way] = lambda model=model: embed_files(model, extractor, files, dtype="bfloat16")
    _forget_peak(device)
    times = by_turns(ways, rounds)
    return [
        Row(
            f"{preset}, embedding, compiled",
            f"embedding {sample.total:.0f} s of speech, {preset}, bfloat16, compiled",
            "the same as it is",
            ratio(times["compiled"], times["as it is"]),
            AT_LEAST,
            facts={
                **audio_facts(times["compiled"], times["as it is"], sample.total),
                "gigabytes_of_all_ways": _peak(device),
            },
        )
    ]


def _forget_peak(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _peak(device: str) -> float | None:
    """The most memory in use on the GPU, GB."""
    return torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None
