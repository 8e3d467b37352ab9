"""What the original systems were trained with, transcribed from their papers and code by hand: no recipe is read here.

Each table holds what a recipe is held against; where the recipe differs on purpose, its deviations say so by the same
key. Sizes are those of the real encoders. Keys:

    peak, curve      learning rate: the highest, and {share of the run: rate}
    optimizer        betas, epsilon, weight decay, and the norm that gradients are clipped to (0: not at all)
    penalty          where the weight decay stands
    precision        of the arithmetic
    batch            rows x accumulation
    length           steps or epochs
    crop             seconds; None: whole utterances
    frozen           {step: frozen parts of the encoder}, of a run of so many steps, or of 1,000 where epochs count
    dropouts, masks  of the encoder's layers in training; masks are share, length and fewest of them
    head_dropouts    beside the encoder, by the place where they are
    loss, frames, pooling, embedding, head    name, options and sizes
    selection        metric, whether the highest is taken, validations without gain that end the run
    rate_falls       of a plateau: factor, validations without gain
"""

from typing import Any

CNN, PROJECTION, MASK = {"feature_extractor"}, {"feature_projection"}, {"masked_spec_embed"}
POSITIONS, NORM = {"pos_conv_embed"}, {"layer_norm"}


def layers(first: int, last: int) -> set[str]:
    """Names of transformer layers, counted from 0; the last one is left out."""
    return {f"layers.{i}" for i in range(first, last)}


def whole(depth: int) -> set[str]:
    """All parts of a wav2vec 2.0 encoder with so many layers."""
    return CNN | PROJECTION | MASK | POSITIONS | NORM | layers(0, depth)


ADAM = {"betas": (0.9, 0.999), "epsilon": 1e-8, "weight_decay": 0.0, "clip": 0.0}


# --- few-samples: 2203.14688 and its code ----------------------------------------------------------------------------


def _cyclic(peak: float) -> dict[float, float]:
    """triangular2 with 4 cycles: up for an eighth of the run, down for an eighth, to half the height each time."""
    base = 1e-8
    return {
        0.0: base,
        0.0625: base + (peak - base) / 2,
        0.125: peak,
        0.25: base,
        0.375: base + (peak - base) / 2,
        0.625: base + (peak - base) / 4,
        0.875: base + (peak - base) / 8,
    }


def _few_samples(peak: float, **of_the_network: Any) -> dict[str, Any]:
    return {
        "peak": peak,
        "curve": _cyclic(peak),
        "optimizer": ADAM,
        "precision": "fp16",
        "batch": (100, 1),
        "length": {"steps": 50_000},
        "crop": 2.0,
        "loss": {"name": "aam_softmax", "margin": 0.2, "scale": 30.0, "easy_margin": False},
        "selection": {"metric": "eer", "highest": False, "patience": None},
        **of_the_network,
    }


_SPEC_AUGMENT = {"time_masks": (5, 10), "time_width": 10, "band_masks": (1, 3), "band_width": 4}


def _x_vector(peak: float) -> dict[str, Any]:
    return _few_samples(
        peak, frames={"mfcc": 80, "size": 1500}, masks=_SPEC_AUGMENT, pooling="MeanStdPooling", embedding=512,
        frozen={0: set(), 49_999: set()},
    )  # fmt: skip


def _ecapa(peak: float) -> dict[str, Any]:
    return _few_samples(
        peak, frames={"mfcc": 80, "size": 1536}, masks=_SPEC_AUGMENT, pooling="AttentivePooling", embedding=192,
        frozen={0: set(), 49_999: set()},
    )  # fmt: skip


def _wav2vec2(peak: float) -> dict[str, Any]:
    return _few_samples(
        peak,
        frozen={0: whole(12), 12_499: whole(12), 12_500: CNN, 49_999: CNN},
        dropouts={"activation": 0.1, "attention": 0.1, "feat_proj": 0.1, "hidden": 0.1, "layerdrop": 0.1},
        masks={"time": (0.5, 10), "feature": (0.1, 64)},
        head_dropouts={"embedding": 0.05},
        frames={"size": 768},
        pooling="MeanPooling",
        embedding=768,
    )


