"""Model + rows -> logits and embeddings of whole utterances: in training, evaluation and prediction alike."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tqdm import tqdm
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    AutoModelForAudioXVector,
    PreTrainedModel,
)
from transformers.feature_extraction_utils import FeatureExtractionMixin

from .audio import SAMPLE_RATE
from .data.checks import check_rows
from .data.chunks import Chunk, chunk_rows
from .data.collator import SpeechCollator
from .data.frozen import FROZEN, frames_batch, places_of
from .data.pieces import Pieces
from .data.recordings import rows_of_files
from .data.schema import file_name
from .data.speeds import speeds_in_names
from .errors import InputError
from .foreign import ask, brings_code, check_labels, longest_heard, named_if_unloadable, shortest_heard, tasks_of_config
from .label_map import LabelMap
from .memory import kept_memory
from .models.configuration import BACKBONES
from .models.embedding import evaluating
from .models.frames import length_batches
from .models.modeling import HfSpeechForSequenceClassification, HfSpeechPreTrainedModel
from .models.tasks import Task
from .outcome import MAX_SECONDS, Inference, answers, average_of_pieces, over_speeds, padded_seconds

logger = logging.getLogger(__name__)

Listener = Callable[[Sequence[int]], Mapping[str, Any]]  # numbers of pieces -> what a model says of them


def own_model(model: PreTrainedModel) -> PreTrainedModel:
    """The model itself, where an adapter of peft stands around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def tasks_of(model: PreTrainedModel) -> tuple[Task, ...]:
    """What a model predicts; of somebody else's classifier, its one task, or each number that it gives.

    Where speeds were trained as speakers of their own, the labels are the speakers. Labels of a model that was
    `relabel`led are called as its map says.
    """
    tasks, label_map = _own_tasks(model), label_map_of(model)
    if label_map is None:
        return tasks
    (task,) = tasks
    return (replace(task, labels=label_map.labels, class_weights=None, class_counts=None),)


def _own_tasks(model: PreTrainedModel) -> tuple[Task, ...]:
    model = own_model(model)
    if isinstance(model, HfSpeechForSequenceClassification):
        return tuple(_of_speakers(task) for task in model.tasks)
    return tasks_of_config(model.config)


def relabel(model: PreTrainedModel, label_map: LabelMap | None) -> None:
    """Has a model of one task speak of its labels by other names, from here on and in this process alone.

    Args:
        model: an audio classifier.
        label_map: its labels by those names; None: by its own.
    """
    own_model(model).label_map = label_map


def label_map_of(model: PreTrainedModel) -> LabelMap | None:
    """The names that a model was told to use, if any."""
    return getattr(own_model(model), "label_map", None)


def speeds_of(task: Task) -> int:
    """At how many speeds the task's classes have each speaker, as `data.augment.speed_class` numbers them."""
    return speeds_in_names(task.labels) if task.name == "speaker_id" else 1


def _of_speakers(task: Task) -> Task:
    count = len(task.labels) // speeds_of(task)
    if count == len(task.labels):
        return task
    return replace(task, labels=task.labels[:count], class_weights=None, class_counts=None)


def load_model(
    name: str | Path, revision: str | None = None, *, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, FeatureExtractionMixin]:
    """An audio classifier, ours or any that transformers loads, and its feature extractor, from a folder or the Hub.

    Args:
        name: the folder, or the name on the Hub.
        revision: branch, tag or commit on the Hub.
        trust_remote_code: whether code that lies beside the weights may be run. Models of ours never need it.

    Raises:
        InputError: there is no such model, or it is no finished audio classifier; or it brings code of its own that may
            not be run, or that fails.
    """
    where = str(name)
    with named_if_unloadable(where):
        code = brings_code(where, revision)
    if code and not trust_remote_code:
        raise InputError(f"{where}: brings code of its own; read it, then give --trust-remote-code to run it")
    source = {"revision": revision, "trust_remote_code": trust_remote_code}  # none would ask at the terminal
    with named_if_unloadable(where, code):
        config = AutoConfig.from_pretrained(where, **source)
        # A stock x-vector has a class of its own; ours are loaded as classifiers, whatever their head.
        stock = config.model_type != "hf_speech" and str((config.architectures or [""])[0]).endswith("ForXVector")
        kind = AutoModelForAudioXVector if stock else AutoModelForAudioClassification
        model, report = kind.from_pretrained(where, output_loading_info=True, **source)
        extractor = AutoFeatureExtractor.from_pretrained(where, **source)
        tasks_of(model)
    # transformers fills what is missing with random numbers; only the mask of training may be.
    absent = sorted(key for key in report["missing_keys"] if not key.endswith("masked_spec_embed"))
    if absent:
        mend = f"train one on it with `hf-speech train --backbone {where}`"
        raise InputError(
            f"{where}: is no finished classifier: it lacks {len(absent)} weights, such as {absent[0]}; "
            + (mend if config.model_type in BACKBONES else "give one that is finished")
        )
    if not isinstance(getattr(extractor, "sampling_rate", None), int):
        raise InputError(f"{where}: {type(extractor).__name__} is not made for audio; give another model")
    return model.eval(), extractor


