"""Audio classifiers that are not ours: whose code they need, what they predict, how they are asked.

Of such a model nothing is taken for granted but that its feature extractor makes of one waveform what the model takes,
as transformers' own `pipeline("audio-classification")` has it: samples (wav2vec 2.0 and its kin), filter banks of a
fixed length (AST, Whisper) or of the waveform's (w2v-BERT).
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors import SafetensorError
from transformers import (
    ASTFeatureExtractor,
    PretrainedConfig,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from transformers.feature_extraction_utils import FeatureExtractionMixin

from .errors import InputError, lookup, one_line
from .models.frames import receptive_field
from .models.tasks import DEFAULT_LOSSES, Task
from .names import refuse_missing_folder

logger = logging.getLogger(__name__)

_UNLOADABLE = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)
# What a classifier is loaded by; code for any other use of a checkpoint is never run here.
_LOADED_BY = {"AutoConfig", "AutoFeatureExtractor", "AutoModelForAudioClassification", "AutoModelForAudioXVector"}
_GIVE = "give a finished model's folder, or a name on the Hub"
_FBANK_WINDOW, _FBANK_HOP = 400, 160  # samples, of w2v-BERT's filter banks: 25 ms and 10 ms at 16 kHz


def brings_code(name: str, revision: str | None = None) -> bool:
    """Whether a model in a folder or on the Hub is to be loaded with code that lies beside its weights.

    Ours are not, since this package has their code.

    Raises:
        OSError: there is no such model, or it has no feature extractor.
    """
    config, _ = PretrainedConfig.get_config_dict(name, revision=revision)
    if config.get("model_type") == "hf_speech":
        return False
    extractor, _ = FeatureExtractionMixin.get_feature_extractor_dict(name, revision=revision)
    return not _LOADED_BY.isdisjoint({**(config.get("auto_map") or {}), **(extractor.get("auto_map") or {})})


@contextmanager
def named_if_unloadable(name: str, code: bool = False) -> Iterator[None]:
    """Makes an InputError of what shows within that a model can't be loaded.

    Args:
        name: of the model.
        code: whether it brings code of its own, which may fail in any way.
    """
    try:
        _refuse_other_things(name)
        yield
    except Exception as error:
        if isinstance(error, InputError) or (not code and not isinstance(error, _UNLOADABLE)):
            raise
        said = _reason(error) if code else one_line(error)
        mend = "tell who wrote its code" if code else _GIVE
        where = "" if Path(name).exists() else "is no folder here, and "
        raise InputError(f"{name}: {where}can't be loaded as an audio classifier ({said}); {mend}") from error


def _refuse_other_things(name: str) -> None:
    """Refuses what is plainly no model for torch, before anything is asked of the Hub."""
    refuse_missing_folder(name, _GIVE)
    place = Path(name)
    alone = place.is_dir() and any(place.glob("*.onnx")) and not (place / "config.json").exists()
    if alone or (place.suffix == ".onnx" and place.is_file()):
        raise InputError(
            f"{name}: holds an ONNX model, which `hf-speech predict --backend onnx` alone takes; give the model that "
            "it was exported from"
        )


def tasks_of_config(config: PretrainedConfig) -> tuple[Task, ...]:
    """The one task of a classifier; of a regression with several numbers, a task for each, by its label."""
    labels = tuple(str(config.id2label[i]) for i in range(config.num_labels))
    kind = config.problem_type or ("regression" if len(labels) == 1 else "single_label_classification")
    if kind == "regression" and len(labels) > 1:
        return tuple(Task(label, (label,), loss=DEFAULT_LOSSES[kind]) for label in labels)
    return (Task("label", labels, loss=lookup(DEFAULT_LOSSES, kind, "problem_type")),)


def is_x_vector(model: Any) -> bool:
    """Whether it is a stock x-vector, which gives embeddings: what it calls logits are no scores of its labels."""
    return type(model).__name__.endswith("ForXVector")


def check_labels(model: Any) -> None:
    """Refuses a model that says nothing of labels.

    Raises:
        InputError: it is a stock x-vector.
    """
    if is_x_vector(model):
        raise InputError(f"{type(model).__name__} gives embeddings and no labels: it is for `hf-speech verify`")


# --- what a feature extractor keeps ----------------------------------------------------------------------------------


def _of_ast(extractor: Any) -> float:
    # torchaudio's frames, a whole number of samples apart
    return extractor.max_length * int(0.01 * extractor.sampling_rate) / extractor.sampling_rate


def _of_whisper(extractor: Any) -> float:
    return extractor.n_samples / extractor.sampling_rate


def _everything(extractor: Any) -> float:
    return math.inf


# Feature extractor -> the longest waveform of which it drops nothing, in seconds.
WINDOWS: dict[type, Callable[[Any], float]] = {
    ASTFeatureExtractor: _of_ast,
    WhisperFeatureExtractor: _of_whisper,
    SeamlessM4TFeatureExtractor: _everything,
    Wav2Vec2FeatureExtractor: _everything,
}


def longest_heard(extractor: Any, seconds: float) -> float:
    """How long a waveform may be at most, so that its feature extractor drops nothing of it.

    Args:
        extractor: any; one that is not in `WINDOWS`, be it a class made of one that is, is tried out with noise of so
            many seconds, of half as many, ...
        seconds: that are wanted.

    Returns:
        So many seconds, or fewer.

    Raises:
        InputError: it does not even hear the end of a second.
    """
    known = WINDOWS.get(type(extractor))
    heard = seconds if known is None else min(seconds, known(extractor))
    while known is None and not _hears_the_end(extractor, heard):
        heard /= 2
        if heard < 1:
            raise InputError(f"{type(extractor).__name__} drops the end of {2 * heard:g} s; take another model")
    if heard < seconds:
        logger.info("%s hears %g s at once: longer utterances are cut into pieces", type(extractor).__name__, heard)
    return heard


def _hears_the_end(extractor: Any, seconds: float) -> bool:
    """Whether what is made of noise changes with the noise's last tenth.

    That is played backwards, so that means, deviations and peaks, by which all may be normalised, stay the same.
    """
    count = round(seconds * extractor.sampling_rate)
    noise = np.random.default_rng(0).normal(0, 0.1, count).astype(np.float32)
    other = np.concatenate([noise[: count - count // 10], noise[count - count // 10 :][::-1]])
    one, two = (features_of(extractor, waveform) for waveform in (noise, other))
    return any(not torch.allclose(one[name], two[name], rtol=1e-3, atol=1e-3) for name in one)


# --- the shortest waveform -------------------------------------------------------------------------------------------


def shortest_heard(model: Any, extractor: Any) -> int:
    """The fewest samples, at the extractor's rate, that give a model something to classify; 1 where nobody says.

    Args:
        model: any classifier of transformers, or with code of its own.
        extractor: its feature extractor.
    """
    config, frames = model.config, _frames_needed(model)
    kernels: Any = getattr(config, "conv_kernel", None)
    if isinstance(extractor, ASTFeatureExtractor):
        return int(0.025 * extractor.sampling_rate)
    if isinstance(extractor, SeamlessM4TFeatureExtractor):
        # Bands are normalised by their deviation, which takes two windows.
        return _FBANK_WINDOW + _FBANK_HOP * (max(frames * extractor.stride, 2) - 1)
    if isinstance(extractor, Wav2Vec2FeatureExtractor) and isinstance(kernels, Sequence):
        return receptive_field(kernels, config.conv_stride, frames)
    return 1


def _frames_needed(model: Any) -> int:
    """How many frames of its encoder a head, or what lies between, needs at least."""
    config = model.config
    if is_x_vector(model):
        # The deviation of what the time-delay layers make, which takes two frames of theirs.
        return receptive_field(
            [1 + (kernel - 1) * gap for kernel, gap in zip(config.tdnn_kernel, config.tdnn_dilation, strict=True)],
            [1] * len(config.tdnn_kernel),
            frames=2,
        )
    return getattr(config, "squeeze_factor", 1)  # SEW makes one frame of so many


# --- asking ----------------------------------------------------------------------------------------------------------


def features_of(extractor: Any, waveform: np.ndarray) -> dict[str, torch.Tensor]:
    """What a feature extractor makes of one waveform: (samples,) float32 at its rate -> named tensors (1, ...)."""
    return dict(extractor(waveform, sampling_rate=extractor.sampling_rate, return_tensors="pt"))


def ask(model: Any, extractor: Any, waveform: np.ndarray, what: str) -> Mapping[str, Any]:
    """What a classifier says of one waveform.

    Args:
        model: any classifier; numbers for it are made of its precision.
        extractor: its feature extractor.
        waveform: (samples,) float32 at the extractor's rate.
        what: the waveform's name, for messages.

    Returns:
        `logits` (1, C), or (1, any) of an x-vector; `task_logits` where there are several tasks, {task: (1, 1)}; and
        `embeddings` (1, E) where the model gives them.

    Raises:
        InputError: model and feature extractor do not go together, or what comes out are not C logits.
    """
    try:
        features = {name: tensor.to(model.device) for name, tensor in features_of(extractor, waveform).items()}
        outputs = model(**{name: t.to(model.dtype) if t.is_floating_point() else t for name, t in features.items()})
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        kinds = f"{type(model).__name__} with {type(extractor).__name__}"
        raise InputError(f"{what}: {kinds} fails on it ({_reason(error)}); check that they go together") from error
    said = outputs if isinstance(outputs, Mapping) else {}
    logits: Any = said.get("logits")
    tasks, shape = tasks_of_config(model.config), (1, model.config.num_labels)
    if not is_x_vector(model) and (not isinstance(logits, torch.Tensor) or logits.shape != shape):
        got = f"logits of shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else "no logits"
        raise InputError(f"{what}: {type(model).__name__} gives {got}, where a classifier gives {shape}; take another")
    columns = {task.name: logits[:, i : i + 1] for i, task in enumerate(tasks)} if len(tasks) > 1 else None
    return {"logits": logits, "task_logits": columns, "embeddings": said.get("embeddings")}


def _reason(error: Exception) -> str:
    """What went wrong in code that is not ours, in a line."""
    return f"{type(error).__name__} in transformers {transformers.__version__}: {one_line(error)}"
