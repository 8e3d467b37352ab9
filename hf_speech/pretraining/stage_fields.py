"""The stages of a run's `adaptation`: what each is told, its own fields over what the run says."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, unknown_name
from ..fields import fit
from ..models.backbones import Wav2VecConfig
from ..models.presets import merged
from ..results import FILE_NAME
from ..training.arguments import make_config
from ..training.build import backbone_config
from ..training.config import DataArguments, RunArguments, RunConfig
from .cluster_options import ClusterOptions, FitOptions, PassOptions, RecordingOptions
from .clusters import FACTS
from .fields import check_pretraining

PREVIOUS = "previous"
# What the run says of its data and its encoder, which its stages take over.
OF_DATA: tuple[str, ...] = ("dataset", "data_dir", "dataset_config", "reader", "audio_root", "columns", "channel")
OF_DATA += ("on_bad_audio", "check_audio")
OF_ENCODER = ("normalize", "attn_implementation")
# What belongs to the run: where things go, and which rows it learns from.
_OF_THE_RUN = {f.name for f in dataclasses.fields(RunArguments)} | {"test", "only", "resume_from_checkpoint"}
_OF_CLUSTERS = {"codebook", "apply", "overwrite", "split"}


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
    depth: int | None = None  # layers of the encoder that the last one has made; None: not known
    for stage in stages:
        try:
            if stage.kind == "cluster":
                _check_cluster(stage, config, depth, "pretrain" in made)
            elif stage.fields.get("backbone") == PREVIOUS:
                pretraining_of(stage, config, Path("."), made)
            else:
                depth = _depth_of(pretraining_of(stage, config, Path("."), made))
        except InputError as error:
            raise InputError(f"adaptation, {stage.name}: {error}") from None
        made[stage.kind] = stage.name
    return stages


def _check_cluster(stage: Stage, config: RunConfig, depth: int | None, is_made: bool) -> None:
    options = cluster_options_of(stage, config)
    if "model" in stage.fields:
        return
    if not is_made:
        raise InputError("no stage before it has made an encoder; give model, a checkpoint")
    if depth is not None and not 1 <= int(str(options.fit.layer)) <= depth:
        raise InputError(f"layer is {options.fit.layer}, and the encoder that the stage before makes has {depth}")


def _depth_of(config: RunConfig) -> int | None:
    """Layers of the encoder of a stage, as far as it can be told without asking the Hub."""
    named = config.model.backbone
    if named is not None and not Path(named).exists():
        return None
    backbone = backbone_config(config)
    return 1 if backbone.model_type == Wav2VecConfig.model_type else int(backbone.num_hidden_layers)


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
    stray = sorted(name for name in own if name in _OF_THE_RUN)
    if stray:
        raise InputError(f"{stray[0]} is the run's, and no stage has one of its own; leave it out")
    values: dict[str, Any] = {name: getattr(config.data, name) for name in OF_DATA if name not in own}
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
        of_encoder = {name: getattr(config.model, name) for name in OF_ENCODER}
        own = {**{name: value for name, value in of_encoder.items() if value is not None}, **own}
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


def cluster_options_of(stage: Stage, config: RunConfig) -> ClusterOptions:
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
        if name not in of or name in _OF_CLUSTERS:
            raise unknown_name(name, ["model", *(of.keys() - _OF_CLUSTERS)], "field")
        part, hint = of[name]
        parts[part][name] = fit(value, hint, name)
    return ClusterOptions(  # a stage whose folder holds clusters is finished: what else lies there was left half-made
        FitOptions(**parts["fit"], overwrite=True),
        RecordingOptions(**parts["recordings"]),
        PassOptions(**parts["passing"]),
    )
