"""Embedding files with an encoder of base size, against the pipeline of transformers with the same weights.

    python -m benchmarks encoder        # a quarter of an hour

The stock pipeline gets waveforms that are read with soundfile, one at a time and eight at a time, padded to the
longest; ours gets the files. Ours answers in float32 and bfloat16, by the last layer and by the sixth of twelve. All
ways run by turns over the same recordings. Both compute the same: the stock model's classifier gives the scores of the
pipeline from our embeddings, and means of the sixth layer's frames are those of the stock encoder. For comparison the
pipeline also runs in bfloat16, and with six layers of the model, as transformers loads it if it is told to.
Beside them runs a product of matrices, whose rate is what the machine can do: the operations of a pass over the samples
that are real, over its time, as a share of that rate.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from transformers import (
    AutoModelForAudioClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    Wav2Vec2Model,
    pipeline,
)

from hf_speech import HfSpeechModel, from_stock
from hf_speech.verification.embeddings import embed_files

from .machine import SIDE, operations, parts, product
from .rows import Row, audio_facts
from .sample import Sample
from .turns import Way, by_turns, fastest, ratio

ROUNDS, LABELS = 3, 7
DTYPES = ("float32", "bfloat16")
AT_LEAST = {("last", "float32"): 1.1, ("last", "bfloat16"): 3.0, ("6", "float32"): 1.5, ("6", "bfloat16"): 4.5}
COSINE, SCORES, FRAMES, SHARE = 0.999, 1e-6, 1e-4, 0.9
PRODUCTS = 20  # in a row, some seconds
BATCH_SECONDS = 15.0  # with padding and the last recording no more than a batch on a CPU


def read(files: Sequence[Path]) -> list[NDArray]:
    """Waveforms, as a user of the pipeline reads them."""
    return [soundfile.read(path, dtype="float32")[0] for path in files]


class Compared:
    """The pipeline and our models of the same weights, over a sample.

    Args:
        sample: the recordings.
        config: of the encoder.
        folder: for the checkpoint.

    Attributes:
        found: (layer, dtype) -> the embeddings that were made last.
        names: (layer, dtype) -> the name of that way.
        others: the names of those of the pipelines: of a batch of 1 and of 8; in other forms, for comparison.
    """

    def __init__(self, sample: Sample, config: Wav2Vec2Config, folder: str) -> None:
        self.sample, self.files = sample, {str(path): path for path in sample.files}
        Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
        self.extractor = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)
        self.extractor.save_pretrained(folder)
        self.stock = AutoModelForAudioClassification.from_pretrained(folder).eval()
        self.half = config.num_hidden_layers // 2
        shorter = AutoModelForAudioClassification.from_pretrained(folder, num_hidden_layers=self.half).eval()
        self.pipelines = {
            "pipeline": self._pipeline(self.stock),
            "of half the layers": self._pipeline(shorter),
            "in bfloat16": self._pipeline(
                AutoModelForAudioClassification.from_pretrained(folder, dtype=torch.bfloat16).eval()
            ),
        }
        self.models = {
            "last": from_stock(folder).eval(),
            str(self.half): HfSpeechModel.from_backbone(folder, layer=self.half, pooling="mean").eval(),
        }
        self.found: dict[tuple[str, str], NDArray] = {}
        self.others = ["pipeline of 1", "pipeline of 8", "of half the layers", "in bfloat16"]
        self.names = {(layer, dtype): f"layer {layer}, {dtype}" for layer in self.models for dtype in DTYPES}

    def _pipeline(self, model: Any) -> Any:
        return pipeline("audio-classification", model=model, feature_extractor=self.extractor, device="cpu")

    def piped(self, batch: int, name: str = "pipeline") -> list[Any]:
        """What a pipeline says of all."""
        return self.pipelines[name](read(self.sample.files), batch_size=batch, top_k=None)

    def embed(self, layer: str, dtype: str) -> None:
        """Our embeddings of all."""
        self.found[layer, dtype] = embed_files(self.models[layer], self.extractor, self.files, dtype=dtype).vectors

    def ways(self) -> dict[str, Way]:
        """All that are timed."""
        ways: dict[str, Way] = {"pipeline of 1": lambda: self.piped(1), "pipeline of 8": lambda: self.piped(8)}
        ways |= {name: lambda name=name: self.piped(1, name) for name in self.others[2:]}
        return ways | {name: lambda key=key: self.embed(*key) for key, name in self.names.items()}

    def one_batch(self) -> None:
        """Our embeddings in float32 of as many recordings as one batch holds."""
        few = {str(path): path for path in self.sample.first(BATCH_SECONDS).files}
        embed_files(self.models["last"], self.extractor, few)

    def checked(self) -> dict[tuple[str, str], str]:
        """(layer, dtype) -> what both compute the same, in words.

        Raises:
            SystemExit: they do not.
        """
        apart = _scores_apart(self.stock, self.found["last", "float32"], self.piped(1))
        if apart > SCORES:
            raise SystemExit(f"the scores of the pipeline and of our embeddings differ by {apart:.1e}")
        inner = self._means_apart(self.found[str(self.half), "float32"])
        if inner > FRAMES:
            raise SystemExit(f"the means of layer {self.half} differ by {inner:.1e}")
        words = {}
        for layer, dtype in self.names:
            cosine = lowest_cosine(self.found[layer, dtype], self.found[layer, "float32"])
            if cosine < COSINE:
                raise SystemExit(f"{self.names[layer, dtype]}: the cosine to float32 is {cosine}")
            exact = f"scores within {apart:.1e}" if layer == "last" else f"mean frames within {inner:.1e}"
            words[layer, dtype] = exact if dtype == "float32" else f"cosine to float32 {cosine:.5f}"
        return words

    @torch.no_grad()
    def _means_apart(self, pooled: NDArray) -> float:
        """The largest difference between the stock encoder's mean frames of the inner layer and those of ours."""
        frames = (
            self.stock.base_model(torch.from_numpy(wave)[None], output_hidden_states=True).hidden_states[self.half]
            for wave in read(self.sample.files)
        )
        return max(float(np.abs(one[0].mean(0).numpy() - ours).max()) for one, ours in zip(frames, pooled, strict=True))


