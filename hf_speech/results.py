"""results.json: what a run was and what it measured. Cards, tables and plots are rendered from this file alone.

The form (a key that is not listed here is kept and not read):

    model      name: the folder's name, or owner/name on the Hub; task; problem_type; labels: [name, ...];
               backbone: owner/name on the Hub, or words ("wav2vec2, from scratch"); parameters: how many;
               layer, pooling, head, loss: as configured; sample_rate: samples a second; architecture: the model's
               class. May be left out: license: of the weights; tasks: [{name, problem_type, labels, head, head_config,
               loss, loss_config, weight, unit}, ...], the first one's are those above, with speeds: how many, where the
               classes have each speaker at several (labels are the speakers); parts: {backbone, front end, neck,
               pooling, projection: {name, options}}; adapter: {kind: "lora", ...}, merged into the weights;
               bytes: of the safetensors files; layer_weights: [share, ...] of the encoder's input and of each layer in
               what is pooled, where they are learned
    data       name: owner/name on the Hub, or a plain name; on_hub (may be left out): whether the data were read from
               the Hub by that name; target: the column that is predicted; unit: of a regression
               target; synthetic: made speech?; language: [code, ...]; license: of the data;
               splits: {name: {utterances, speakers, seconds, labels: {label: utterances}}} (null: streamed; labels
               are the first task's, and task_labels: {task: {label: utterances}} has all where there are several;
               groups: {column: {group: utterances}}, of what is known of the speakers, may be left out;
               group_labels: {task: {column: {group: [label, ...]}}}, those that occur in a group, may be left out);
               split_rule: {split: rule}; left_out: [{file or row, reason}, ...]; unlabelled: rows without a target;
               overlaps (may be left out): [{between: [split, split], what: column, "file" or "content", count: in both,
               of: [in the first, in the second], examples: [...]}, ...], those that were found; null: not looked for;
               compared (may be left out): [column, "file" or "content", ...], what all rows were compared by
    metrics    [{name, value, low, high, unit, interval_unit, dataset, split, n, fingerprint}, ...], low and high the
               ends of the 95 % interval (see metrics/), interval_unit what was resampled for it, n the items,
               fingerprint those items; of several tasks, name is <task>/<name>; where the items are a group of those of
               a split, split is "<split>, <group>", such as "test, gender female"
    confusion  {labels: [name, ...], counts: [[...], ...]}, rows are labels, columns predictions, of the first task that
               has one; null in a regression
    run        seed; commit: of hf_speech; versions: {library: version}; device; wall_seconds; steps; epochs;
               arguments: the whole configuration, with label_map where the model's labels were read by other names
               {label: name, or null where it was left out}, as the numbers and the counts of labels are;
               recipe: what a reader wants of it {optimizer, learning_rate, ...};
               of a training selection: {metric, value, step, greater_is_better}, what the kept weights were chosen by
               on validation rows, or null; of a cross-validation experiment: {folds, runs, members, skipped, ...};
               speed (may be left out): {audio_seconds_per_second, split, latency_seconds, utterance_seconds,
               repetitions, threads, dtype}, see training/costs.py; energy (may be left out) of the training: {kwh,
               co2_kg, country, region, hardware, mode, source, from_step: the first one that it was measured of}

What is not known is null, and so is a number that is not defined (not a number, infinite): JSON has neither.
"""

import importlib.metadata
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import replacing
from .fingerprint import fingerprint

FILE_NAME = "results.json"
LIBRARIES = ("hf_speech", "torch", "transformers", "datasets", "accelerate", "numpy")