@torch.no_grad()  # not inference mode: what a model caches here may be met again in training
def infer(
    model: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    rows: Dataset,
    *,
    max_seconds: float = MAX_SECONDS,
    batch_seconds: float | None = None,
    channel: int | str = "mean",
    description: str | None = None,
) -> Inference:
    """Runs a model over whole utterances, in the order of the rows.

    Utterances of like length share a batch. One longer than `max_seconds` is cut into pieces of nearly equal length,
    and the pieces' logits and embeddings are averaged, weighted by their length.

    Args:
        model: an audio classifier; its mode (training or not), part by part, is the same afterwards.
        feature_extractor: the model's.
        rows: N rows with `audio` and `length`, as `check_rows` gives them; those with the column `FROZEN` are for a
            model whose encoder was run once, and their audio is not read.
        max_seconds: the longest piece, seconds; where a feature extractor drops the end of such a one, what it keeps.
        batch_seconds: padded seconds in a batch; None: see `outcome.padded_seconds`. A model that is not ours, whose
            numbers may depend on padding, gets one utterance at a time, as its feature extractor makes it.
        channel: of multi-channel files; the column `channel` of a row stands above it.
        description: words beside the progress bar (shown on a terminal only); None: no bar.
    """
    pieces = chunk_rows(rows, max_seconds if _is_ours(model) else longest_heard(feature_extractor, max_seconds))
    owners = np.array([piece.row for piece in pieces])
    lengths = np.array([piece.length for piece in pieces], dtype=np.float64)
    longer = gains_by_length(model, torch.is_autocast_enabled(model.device.type))
    seconds = padded_seconds(batch_seconds, model.device, longer)
    batches = length_batches(lengths.tolist(), seconds * SAMPLE_RATE if _is_ours(model) else 0.0)
    listen = _listener(model, feature_extractor, rows, pieces, channel)
    collected: dict[str, np.ndarray] = {}
    with evaluating(model), kept_memory(model.device) if len(batches) > 1 else nullcontext():
        for batch in tqdm(batches, desc=description, disable=None if description else True, leave=False):
            for name, tensor in _named(listen(batch)).items():
                values = tensor.float().cpu().numpy()
                collected.setdefault(name, np.zeros((len(pieces), values.shape[1]), np.float32))[batch] = values
    tasks, label_map = _own_tasks(model), label_map_of(model)
    said = {task.name: collected.pop(f"logits/{task.name}", collected["logits"]) for task in tasks}
    if _is_ours(model):
        said = {task.name: over_speeds(said[task.name], len(task.labels)) for task in tasks}

    def averaged(values: np.ndarray) -> np.ndarray:
        return average_of_pieces(values, owners, lengths, len(rows))

    logits = {name: averaged(values) for name, values in said.items()}
    if label_map is not None:
        logits = {name: label_map.merged(values) for name, values in logits.items()}
    scores = tuple(averaged(collected[f"scores/{i}"]) for i in range(len(logits))) if "scores/0" in collected else None
    embeddings = averaged(collected["embeddings"]) if "embeddings" in collected else None
    return Inference(logits, scores, embeddings)