ORIGINALS: dict[str, dict[str, Any]] = {
    "x-vector-voxceleb-full": _x_vector(3.16e-3),
    "x-vector-voxceleb-tiny-few": _x_vector(1.78e-2),
    "x-vector-voxceleb-tiny-many-high": _x_vector(1.78e-3),
    "x-vector-voxceleb-tiny-many-low": _x_vector(1.00e-4),
    "ecapa-voxceleb-full": _ecapa(5.62e-3),
    "ecapa-voxceleb-tiny-few": _ecapa(1.78e-2),
    "ecapa-voxceleb-tiny-many-high": _ecapa(5.62e-3),
    "ecapa-voxceleb-tiny-many-low": _ecapa(5.62e-3),
    "wav2vec2-voxceleb-full": _wav2vec2(1.78e-4),
    "wav2vec2-voxceleb-tiny-few": _wav2vec2(5.62e-6),
    "wav2vec2-voxceleb-tiny-many-high": _wav2vec2(1.78e-4),
    "wav2vec2-voxceleb-tiny-many-low": _wav2vec2(1.78e-4),
}

# 2109.15053: torch's one-cycle, up for 30 % by a cosine from max / 25, down to a 10,000th of the start.
ORIGINALS["wav2vec2-voxceleb-aam"] = {
    "peak": 5e-5,
    "curve": {0.0: 2e-6, 0.15: 2.6e-5, 0.3: 5e-5, 0.65: 2.5e-5, 1.0: 2e-10},
    "optimizer": ADAM,
    "precision": "fp16",
    "batch": (66, 1),
    "length": {"steps": 100_000},
    "crop": 3.0,
    "frozen": {0: CNN, 99_999: CNN},
    "dropouts": {"attention": 0.1, "feat_proj": 0.1, "hidden": 0.1, "layerdrop": 0.05},
    "masks": {"time": (0.05, 10)},
    "loss": {"name": "aam_softmax", "margin": 0.2, "scale": 30.0},
    "frames": {"size": 768},
    "pooling": "ClassTokenPooling",
    "embedding": 768,
    "selection": {"metric": "eer", "highest": False, "patience": None},
}

# --- double attention: 2007.13199, its code, and the fork for age ----------------------------------------------------

_DMHA: dict[str, Any] = {
    "peak": 1e-4,
    "curve": dict.fromkeys((0.0, 0.25, 0.5, 0.75, 1.0), 1e-4),  # before the first plateau
    "optimizer": {**ADAM, "weight_decay": 1e-3},
    "penalty": "in the gradient",
    "precision": "fp32",
    "batch": (64, 2),
    "crop": 3.5,
    "frozen": {0: set(), 999: set()},
    "pooling": "DoubleMultiHeadPooling",
    "heads": 32,
    "embedding": 400,
    "loss": {"name": "am_softmax", "margin": 0.4, "scale": 30.0},
}
ORIGINALS["vgg-dmha-voxceleb"] = {
    **_DMHA,
    "frames": {"log-mel": 80, "size": 5120, "stride": 16},
    "length": {"epochs": 100},
    "head_dropouts": {"heads": 0.0, "projection": 0.0},
    "selection": {"metric": "eer", "highest": False, "patience": 25},
    "rate_falls": {"factor": 0.5, "after": 15},
}
ORIGINALS["vgg-dmha-age"] = {
    **_DMHA,
    "frames": {"log-mel": 80, "size": 512, "stride": None},  # None: all frames averaged to one
    "length": {"epochs": 250},
    "head_dropouts": {"heads": 1 / 3, "projection": 0.5},
    "class_weights": "1 - n / N",
    "selection": {"metric": "macro_f1", "highest": True, "patience": 10},
    "rate_falls": {"factor": 0.5, "after": 14},
}

# --- V-FT: 2110.06309 and its code -----------------------------------------------------------------------------------

ORIGINALS["wav2vec2-iemocap-vft"] = {
    "peak": 1e-4,
    "curve": dict.fromkeys((0.0, 0.25, 0.5, 0.75, 1.0), 1e-4),
    "optimizer": ADAM,
    "precision": "fp16",
    "batch": (64, 1),
    "length": {"epochs": 15},
    "crop": 10.0,
    "frozen": {0: CNN | PROJECTION | MASK, 999: CNN | PROJECTION | MASK},
    "masks": {"time": (0.08, 15), "feature": (0.05, 64), "fewest": (2, 1)},
    "frames": {"size": 768},
    "neck": "ReluNeck",
    "pooling": "MeanPooling",
    "embedding": 768,
    "head": {"linear": (4, 768)},
    "loss": {"name": "cross_entropy"},
    "class_weights": "N / n",
    "selection": {"metric": None, "highest": None, "patience": None},  # the last epoch
}

