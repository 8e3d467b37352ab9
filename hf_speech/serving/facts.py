"""What an ONNX file of a classifier says of itself, as JSON in its metadata: enough to use it with nothing else."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

from ..errors import InputError, one_line

KEY = "hf_speech"  # of the metadata
VERSION = 1
PRECISIONS = ("float32", "int8", "float16")


@dataclass(frozen=True)
class ServedTask:
    """What is predicted.

    Attributes:
        name: as the training rows call it ("emotion").
        labels: label names in order; for regression one name.
        head: name of the head: of "ordinal" the median of the classes is predicted, not the likeliest one.
        problem_type: single_label_classification (softmax of the logits), multi_label_classification (sigmoid) or
            regression (the logit is the value).
        unit: of a regression target ("years").
    """

    name: str
    labels: tuple[str, ...]
    head: str
    problem_type: str
    unit: str | None = None


@dataclass(frozen=True)
class Facts:
    """What has to be known to use a file.

    Attributes:
        sampling_rate: samples per second of the waveforms that it takes.
        min_samples: the shortest of them.
        tasks: what it predicts.
        precision: "float32", "int8" or "float16" of what was made smaller.
        embedding_size: numbers of an embedding.
        frame_times: of the frames that `frame_weights` speak of, the centre of the first one and the time between two,
            seconds; None: it gives no such weights.
        parts: names of the backbone, the pooling ...
        versions: of the libraries that it was made with.
    """

    sampling_rate: int
    min_samples: int
    tasks: tuple[ServedTask, ...]
    precision: str
    embedding_size: int
    frame_times: tuple[float, float] | None
    parts: Mapping[str, str]
    versions: Mapping[str, str]

    @property
    def logits(self) -> dict[str, str]:
        """Task -> the output with its logits: `logits`, or of several tasks `logits/<task>`."""
        if len(self.tasks) == 1:
            return {self.tasks[0].name: "logits"}
        return {task.name: f"logits/{task.name}" for task in self.tasks}

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in order."""
        return [*self.logits.values(), "embeddings", *([] if self.frame_times is None else ["frame_weights"])]

    def to_json(self) -> str:
        """As it stands in the metadata."""
        return json.dumps({"format": VERSION, **asdict(self), "outputs": self.outputs}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | None, name: str) -> "Facts":
        """What `to_json` wrote.

        Args:
            text: of the metadata; None: there is none.
            name: of the file, for messages.

        Raises:
            InputError: it is not there, or of another format.
        """
        if text is None:
            raise InputError(f"{name}: is no ONNX file of `hf-speech export`; give one that is")
        try:
            content = json.loads(text)
            if content.pop("format") != VERSION:
                raise InputError(f"{name}: was exported by another version of hf_speech; export the model again")
            del content["outputs"]
            tasks = tuple(ServedTask(**{**task, "labels": tuple(task["labels"])}) for task in content.pop("tasks"))
            times = content.pop("frame_times")
            return cls(tasks=tasks, frame_times=None if times is None else tuple(times), **content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{name}: its metadata can't be read ({one_line(error)}); export it again") from error


def needing(what: str, load: Callable[[], ModuleType]) -> ModuleType:
    """A library of the extra `onnx`.

    Args:
        what: needs it, for the message.
        load: imports it.

    Raises:
        InputError: it is not installed.
    """
    try:
        return load()
    except ImportError as error:
        library = error.name or one_line(error)
        raise InputError(f"{what} needs {library}, which is not installed: pip install 'hf_speech[onnx]'") from error


def describes(table: Mapping[str, Any]) -> str:
    """Parts of a model in a line: "wav2vec2, mean+std, linear"."""
    return ", ".join(str(value) for value in table.values())