def _listener(
    model: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    rows: Dataset,
    pieces: Sequence[Chunk],
    channel: int | str,
) -> Listener:
    """What asks a model about pieces of rows: their audio, or what a frozen encoder has said of it."""

    def run(tensors: Mapping[str, torch.Tensor]) -> Mapping[str, Any]:
        return model(**{name: tensor.to(model.device) for name, tensor in tensors.items()})

    if FROZEN in rows.column_names:
        places = places_of(rows, pieces)
        return lambda batch: run(frames_batch([places[i] for i in batch]))
    collate = SpeechCollator(feature_extractor, channel=channel, min_samples=shortest(model, feature_extractor))
    inputs = rows.select_columns([name for name in ("audio", "channel") if name in rows.column_names])

    cut = Pieces([(inputs, piece) for piece in pieces])

    def ask_about(batch: Sequence[int]) -> Mapping[str, Any]:
        (place,) = batch
        piece = cut[place]
        return ask(model, feature_extractor, collate.waveform(piece), file_name(piece["audio"]))

    return (lambda batch: run(collate([cut[i] for i in batch]))) if _is_ours(model) else ask_about


def _is_ours(model: PreTrainedModel) -> bool:
    return isinstance(own_model(model), HfSpeechPreTrainedModel)


def gains_by_length(model: PreTrainedModel, half: bool) -> bool:
    """Whether longer batches are faster on a CPU too: those of a transformer of ours that computes in 16 bits."""
    return half and _is_ours(model) and own_model(model).encoder.depth > 0


def _named(outputs: Any) -> dict[str, torch.Tensor]:
    """Everything of an output that is a row an utterance: logits, those of each task, scores, embeddings."""
    tensors = {name: outputs.get(name) for name in ("logits", "embeddings")}
    tensors |= {f"logits/{name}": values for name, values in (outputs.get("task_logits") or {}).items()}
    tensors |= {f"scores/{i}": values for i, values in enumerate(outputs.get("scores") or ())}
    return {name: values for name, values in tensors.items() if values is not None}


def predict(
    model: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    files: Sequence[str | Path],
    *,
    channel: int | str = "mean",
    on_bad: str = "raise",
) -> list[dict[str, Any]]:
    """Labels with scores, or for regression values, of audio files.

    Args:
        model: an audio classifier.
        feature_extractor: the model's.
        files: audio files, and folders of them.
        channel: of multi-channel files.
        on_bad: "raise" at files that can't be used, or "skip" them with a warning that names each.

    Returns:
        A table a file, in order: `file`, and the fields of `describe`; those of a model with several tasks are of its
        first one, and `tasks` {name: fields} has all.

    Raises:
        InputError: files are missing, broken, or too short for the model.
    """
    rows, outcome = hear(model, feature_extractor, files, channel=channel, on_bad=on_bad)
    return predictions(model, rows, outcome)


def hear(
    model: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    files: Sequence[str | Path],
    *,
    channel: int | str = "mean",
    on_bad: str = "raise",
) -> tuple[Dataset, Inference]:
    """The files that can be used, as rows with `path`, `length` and `duration`, and what the model says of them.

    See `predict` for the arguments.
    """
    check_labels(model)
    rows = rows_of_files(files)
    least = shortest_seconds(model, feature_extractor)
    rows, _ = check_rows(rows, how="full", on_bad=on_bad, min_duration=least, channel=channel)
    return rows, infer(model, feature_extractor, rows, channel=channel, description="predicting")


def predictions(model: PreTrainedModel, rows: Dataset, outcome: Inference) -> list[dict[str, Any]]:
    """What `predict` gives, of what `hear` gave."""
    return answers(tasks_of(model), rows["path"], outcome)


def shortest(model: PreTrainedModel, feature_extractor: FeatureExtractionMixin) -> int:
    """The shortest waveform that a model takes, in samples at the rate of its feature extractor."""
    whole = own_model(model)
    return whole.encoder.min_samples if _is_ours(model) else shortest_heard(whole, feature_extractor)


def shortest_seconds(model: PreTrainedModel, feature_extractor: FeatureExtractionMixin) -> float:
    """The same in seconds."""
    return shortest(model, feature_extractor) / int(feature_extractor.sampling_rate)