# The others differ in what the encoder has learnt before: TAPT_STAGES and P_TAPT_STAGES.
ORIGINALS["wav2vec2-iemocap-tapt"] = ORIGINALS["wav2vec2-iemocap-vft"]
ORIGINALS["wav2vec2-iemocap-ptapt"] = ORIGINALS["wav2vec2-iemocap-vft"]

# --- AISHELL-4 -------------------------------------------------------------------------------------------------------

_AISHELL4: dict[str, Any] = {
    "precision": "fp32",
    "optimizer": {**ADAM, "weight_decay": 0.01},
    "length": {"epochs": 40},
    "crop": None,
    "loss": {"name": "cross_entropy"},
    "selection": {"metric": "accuracy", "highest": True, "patience": None},
    "frames": {"size": 1024},
}


def _stairs(peak: float) -> dict[float, float]:
    """A factor of 0.95 every 3 of 40 epochs; in the middle of the epochs 1, 4, 10, 20 and 40."""
    return {(epoch - 0.5) / 40: peak * 0.95 ** ((epoch - 1) // 3) for epoch in (1, 4, 10, 20, 40)}


ORIGINALS["wav2vec2-aishell4-frozen"] = {
    **_AISHELL4,
    "peak": 1e-4,
    "curve": _stairs(1e-4),
    "batch": (8, 1),
    "frozen": {0: CNN, 999: CNN},
    "pooling": "MeanPooling",
    "embedding": 1024,
    "head": {"linear": (207, 1024)},
}
ORIGINALS["wav2vec2-aishell4-meeting"] = {
    **_AISHELL4,
    "peak": 3e-5,
    "curve": _stairs(3e-5),
    "batch": (2, 1),
    "frozen": {0: CNN | layers(0, 8), 999: CNN | layers(0, 8)},
    "pooling": "MeanStdPooling",
    "embedding": 2048,
    "head": {"linear": (512, 2048), "norm": None, "dropout": 0.3, "last": (7, 512)},
}

# --- age -------------------------------------------------------------------------------------------------------------

_PEAK = 5.0 * 256**-0.5 * 25_000**-0.5  # ESPnet's "noam" with transformer-lr 5, d_model 256 and 25,000 steps


def _age(warmup: float, **of_the_layer: Any) -> dict[str, Any]:
    """`warmup`: share of the run that 25,000 steps are."""
    after = {factor: _PEAK * factor**-0.5 for factor in (1.0, 2.0, 3.0)}
    return {
        "peak": _PEAK,
        "curve": {0.0: 0.0, warmup / 2: _PEAK / 2} | {warmup * factor: rate for factor, rate in after.items()},
        "optimizer": {"betas": (0.9, 0.98), "epsilon": 1e-9, "weight_decay": 0.0, "clip": 5.0},
        "precision": "fp32",
        "batch": (32, 8),
        "length": {"epochs": 50},
        "crop": None,
        "frames": {"size": 768},
        "feature_norm": "mean and variance of the training set",
        "neck": "TransformerNeck",
        "neck_sizes": {"layers": 6, "size": 256, "heads": 4, "feedforward": 2048, "dropout": 0.1},
        "pooling": "MeanStdPooling",
        "embedding": 512,
        "head": {"linear": (1, 512)},
        "loss": {"name": "root of the mean squared error"},
        "selection": {"metric": "mean of the 5 last or best", "highest": None, "patience": None},
        **of_the_layer,
    }


ORIGINALS["wav2vec2-age-sre-layer7"] = _age(0.3, layer=7, frozen={0: whole(7), 999: whole(7)})
ORIGINALS["wav2vec2-age-sre-layer9"] = _age(0.1, layer=9, speeds=(0.9, 1.0, 1.1), frozen={0: whole(9), 999: whole(9)})

# --- what was published ----------------------------------------------------------------------------------------------

OURS = {"wavlm-lora-voxceleb", "wavlm-lora-voxceleb-large-margin", "wav2vec2-emotion-age-gender"}

# Recipe -> its numbers, in their order: (metric, value, what the name of the data begins with).
PUBLISHED: dict[str, list[tuple[str, float, str]]] = {name: [] for name in OURS}
# EER on VoxCeleb1-O after 50,000 steps, and on VoxCeleb1-H after 25,000, 50,000, 100,000 and 400,000.
_EER = {
    "x-vector-voxceleb-full": (6.30, 16.30, 11.21, 7.21, 5.01),
    "x-vector-voxceleb-tiny-few": (12.91, 18.93, 18.02, 18.00, 18.04),
    "x-vector-voxceleb-tiny-many-high": (9.75, 18.00, 16.05, 13.53, 10.58),
    "x-vector-voxceleb-tiny-many-low": (21.70, 28.46, 27.23, 26.29, 24.00),
    "ecapa-voxceleb-full": (2.91, 6.80, 5.46, 4.61, 3.93),
    "ecapa-voxceleb-tiny-few": (12.19, 18.27, 17.59, 17.48, 16.95),
    "ecapa-voxceleb-tiny-many-high": (6.04, 11.51, 9.78, 9.12, 9.36),
    "ecapa-voxceleb-tiny-many-low": (15.97, 22.67, 21.25, 20.58, 19.52),
    "wav2vec2-voxceleb-full": (2.40, 7.76, 4.66, 4.20, 5.90),
    "wav2vec2-voxceleb-tiny-few": (7.46, 22.48, 15.19, 15.60, 18.50),
    "wav2vec2-voxceleb-tiny-many-high": (3.60, 10.41, 6.72, 7.66, 7.93),
    "wav2vec2-voxceleb-tiny-many-low": (15.72, 23.78, 21.88, 22.08, 23.31),
}
for _name, (_original, *_hard) in _EER.items():
    PUBLISHED[_name] = [("eer", _original, "VoxCeleb1, original"), *(("eer", v, "VoxCeleb1, hard") for v in _hard)]
PUBLISHED["wav2vec2-voxceleb-aam"] = [("eer", 1.88, "VoxCeleb1, extended"), ("eer", 1.97, "VoxCeleb1, extended")]
PUBLISHED["vgg-dmha-voxceleb"] = [
    ("eer", 3.23, "VoxCeleb1, original"), ("eer", 3.18, "VoxCeleb1, extended"), ("eer", 4.61, "VoxCeleb1, hard"),
    ("min_dcf", 0.0028, "VoxCeleb1, original"), ("min_dcf", 0.0026, "VoxCeleb1, extended"),
    ("min_dcf", 0.0036, "VoxCeleb1, hard"),
]  # fmt: skip
for _method, _mean, _sessions in (
    ("vft", 69.9, (71.0, 76.2, 66.3, 68.7, 67.3)),
    ("tapt", 73.5, (71.8, 79.6, 70.2, 73.2, 72.5)),
    ("ptapt", 74.3, (72.8, 80.2, 71.0, 73.6, 73.7)),
):
    PUBLISHED[f"wav2vec2-iemocap-{_method}"] = [
        *(("uar", value, f"IEMOCAP, four classes, session {i}") for i, value in enumerate(_sessions, start=1)),
        ("uar", _mean, "IEMOCAP, four classes, mean"),
    ]
for _name in ("vgg-dmha-age", "wav2vec2-aishell4-frozen", "wav2vec2-aishell4-meeting"):
    PUBLISHED[_name] = []
PUBLISHED |= {"wav2vec2-age-sre-layer7": [], "wav2vec2-age-sre-layer9": []}

# Network and subset -> the seeds of the published commands.
SEEDS = {
    "x-vector-voxceleb-tiny-few": (7348, 12935, 6622),
    "x-vector-voxceleb-tiny-many-high": (32188, 60801, 73677),
    "x-vector-voxceleb-tiny-many-low": (30921, 90124, 70956),
    "x-vector-voxceleb-full": (51412, 38396, 11558),
    "ecapa-voxceleb-tiny-few": (87510, 83832, 49529),
    "ecapa-voxceleb-tiny-many-high": (89540, 80774, 47997),
    "ecapa-voxceleb-tiny-many-low": (54190, 54160, 86823),
    "ecapa-voxceleb-full": (69317, 43142, 8754),
    "wav2vec2-voxceleb-tiny-few": (62204, 20427, 456),
    "wav2vec2-voxceleb-tiny-many-high": (73232, 95015, 69018),
    "wav2vec2-voxceleb-tiny-many-low": (45979, 43354, 68179),
    "wav2vec2-voxceleb-full": (69317, 43142, 8754),
}