_SECTIONS: dict[str, dict[str, tuple[type, ...]]] = {
    "model": {
        "name": (str,),
        "task": (str,),
        "problem_type": (str,),
        "labels": (list,),
        "backbone": (str,),
        "parameters": (int,),
        "layer": (int, str, type(None)),
        "pooling": (str, type(None)),
        "head": (str, type(None)),
        "loss": (str, type(None)),
        "sample_rate": (int,),
        "architecture": (str,),
    },
    "data": {
        "name": (str,),
        "target": (str,),
        "synthetic": (bool,),
        "language": (list,),
        "license": (str, type(None)),
        "splits": (dict,),
        "split_rule": (dict,),
        "left_out": (list,),
        "unlabelled": (int,),
    },
    "run": {
        "seed": (int, type(None)),
        "commit": (str, type(None)),
        "versions": (dict,),
        "device": (str, type(None)),
        "wall_seconds": (int, float, type(None)),
        "steps": (int, type(None)),
        "epochs": (int, float, type(None)),
        "arguments": (dict,),
        "recipe": (dict,),
    },
}
_SPLIT: dict[str, tuple[type, ...]] = {
    "utterances": (int, type(None)),
    "speakers": (int, type(None)),
    "seconds": (int, float, type(None)),
    "labels": (dict, type(None)),
}
_OVERLAP: dict[str, tuple[type, ...]] = {
    "between": (list,),
    "what": (str,),
    "count": (int,),
    "of": (list,),
    "examples": (list,),
}
_TASK: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "problem_type": (str,),
    "labels": (list,),
    "head": (str,),
    "loss": (str,),
    "unit": (str,),
}
# What may be left out, and what it is where it is there.
_OPTIONAL: dict[str, dict[str, tuple[type, ...]]] = {
    "model": {"bytes": (int,), "layer_weights": (list,), "tasks": (list,)},
    "data": {"overlaps": (list, type(None)), "compared": (list,), "on_hub": (bool,)},
    "run": {"speed": (dict,), "energy": (dict,)},
    "run.speed": {
        "audio_seconds_per_second": (int, float, type(None)),
        "split": (str, type(None)),
        "latency_seconds": (int, float),
        "utterance_seconds": (int, float),
        "repetitions": (int,),
        "threads": (int,),
        "dtype": (str,),
    },
    "run.energy": {"kwh": (int, float), "co2_kg": (int, float), "source": (str,), "from_step": (int,)},
}
INTERVAL_UNITS = ("speaker", "utterance", "trial")
_METRIC: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "value": (int, float, type(None)),
    "low": (int, float, type(None)),
    "high": (int, float, type(None)),
    "unit": (str,),
    "interval_unit": (str,),
    "dataset": (str,),
    "split": (str,),
    "n": (int,),
    "fingerprint": (str, type(None)),
}


@dataclass(frozen=True)
class Results:
    """The content of results.json, section by section; the form is in this module's docstring."""

    model: dict[str, Any]
    data: dict[str, Any]
    metrics: list[dict[str, Any]]
    confusion: dict[str, Any] | None
    run: dict[str, Any]

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> "Results":
        """The results of the model in a folder.

        Raises:
            InputError: there is no results.json, it is not JSON, or it does not have the form.
        """
        path = Path(folder) / FILE_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"no {FILE_NAME} in {folder}; `hf-speech evaluate` writes one") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not JSON ({error}); measure again with `hf-speech evaluate`") from error
        validate(content, str(path))
        return cls(**{section: content[section] for section in cls.__dataclass_fields__})

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Writes results.json into a folder, which is made if need be, and gives its path.

        Raises:
            InputError: the content does not have the form; nothing is written then.
        """
        path = Path(folder) / FILE_NAME
        content = plain(asdict(self))
        validate(content, str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
        return path


def validate(content: Any, where: str = FILE_NAME) -> None:
    """Holds the content of results.json against its form.

    Args:
        content: as parsed from JSON.
        where: the file's name, for the message.

    Raises:
        InputError: a field is missing or of another type, or a value has no interval; it names the field.
    """
    _check_fields(
        content, {s: (dict,) for s in _SECTIONS} | {"metrics": (list,), "confusion": (dict, type(None))}, where
    )
    for section, fields in _SECTIONS.items():
        _check_fields(content[section], fields, f"{where}: {section}")
    if content["model"]["problem_type"] == "regression":
        _check_fields(content["data"], {"unit": (str,)}, f"{where}: data")
    for section in _SECTIONS:
        there = {name: kinds for name, kinds in _OPTIONAL[section].items() if name in content[section]}
        _check_fields(content[section], there, f"{where}: {section}")
    for name in ("speed", "energy"):
        if name in content["run"]:
            _check_fields(content["run"][name], _OPTIONAL[f"run.{name}"], f"{where}: run.{name}")
    for i, task in enumerate(content["model"].get("tasks", [])):
        _check_fields(task, _TASK, f"{where}: model.tasks[{i}]")
    for name, split in content["data"]["splits"].items():
        known = _SPLIT | {name: (dict,) for name in ("groups", "group_labels") if name in split}
        _check_fields(split, known, f"{where}: data.splits.{name}")
    for i, overlap in enumerate(content["data"].get("overlaps") or ()):
        _check_overlap(overlap, f"{where}: data.overlaps[{i}]")
    for i, metric in enumerate(content["metrics"]):
        _check_metric(metric, f"{where}: metrics[{i}]")
    if content["confusion"] is not None:
        _check_confusion(content["confusion"], f"{where}: confusion")


def run_facts(
    seed: int | None,
    *,
    device: str | None = None,
    wall_seconds: float | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    arguments: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The `run` section: what is given, and what this process knows (commit, versions, device).

    Args:
        seed: of the run.
        device: where it ran, as torch names it ("cuda:0"); None: what torch takes by default here.
        wall_seconds: how long it took.
        steps: optimizer steps.
        epochs: times through the training data.
        arguments: the whole configuration.
        recipe: what a reader wants of it.
    """
    versions = {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES}
    return {
        "seed": seed,
        "commit": commit_of(Path(__file__)),
        "versions": {name: version for name, version in versions.items() if version is not None},
        "device": device_name(device),
        "wall_seconds": wall_seconds,
        "steps": steps,
        "epochs": epochs,
        "arguments": dict(arguments or {}),
        "recipe": dict(recipe or {}),
    }


