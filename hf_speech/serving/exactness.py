"""Whether an ONNX file says what torch says: noise and real speech of 0.5 to 20 s, alone and padded in a batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..audio import read_audio
from ..errors import InputError
from ..foreign import ask, features_of, is_x_vector
from ..outcome import over_speeds, predicted_classes
from ..samples import sample_files
from .facts import Facts, ServedTask
from .graph import ServedModel
from .session import OnnxClassifier, batch_of

LIMIT = 1e-4  # of an output whose numbers are of order 1; of larger ones, of the largest: float32 has relative steps
SECONDS = (0.5, 1.3, 3.1, 7.7, 20.0)
Said = dict[str, NDArray]  # output -> (...) of one utterance


@dataclass(frozen=True)
class Heard:
    """An utterance, and what torch says of it alone."""

    name: str
    waveform: NDArray
    said: Said


@dataclass(frozen=True)
class Agreement:
    """How near a file comes to torch.

    Attributes:
        differences: output -> the largest |difference|, divided by the largest number of that output where that is
            above 1; of frame weights, whose sum is 1, by the utterance's own largest.
        where: output -> the utterance of it.
        labels: the share of utterances, of all tasks with labels, whose likeliest label is the same; None: no task has.
        cosine: the lowest between embeddings.
        utterances: how many were compared, alone and padded each.
    """

    differences: dict[str, float]
    where: dict[str, str]
    labels: float | None
    cosine: float
    utterances: int


def utterances(
    facts: Facts, files: Sequence[str] = (), seconds: Sequence[float] = SECONDS
) -> list[tuple[str, NDArray]]:
    """Name and waveform of what a file is held to: noise, and speech, of each length.

    Args:
        facts: of the file.
        files: recordings of speech; none: those that are shipped.
        seconds: the lengths.

    Raises:
        InputError: a recording that can't be read, or that is silent.
    """
    rate = facts.sampling_rate
    paths = list(files) or sample_files(speakers=6, of_each=4)
    speech = np.concatenate([read_audio(path, sample_rate=rate) for path in paths])
    if not speech.any():
        raise InputError(f"{paths[0]}: is silent; give recordings of speech")
    random = np.random.default_rng(0)
    made = []
    for i, length in enumerate(seconds):
        size = max(round(length * rate), facts.min_samples)
        made.append((f"noise of {length:g} s", (0.3 / (i + 1) * random.standard_normal(size)).astype(np.float32)))
        start = int(random.integers(len(speech)))
        made.append((f"speech of {length:g} s", np.resize(np.roll(speech, -start), size)))
    return made


@torch.no_grad()
def heard_by_torch(whole: ServedModel, model: Any, extractor: Any, given: Sequence[tuple[str, NDArray]]) -> list[Heard]:
    """What torch says of each utterance alone: the model as it was given, by its own feature extractor.

    Only what that does not give (a stock classifier has no embeddings) is taken from the form in which it is served.

    Args:
        whole: as it is served.
        model: of which that was made.
        extractor: its feature extractor.
        given: name and waveform of each utterance.

    Raises:
        InputError: the model says what is no number.
    """
    heard = []
    for name, waveform in given:
        said = _as_given(whole, model, extractor, waveform)
        if len(said) < len(whole.facts.outputs):
            values = torch.from_numpy(waveform)[None]
            outputs = whole(values, torch.ones_like(values, dtype=torch.long))
            said = dict(zip(whole.facts.outputs, outputs, strict=True)) | said
        for output, tensor in said.items():
            if not tensor.isfinite().all():
                raise InputError(f"the model itself gives {output} that are not finite on {name}: mend its weights")
        heard.append(Heard(name, waveform, {output: tensor[0].numpy() for output, tensor in said.items()}))
    return heard


def _as_given(whole: ServedModel, model: Any, extractor: Any, waveform: NDArray) -> dict[str, Tensor]:
    """The outputs that the model itself gives, by their names in the file."""
    if whole.model is not model:  # one of transformers
        said = ask(model, extractor, waveform, "noise or speech")
        x_vector = is_x_vector(model)  # what it calls logits is something else
        return {"embeddings": said["embeddings"]} if x_vector else {whole.facts.outputs[0]: said["logits"]}
    weighs = {"output_frame_weights": True} if whole.facts.frame_times is not None else {}
    outputs = model(**features_of(extractor, waveform), **weighs)
    logits = outputs.task_logits or {whole.facts.tasks[0].name: outputs.logits}
    named = {
        whole.facts.logits[task.name]: torch.from_numpy(over_speeds(logits[task.name].numpy(), len(task.labels)))
        for task in whole.facts.tasks
    }
    named |= {"embeddings": outputs.embeddings}
    return named | ({"frame_weights": outputs.frame_weights} if weighs else {})


def agreement(classifier: OnnxClassifier, heard: Sequence[Heard]) -> Agreement:
    """Compares a file with torch, each utterance alone and in a padded batch."""
    facts = classifier.facts
    sizes = {name: max(1.0, max(float(np.abs(one.said[name]).max()) for one in heard)) for name in facts.outputs}
    differences, where = dict.fromkeys(facts.outputs, 0.0), dict.fromkeys(facts.outputs, "")
    same, cosines = [], []
    for one, how, said in _asked(classifier, heard):
        for name in facts.outputs:
            size = float(one.said[name].max()) if name == "frame_weights" else sizes[name]
            difference = float(np.nan_to_num(np.abs(said[name] - one.said[name]), nan=np.inf).max()) / size
            if difference > differences[name]:
                differences[name], where[name] = difference, f"{one.name}, {how}"
        pairs = [(said[output], one.said[output], task) for task, output in _labelled(facts)]
        same += [_decision(ours, task) == _decision(theirs, task) for ours, theirs, task in pairs]
        cosines.append(_cosine(said["embeddings"], one.said["embeddings"]))
    return Agreement(differences, where, float(np.mean(same)) if same else None, float(min(cosines)), len(heard))


def _asked(classifier: OnnxClassifier, heard: Sequence[Heard]) -> Iterator[tuple[Heard, str, Said]]:
    """Each utterance as the file hears it alone, and among longer ones with noise in the padding."""
    random = np.random.default_rng(1)
    for one in heard:
        yield one, "alone", {name: values[0] for name, values in classifier([one.waveform]).items()}
    for start in range(0, len(heard), 4):
        group = heard[start : start + 4]
        batch = batch_of(
            [*[one.waveform for one in group], np.zeros(max(len(one.waveform) for one in group) + 1_601, np.float32)]
        )
        batch = {name: values[:-1] for name, values in batch.items()}  # so the longest is padded too
        padding = batch["attention_mask"] == 0
        batch["input_values"][padding] = random.standard_normal(int(padding.sum()))
        outputs = classifier.run(batch)
        for row, one in enumerate(group):
            said = {name: values[row] for name, values in outputs.items()}
            if "frame_weights" in said:
                said["frame_weights"] = said["frame_weights"][: len(one.said["frame_weights"])]
            yield one, "padded in a batch", said


def _labelled(facts: Facts) -> list[tuple[ServedTask, str]]:
    return [(task, facts.logits[task.name]) for task in facts.tasks if task.problem_type != "regression"]


def _decision(logits: NDArray, task: ServedTask) -> tuple[int, ...]:
    """The class, or of a multi-label task those that are above one half: (C,) -> their numbers."""
    if task.problem_type == "multi_label_classification":
        return tuple(np.flatnonzero(logits > 0).tolist())
    return tuple(predicted_classes(logits[None], task).tolist())


def _cosine(one: NDArray, other: NDArray) -> float:
    """The cosine of two embeddings: (E,), (E,)."""
    if np.array_equal(one, other):  # nothing but zeros is like itself too
        return 1.0
    one, other = one.astype(np.float64), other.astype(np.float64)
    return float(one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-12))


def check(found: Agreement, facts: Facts) -> None:
    """Refuses a file that is not exact.

    Raises:
        InputError: it says which part differs, on what, and by how much.
    """
    for name, difference in found.differences.items():
        if difference > LIMIT:
            parts = dict(facts.parts)
            inner = found.differences["embeddings"]
            part = "head" if inner <= LIMIT and name != "frame_weights" else f"model below the head ({_listed(parts)})"
            raise InputError(
                f"the ONNX file is not exact: {name} differ by {difference:.1e} from torch's on {found.where[name]} "
                f"(limit {LIMIT:g}), which the {part} makes; nothing was written"
            )


def _listed(parts: dict[str, str]) -> str:
    return ", ".join(f"{part} {name}" for part, name in parts.items() if part != "head")
