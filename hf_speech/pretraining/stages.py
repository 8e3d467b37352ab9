"""An encoder is adapted to the rows that a run will learn from, before it is fine-tuned: TAPT, P-TAPT and the like.

The field `adaptation` of a run is a list of stages, each `{pretrain: {fields}}` or `{cluster: {fields}}`:

    adaptation:                                             # P-TAPT
      - pretrain: {objective: labels, backbone_config: {model_type: wav2vec}, max_steps: 10000}
      - cluster: {layer: 1, counts: [64, 512, 4096]}        # the frames of what the last stage has made
      - pretrain: {objective: clusters, max_steps: 20000}   # starts from the run's own backbone

A stage of pretraining starts from the backbone of the run, unless it names another, or `previous`, which is what the
last such stage has made; what the run says of a checkpoint's masks and dropouts (`backbone_config`) is for fine-tuning
alone. The run starts from what the last of these stages has made. All stages learn from the run's
training rows and from no others: what is held out, for validation or for testing, is not heard. Each is done once: a
run that was stopped goes on within its stage, and runs of the same training rows and stages share them
(`adaptation_dir`).
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset

from ..data.heard import contents
from ..data.schema import Splits, class_names_of
from ..errors import InputError
from ..files import locked, replacing, sha256_of
from ..ranks import PATIENCE, wait_for_all
from ..results import FILE_NAME
from ..training.arguments import target_rules
from ..training.classifier import CLASSIFIER, make_classifier
from ..training.config import RunConfig
from ..training.rows import RunRows, found, labelled_rows, load_used
from ..training.run import train
from ..training.work import Work
from .cluster_rows import cluster
from .clusters import FACTS
from .rows import refuse_tested
from .run import PRETRAINING, make_pretraining
from .stage_fields import OF_DATA, OF_ENCODER, Stage, cluster_options_of, pretraining_of, stages_of

logger = logging.getLogger(__name__)

FOLDER = "adaptation"
MANIFEST = "stages.json"
_MARKS = (FILE_NAME, FACTS)  # that a stage is finished
_DIGITS = 16
_PLACES = {"dataset", "data_dir", "audio_root"}  # the rows themselves tell which they are


def adapt(config: RunConfig, folder: Path) -> str:
    """Runs the stages that are not finished.

    Args:
        config: of the run.
        folder: of the run; the stages lie in `adaptation` beneath it, or in the run's `adaptation_dir`.

    Returns:
        The folder of the encoder that the run starts from.

    Raises:
        InputError: see `stages_of`, and what the stages find wrong.
        StoppedError: SIGTERM came; the same command goes on.
    """
    stages = stages_of(config)
    rows = training_rows(config)
    own = config.run.adaptation_dir is None
    home = folder / FOLDER if own else Path(str(config.run.adaptation_dir)) / key_of(config, rows)
    made: dict[str, str] = {}
    _meet(config)
    first = os.environ.get("RANK", "0") == "0"
    with _alone(home):
        if first:
            _claim(home, config, rows)
        wait_for_all()
        for stage in stages:
            place = home / stage.name
            if (place / stage.mark).exists():
                logger.info("adaptation, %s: is finished, in %s", stage.name, place)
            else:
                logger.info("adaptation, %s: begins", stage.name)
                _run(stage, config, home, made, rows)
            wait_for_all()  # the first process writes, and measures, what the others have trained with it
            made[stage.kind] = stage.name
    return str(home / made["pretrain"])


@dataclass(frozen=True)
class StageRows:
    """What the stages of a run learn from.

    Attributes:
        train: the training rows of the run, without the labels that it made of them.
        held_out: its other rows, by split.
        class_names: see `Splits`.
        fingerprint: of the training rows: their names, what they are labelled with, and their audio.
    """

    train: Dataset
    held_out: dict[str, Dataset]
    class_names: dict[str, list[str]]
    fingerprint: str

    def loaded(self) -> Splits:
        """The training rows, as if they were all that there is."""
        return Splits({"train": self.train}, self.class_names)


def training_rows(config: RunConfig) -> StageRows:
    """The rows that a run learns from, and what it holds out.

    Raises:
        InputError: see `training.rows.read_rows`; or some speech that is held out is among the training rows.
    """
    if config.data.streaming:
        raise InputError("adaptation needs rows that are there, and streaming ones are not: leave streaming out")
    data = found(config.data)
    loaded = load_used(data, config.split.only)
    rows = labelled_rows(data, config.split, target_rules(config), loaded)
    for name, held_out in rows.splits.items():
        if name != "train":
            refuse_tested(rows.splits["train"], held_out)
    plain = {name: part.remove_columns("labels") for name, part in rows.splits.items()}
    of_train = RunRows({"train": rows.splits["train"]}, rows.targets, 0, {}, root=rows.root)
    train_rows = plain.pop("train")
    votes = list(train_rows["votes"]) if "votes" in train_rows.column_names else []
    heard = [span for span, _ in contents(train_rows)]
    fingerprint = _digits({"rows": of_train.fingerprint(["train"]), "votes": votes, "audio": heard})
    return StageRows(train_rows, plain, class_names_of(loaded), fingerprint)


def _told(config: RunConfig, rows: StageRows) -> dict[str, Any]:
    """All that decides what the stages of a run make, as JSON has it."""
    told = {name: getattr(config.data, name) for name in OF_DATA if name not in _PLACES}
    told |= {name: getattr(config.model, name) for name in ("backbone", "backbone_config", *OF_ENCODER)}
    told |= {"stages": config.learning.adaptation, "rows": rows.fingerprint, "from": _sources(config)}
    return dict(json.loads(json.dumps(told, default=str)))


def _sources(config: RunConfig) -> dict[str, str]:
    """Folders that stages start from -> digits of their weights or labels, which a name does not tell."""
    fields = [fields or {} for table in config.learning.adaptation for fields in table.values()]
    names = {str(one.get(name)) for one in fields for name in ("backbone", "model", "clusters", "codebook")}
    found = {}
    for name in sorted({str(config.model.backbone), *names}):
        files = sorted(path for end in ("safetensors", "bin", "parquet") for path in Path(name).glob(f"*.{end}"))
        if files:
            found[name] = _digits([(path.name, sha256_of(path)) for path in files])
    return found


def key_of(config: RunConfig, rows: StageRows) -> str:
    """Digits that runs share whose stages would make the same."""
    return _digits(_told(config, rows))


def _digits(told: Any) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def _claim(home: Path, config: RunConfig, rows: StageRows) -> None:
    """Notes whose stages these are; those of other stages or rows are not gone on from.

    Raises:
        InputError: they are another run's.
    """
    told, path = _told(config, rows), home / MANIFEST
    if path.exists():
        there = json.loads(path.read_text(encoding="utf-8"))
        differ = [name for name in told if there.get(name) != told[name]]
        if differ and not config.run.overwrite:
            raise InputError(
                f"{home}: holds the adaptation of another run, by {', '.join(differ)}; give another --output-dir, or "
                "--overwrite"
            )
        if differ:
            _remove(home)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _remove(home: Path) -> None:
    """Takes all stages away; what says that they are finished, and of which run, first."""
    places = sorted(home.glob("[0-9]*-*"))
    for mark in (home / MANIFEST, *(place / name for place in places for name in _MARKS)):
        mark.unlink(missing_ok=True)
    for place in places:
        shutil.rmtree(place)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """While one run adapts an encoder, others that want the same wait; of several processes the first sees to it."""
    home.mkdir(parents=True, exist_ok=True)
    handle = os.open(home, os.O_RDONLY)
    try:
        if os.environ.get("RANK", "0") == "0" and locked(handle, patience=0) is False:
            logger.info("%s: another run adapts the encoder there; waiting for it", home)
            locked(handle)
        yield
    finally:
        os.close(handle)


def _meet(config: RunConfig) -> None:
    """Before processes of a run wait for each other, they meet by the means that training will use."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        cpu = bool(config.training.get("use_cpu")) or not torch.accelerator.is_available()
        # A stage of one process, such as clusters, may take hours, and the others wait.
        PartialState(cpu=cpu, timeout=PATIENCE)