def metric_rows(
    numbers: Iterable[Mapping[str, Any]], *, dataset: str, split: str, ids: Sequence[str]
) -> list[dict[str, Any]]:
    """The `metrics` section: the numbers of `hf_speech.metrics` with what they were measured on; NaN becomes None.

    Args:
        numbers: as `classification_numbers` and `regression_numbers` give them.
        dataset: the data set's name.
        split: the split's name.
        ids: one for each item that was measured.
    """
    source = {"dataset": dataset, "split": split, "n": len(ids), "fingerprint": fingerprint(ids)}
    return [plain(number) | source for number in numbers]


def group_of(metric: Mapping[str, Any]) -> tuple[str, str]:
    """The split of a number, and the group of its items that it is of; "" where it is of all.

    >>> group_of({"split": "test, gender female"}), group_of({"split": "test"})
    (('test', 'gender female'), ('test', ''))
    """
    split, _, group = metric["split"].partition(", ")
    return split, group


def device_name(device: str | None = None) -> str:
    """The device in words, such as "NVIDIA H100" or "CPU (Intel Xeon, 2 threads)".

    Args:
        device: as torch names it; None: CUDA if there is one, else the CPU.
    """
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    if device != "cpu":
        return device
    return f"CPU ({_processor()}, {torch.get_num_threads()} threads)"


def plain(value: Any) -> Any:
    """The value in JSON's own types: NumPy's as Python's, paths as strings, NaN and the infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return plain(value.tolist()) if hasattr(value, "tolist") else value


def _check_fields(content: Any, fields: Mapping[str, tuple[type, ...]], where: str) -> None:
    if not isinstance(content, dict):
        raise InputError(f"{where} is {_type_name(type(content))}, not an object")
    for name, types in fields.items():
        if name not in content:
            raise InputError(f"{where} has no {name!r}; the fields are {', '.join(fields)}")
        # A bool is an int to Python, and no number to us.
        if not isinstance(content[name], types) or (isinstance(content[name], bool) and bool not in types):
            wanted = " or ".join(_type_name(kind) for kind in types)
            raise InputError(f"{where}.{name} is {content[name]!r}; it must be {wanted}")


def _check_metric(metric: Any, where: str) -> None:
    _check_fields(metric, _METRIC, where)
    value, low, high = metric["value"], metric["low"], metric["high"]
    for name, end in (("low", low), ("high", high)):
        if value is not None and end is None:
            raise InputError(f"{where}.{name} is null beside the value {value}; a number needs its 95 % interval")
    if low is not None and high is not None and low > high:
        raise InputError(f"{where}.low is {low}, above high, {high}; exchange them")
    if metric["interval_unit"] not in INTERVAL_UNITS:
        valid = ", ".join(INTERVAL_UNITS)
        raise InputError(f"{where}.interval_unit is {metric['interval_unit']!r}; valid: {valid}")


def _check_overlap(overlap: Any, where: str) -> None:
    _check_fields(overlap, _OVERLAP, where)
    for name in ("between", "of"):
        if len(overlap[name]) != 2:
            raise InputError(
                f"{where}.{name} has {len(overlap[name])} entries; it must have one for each of two splits"
            )


def _check_confusion(confusion: Any, where: str) -> None:
    _check_fields(confusion, {"labels": (list,), "counts": (list,)}, where)
    classes = len(confusion["labels"])
    if [len(row) for row in confusion["counts"]] != [classes] * classes:
        raise InputError(f"{where}.counts must be {classes} rows of {classes}, as there are {classes} labels")


def _type_name(kind: type) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        int: "a whole number",
        float: "a number",
        bool: "a bool",
    }
    return names.get(kind, "null")


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None  # run from a checkout that is not installed, or an optional library


def commit_of(file: Path) -> str | None:
    """The commit of the checkout a file belongs to, "-dirty" behind it if files were changed; None if it is in none."""
    try:
        # An installed package can lie inside someone else's checkout (a virtual environment there): it is not tracked.
        subprocess.run(
            ["git", "ls-files", "--error-unmatch", file.name], cwd=file.parent, check=True, capture_output=True
        )
        describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(describe, cwd=file.parent, check=True, capture_output=True, text=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    """The processor's name; on Linux the one in /proc/cpuinfo, as `platform` knows only the architecture there."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