def rows(sample: Sample, rounds: int = ROUNDS, config: Wav2Vec2Config | None = None) -> list[Row]:
    """All rows of this file.

    Args:
        sample: the recordings.
        rounds: how often each way is timed.
        config: of the encoder; None: base size.
    """
    torch.manual_seed(0)
    config = config or Wav2Vec2Config()
    config.num_labels = LABELS
    multiplied = product(SIDE["cpu"], torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        compared = Compared(sample, config, folder)
        products: dict[str, Way] = {"product": lambda: [multiplied() for _ in range(PRODUCTS)]}
        times = by_turns(compared.ways() | products, rounds)
        same = compared.checked()
        spent = parts(compared.one_batch)
    best = fastest(times, "pipeline")
    made = [
        Row(
            f"embedding, {name}",
            f"embedding {sample.total:.0f} s of speech, wav2vec2 of base size, {dtype}, "
            + ("last layer" if layer == "last" else f"layer {layer} of {config.num_hidden_layers}"),
            f"transformers' `pipeline` (float32, all layers, {best.removeprefix('pipeline of ')} at a time)",
            ratio(times[name], times[best]),
            AT_LEAST["last" if layer == "last" else "6", dtype],
            same=same[layer, dtype],
            facts={
                **audio_facts(times[name], {way: times[way] for way in compared.others}, sample.total),
                **{f"against_pipeline_{way}": ratio(times[name], times[way]).median for way in compared.others[2:]},
            },
        )
        for (layer, dtype), name in compared.names.items()
    ]
    with torch.device("meta"):
        bare = Wav2Vec2Model._from_config(config, attn_implementation="eager").eval()
    work = operations(bare, sample.seconds)
    share = ratio(times["layer last, float32"], times["product"], work / (2 * SIDE["cpu"] ** 3 * PRODUCTS))
    return [
        *made,
        Row(
            "share of the machine",
            "operations a second of that encoder, float32, files being read",
            "a product of matrices, 2048 x 2048, float32",
            share,
            SHARE,
            facts={"operations": work, "product_seconds": times["product"], "where_the_time_goes": spent},
        ),
    ]


@torch.no_grad()
def _scores_apart(stock: Any, pooled: NDArray, answers: Sequence[Any]) -> float:
    """The largest difference between the pipeline's scores and those of our embeddings."""
    ours = stock.classifier(stock.projector(torch.from_numpy(pooled))).softmax(-1).numpy()
    names = [stock.config.id2label[i] for i in range(LABELS)]
    theirs = np.array([[{one["label"]: one["score"] for one in said}[name] for name in names] for said in answers])
    return float(np.abs(ours - theirs).max())


def lowest_cosine(some: NDArray, others: NDArray) -> float:
    """Of the vectors of two (N, E), row by row."""
    norms = np.linalg.norm(some, axis=1) * np.linalg.norm(others, axis=1)
    return float(((some * others).sum(1) / norms).min())