def _run(stage: Stage, config: RunConfig, home: Path, made: Mapping[str, str], rows: StageRows) -> None:
    """Runs one stage.

    Raises:
        InputError: what it finds wrong; the message says which stage it is.
    """
    place = home / stage.name
    try:
        if stage.kind == "pretrain":
            fields = pretraining_of(stage, config, place, made, home)
            given = None if "dataset" in stage.fields else rows.loaded()
            make = partial(make_pretraining, loaded=given, unheard=list(rows.held_out.values()))
            train(fields, Work(make, PRETRAINING.write, PRETRAINING.config_name))
        elif os.environ.get("RANK", "0") == "0":
            model = stage.fields.get("model") or str(home / made["pretrain"])
            data = str(found(config.data).dataset)
            cluster(model, data, place, cluster_options_of(stage, config), loaded=rows.loaded())
    except InputError as error:
        raise InputError(f"adaptation, {stage.name}: {error}") from error


def shared(config: RunConfig, root: Path) -> RunConfig:
    """The config with a place for its stages that all runs of an experiment share.

    Args:
        config: of a run; one that names a place, or has no stages, is as it was.
        root: folder of the experiment.
    """
    if not config.learning.adaptation or config.run.adaptation_dir is not None:
        return config
    return replace(config, run=replace(config.run, adaptation_dir=str((root / FOLDER).absolute())))


ADAPTED = Work(partial(make_classifier, adapt=adapt), CLASSIFIER.write, CLASSIFIER.config_name)
