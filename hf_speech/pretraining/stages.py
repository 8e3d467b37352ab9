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

import dataclasses
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

from ..data.schema import Splits, class_names_of
from ..errors import InputError
from ..fields import fit
from ..files import locked, replacing
from ..models.presets import merged
from ..ranks import wait_for_all
from ..results import FILE_NAME
from ..training.arguments import make_config, target_rules
from ..training.classifier import CLASSIFIER, make_classifier
from ..training.config import DataArguments, RunConfig
from ..training.rows import RunRows, found, labelled_rows, load_used
from ..training.run import train
from ..training.work import Work
from .cluster_options import ClusterOptions, FitOptions, PassOptions, RecordingOptions
from .cluster_rows import cluster
from .clusters import FACTS
from .fields import check_pretraining
from .rows import refuse_tested
from .run import PRETRAINING, make_pretraining

logger = logging.getLogger(__name__)

FOLDER = "adaptation"
MANIFEST = "stages.json"
PREVIOUS = "previous"
_DIGITS = 16
# What the run says of its data, which its stages take over.
_OF_DATA: tuple[str, ...] = ("dataset", "data_dir", "dataset_config", "reader", "audio_root", "columns", "channel")
_OF_DATA += ("on_bad_audio", "check_audio")


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: of its folder: its number and its kind.
        kind: "pretrain" or "cluster".
        fields: as they were given.
    """

    name: str
    kind: str
    fields: Mapping[str, Any]

    @property
    def mark(self) -> str:
        """The file that is there when it is finished."""
        return FILE_NAME if self.kind == "pretrain" else FACTS


def stages_of(config: RunConfig) -> list[Stage]:
    """The stages of a run, each of them looked at.

    Raises:
        InputError: one that is none, fields that don't exist or don't agree, clusters that no stage has made, or no
            stage that adapts an encoder.
    """
    stages = []
    for i, table in enumerate(config.learning.adaptation, start=1):
        ((kind, fields),) = table.items() if isinstance(table, dict) and len(table) == 1 else ((None, None),)
        if kind not in ("pretrain", "cluster") or not isinstance(fields, dict):
            raise InputError(f"adaptation: stage {i} is {table!r}; give {{pretrain: {{...}}}} or {{cluster: {{...}}}}")
        stages.append(Stage(f"{i}-{kind}", kind, fields))
    if not any(stage.kind == "pretrain" for stage in stages):
        raise InputError("adaptation: no stage adapts an encoder; give {pretrain: {...}} too")
    made: dict[str, str] = {}  # what the stages before have made, by kind
    for stage in stages:
        where = f"adaptation, {stage.name}"
        try:
            if stage.kind == "cluster":
                _cluster_options(stage, config)
                if "model" not in stage.fields and "pretrain" not in made:
                    raise InputError("no stage before it has made an encoder; give model, a checkpoint")
            else:
                pretraining_of(stage, config, Path("."), made)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        made[stage.kind] = stage.name
    return stages


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


def training_rows(config: RunConfig) -> Splits:
    """The rows that a run learns from, and all that is held out of it under its own split's name.

    Raises:
        InputError: see `training.rows.read_rows`; or some speech that is held out is among the training rows.
    """
    if config.data.streaming:
        raise InputError("adaptation needs rows that are there, and streaming ones are not: leave streaming out")
    data = found(config.data)
    loaded = load_used(data, config.split.only)
    splits = labelled_rows(data, config.split, target_rules(config), loaded).splits
    for name, held_out in splits.items():
        if name != "train":
            refuse_tested(splits["train"], held_out)
    plain = {name: rows.remove_columns("labels") for name, rows in splits.items()}
    return Splits(plain, class_names_of(loaded))


def key_of(config: RunConfig, rows: Splits) -> str:
    """Digits that runs share whose stages would make the same."""
    told = {"stages": config.learning.adaptation, **_start(config), "rows": _fingerprint(rows)}
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:_DIGITS]


def _start(config: RunConfig) -> dict[str, Any]:
    return {"backbone": config.model.backbone, "backbone_config": config.model.backbone_config}


def _fingerprint(rows: Splits) -> str:
    return RunRows({"train": rows["train"]}, {}, 0, {}).fingerprint(["train"])


def _claim(home: Path, config: RunConfig, rows: Splits) -> None:
    """Notes whose stages these are; those of other stages or rows are not gone on from.

    Raises:
        InputError: they are another run's.
    """
    told = json.loads(json.dumps({"stages": config.learning.adaptation, **_start(config)}, default=str))
    told["rows"] = _fingerprint(rows)
    path = home / MANIFEST
    if path.exists():
        there = json.loads(path.read_text(encoding="utf-8"))
        differ = [name for name in told if there.get(name) != told[name]]
        if differ and not config.run.overwrite:
            raise InputError(
                f"{home}: holds the adaptation of another run, by {', '.join(differ)}; give another --output-dir, or "
                "--overwrite"
            )
        if differ:
            for place in home.glob("[0-9]*-*"):
                shutil.rmtree(place)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


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
        PartialState(cpu=bool(config.training.get("use_cpu")) or not torch.accelerator.is_available())


def _run(stage: Stage, config: RunConfig, home: Path, made: Mapping[str, str], rows: Splits) -> None:
    """Runs one stage."""
    place = home / stage.name
    if stage.kind == "pretrain":
        fields = pretraining_of(stage, config, place, made, home)
        given = None if "dataset" in stage.fields else Splits({"train": rows["train"]}, rows.class_names)
        make = partial(make_pretraining, loaded=given, unheard=[rows[name] for name in rows if name != "train"])
        train(fields, Work(make, PRETRAINING.write, PRETRAINING.config_name))
        return
    if os.environ.get("RANK", "0") != "0":
        return
    model = stage.fields.get("model") or str(home / made["pretrain"])
    options = _cluster_options(stage, config)
    loaded = Splits({"train": rows["train"]}, rows.class_names)
    cluster(model, str(found(config.data).dataset), place, options, loaded=loaded)


def pretraining_of(
    stage: Stage, config: RunConfig, place: Path, made: Mapping[str, str], home: Path = Path(".")
) -> RunConfig:
    """The fields of a stage of pretraining: its own, over what the run says of its data and its encoder.

    Args:
        stage: of the run.
        config: of the run.
        place: folder of the stage.
        made: kind of stage -> the last one before it, by name.
        home: where these lie.

    Raises:
        InputError: fields that don't exist or don't agree, or something that no stage before it has made.
    """
    own = dict(stage.fields)
    values: dict[str, Any] = {name: getattr(config.data, name) for name in _OF_DATA if name not in own}
    values = {name: value for name, value in values.items() if value != getattr(DataArguments(), name)}
    if "dataset" in own:
        values = {name: value for name, value in values.items() if name in ("data_dir", "on_bad_audio", "check_audio")}
    if own.get("backbone") == PREVIOUS:
        if "pretrain" not in made:
            raise InputError(f"backbone {PREVIOUS}: no stage before it has made one; leave it out, or name another")
        own["backbone"] = str(home / made["pretrain"])
    elif "backbone" not in own and "model_type" not in own.get("backbone_config", {}):
        if config.model.backbone is not None:  # its own masks and dropouts are for fine-tuning
            own["backbone"] = config.model.backbone
        else:
            own["backbone_config"] = merged(config.model.backbone_config, own.get("backbone_config", {}))
    objective = own.get("objective", "contrastive")
    if objective == "clusters" and "clusters" not in own:
        if "cluster" not in made:
            raise InputError("objective clusters: no stage before it clusters frames; give {cluster: {...}} before it")
        own["clusters"] = str(home / made["cluster"])
    if objective == "labels":
        values |= {name: getattr(config.data, name) for name in ("target", "labels") if name not in own}
        values = {name: value for name, value in values.items() if value is not None}
    values |= {"test": "none", "output_dir": str(place), **own}
    values.setdefault("validation", "none")
    return make_config(values, "fields", check_pretraining)


def _cluster_options(stage: Stage, config: RunConfig) -> ClusterOptions:
    """What a stage of clustering is told: its own fields, over what the run says of its data."""
    recordings = {
        "channel": str(config.data.channel),
        "on_bad_audio": config.data.on_bad_audio,
        "check_audio": config.data.check_audio,
    }
    parts: dict[str, dict[str, Any]] = {"fit": {}, "recordings": recordings, "passing": {}}
    kinds = {"fit": FitOptions, "passing": PassOptions}
    of = {f.name: (part, f.type) for part, kind in kinds.items() for f in dataclasses.fields(kind)}
    for name, value in stage.fields.items():
        if name == "model":
            continue
        if name not in of or name in ("codebook", "apply", "overwrite"):
            raise InputError(f"unknown field {name!r}; valid: model, {', '.join(sorted(of))}")
        part, hint = of[name]
        parts[part][name] = fit(value, hint, name)
    return ClusterOptions(
        FitOptions(**parts["fit"]), RecordingOptions(**parts["recordings"]), PassOptions(**parts["passing"])
    )


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
