"""What a recipe builds, in the words of `originals`: read off its live model, optimiser settings and schedule."""

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, Trainer

from hf_speech.models.configuration import HfSpeechConfig
from hf_speech.models.losses import LOSSES
from hf_speech.models.modeling import HfSpeechForSequenceClassification
from hf_speech.models.presets import PRESETS, merged
from hf_speech.models.registry import options_of
from hf_speech.training.arguments import model_settings
from hf_speech.training.build import augmentation_of, encoder_values
from hf_speech.training.config import RunConfig
from hf_speech.training.hf_arguments import training_arguments
from hf_speech.training.learning import Learning, learning_of
from hf_speech.training.schedules import Plateau

from .small import CHECKPOINTS, recipe

# Width of the real checkpoints, beside what `CHECKPOINTS` says of them; transformers' own defaults are the base size.
LARGE = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096}
_METRICS = ("loss", "uar", "accuracy", "macro_f1", "mae", "rmse", "eer")


@dataclass(frozen=True)
class Built:
    """A recipe, its model with real sizes (without numbers) for so many classes, and what trains it."""

    config: RunConfig
    classes: int

    @cached_property
    def model(self) -> Any:
        """In training mode, as the Trainer has it."""
        config = self.config
        name = str(config.model.backbone)
        settings = model_settings(config)
        if LOSSES[settings.get("loss") or "cross_entropy"].problem_type == "regression":
            settings |= {"labels": [config.data.target], "problem_type": "regression"}
        else:
            settings["labels"] = [f"class {i}" for i in range(self.classes)]
        with torch.device("meta"):
            if name in PRESETS:
                table = merged(PRESETS[name]["backbone_config"], config.model.backbone_config)
                stock: Any = HfSpeechConfig(**{**PRESETS[name], "backbone_config": table}).backbone_config
                model = HfSpeechForSequenceClassification.from_backbone(stock, **settings)
            else:
                values = dict(CHECKPOINTS[name])
                kind = values.pop("model_type")
                stock = CONFIG_MAPPING[kind](**values, **(LARGE if values["num_hidden_layers"] == 24 else {}))
                overrides = encoder_values(config, kind)
                model = HfSpeechForSequenceClassification.from_backbone(stock, backbone_config=overrides, **settings)
        return model.train()

    @cached_property
    def arguments(self) -> Any:
        """Of transformers."""
        validates = self.config.split.validation != "none"
        return training_arguments(self.config, validates=validates, metric="uar", numbers=_METRICS)

    @cached_property
    def learning(self) -> Learning:
        """Schedule and freezing."""
        return learning_of(self.config)

    @property
    def total(self) -> int:
        """Steps of the run; 1,000 where epochs are counted."""
        return self.arguments.max_steps if self.arguments.max_steps > 0 else 1_000

    def rate(self, share: float) -> float:
        """The learning rate at a share of the run."""
        return self.learning.schedule.rate(share * self.total, self.total, self.arguments.learning_rate)

    def optimizer(self) -> dict[str, Any]:
        _, settings = Trainer.get_optimizer_cls_and_kwargs(self.arguments)
        of_ours = {"betas": settings["betas"], "epsilon": settings["eps"]}
        return {**of_ours, "weight_decay": self.arguments.weight_decay, "clip": self.arguments.max_grad_norm}

    def penalty(self) -> str:
        kind, _ = Trainer.get_optimizer_cls_and_kwargs(self.arguments)
        return "in the step" if kind is torch.optim.AdamW else "in the gradient"

    def precision(self) -> str:
        return "bf16" if self.arguments.bf16 else "fp16" if self.arguments.fp16 else "fp32"

    def batch(self) -> tuple[int, int]:
        return self.arguments.per_device_train_batch_size, self.arguments.gradient_accumulation_steps

    def length(self) -> dict[str, float]:
        steps = self.arguments.max_steps
        return {"steps": steps} if steps > 0 else {"epochs": self.arguments.num_train_epochs}

    def selection(self) -> dict[str, Any]:
        arguments, patience = self.arguments, self.config.learning.early_stopping_patience
        if not arguments.load_best_model_at_end:
            return {"metric": None, "highest": None, "patience": patience}
        metric = arguments.metric_for_best_model.removeprefix("eval_")
        return {"metric": metric, "highest": arguments.greater_is_better, "patience": patience}

    def rate_falls(self) -> dict[str, Any]:
        schedule = self.learning.schedule
        assert isinstance(schedule, Plateau) and schedule.threshold == 0
        return {"factor": schedule.factor, "after": schedule.patience + 1}

    def frozen(self, step: int) -> set[str]:
        """Parts of the encoder of which every parameter is frozen, and that are in evaluation mode, at a step."""
        self.learning.freezing.apply(self.model, step, self.total)
        self.model.train()
        parts: dict[str, list[bool]] = {}
        for name, parameter in self.model.encoder.backbone.named_parameters():
            words = name.removeprefix("encoder.").split(".")
            part = ".".join(words[:2]) if words[0] == "layers" else words[0]
            parts.setdefault(part, []).append(not parameter.requires_grad)
        assert all(len(set(frozen)) == 1 for frozen in parts.values())  # none of them in part
        found = {part for part, frozen in parts.items() if all(frozen)}
        for part in found - {"masked_spec_embed"}:
            module = self._part(part)
            assert not any(inner.training for inner in module.modules()), part
        return found

    def _part(self, name: str) -> nn.Module:
        backbone = self.model.encoder.backbone
        above = name in ("feature_extractor", "feature_projection") or not name.startswith(("layers", "pos", "layer_"))
        return (backbone if above else backbone.encoder).get_submodule(name)

    def dropouts(self) -> dict[str, float]:
        """Of a wav2vec 2.0 encoder, from its modules; those of all layers are the same."""
        encoder = self.model.encoder.backbone.encoder
        found: dict[str, set[float]] = {
            "feat_proj": {self.model.encoder.backbone.feature_projection.dropout.p},
            "hidden": {encoder.dropout.p},
            "activation": set(),
            "attention": set(),
            "layerdrop": set(),
        }
        for layer in encoder.layers:
            found["hidden"] |= {layer.dropout.p, layer.feed_forward.output_dropout.p}
            found["activation"].add(layer.feed_forward.intermediate_dropout.p)
            found["attention"].add(layer.attention.dropout)
            found["layerdrop"].add(getattr(layer, "layerdrop", 0.0))
        assert all(len(values) == 1 for values in found.values()), found
        return {name: values.pop() for name, values in found.items()}

    def masks(self) -> dict[str, Any]:
        """SpecAugment: of the configuration that the encoder's forward reads; or of the module before a network."""
        encoder = self.model.encoder
        module = getattr(encoder, "spec_augment", None)
        if module is not None:
            names = ("time_masks", "time_width", "band_masks", "band_width")
            return {name: getattr(module, name) for name in names}
        own = encoder.backbone.config
        if not own.apply_spec_augment:
            return {}
        return {
            "time": (own.mask_time_prob, own.mask_time_length),
            "feature": (own.mask_feature_prob, own.mask_feature_length),
            "fewest": (own.mask_time_min_masks, own.mask_feature_min_masks),
        }

    def loss(self) -> dict[str, Any]:
        task = self.model.tasks[0]
        defaults = options_of(LOSSES[task.loss].function)
        return {"name": task.loss, "scale": self.model.head.scale, **defaults, **task.loss_config}

    def frames(self) -> dict[str, Any]:
        encoder = self.model.encoder
        front = getattr(encoder, "frontend", None)
        of_front = {} if front is None else {self.model.config.backbone_config.frontend: front.output_size}
        return {**of_front, "size": encoder.output_size, "stride": getattr(encoder.backbone, "stride", None)}

    def pooling(self) -> str:
        return type(self.model.speech.pooling).__name__

    def heads(self) -> int:
        return len(self.model.speech.pooling.queries)

    def neck(self) -> str:
        return type(self.model.speech.neck).__name__

    def neck_sizes(self) -> dict[str, Any]:
        neck = self.model.speech.neck
        layer = neck.layers[0]
        sizes = {"layers": len(neck.layers), "size": neck.output_size, "heads": layer.heads}
        return {**sizes, "feedforward": layer.inner.out_features, "dropout": layer.dropout.p}

    def embedding(self) -> int:
        return self.model.speech.output_size

    def head(self) -> dict[str, Any]:
        """Shapes of the linear layers, and what stands between them; None where there is nothing."""
        found: dict[str, Any] = {"norm": None, "dropout": None}
        for module in self.model.head.modules():
            if isinstance(module, nn.Linear):
                found["last" if "linear" in found else "linear"] = (module.out_features, module.in_features)
            elif isinstance(module, nn.Dropout):
                found["dropout"] = module.p
            elif isinstance(module, nn.BatchNorm1d):
                found["norm"] = module.num_features
        return found

    def head_dropouts(self) -> dict[str, float]:
        speech = self.model.speech
        found = {"heads": getattr(speech.pooling, "head_drop", 0.0)}
        found["projection"] = getattr(getattr(speech.projection, "dropout", None), "p", 0.0)
        return found | {"embedding": getattr(getattr(self.model.head, "dropout", None), "p", 0.0)}

    def layer(self) -> int:
        """The transformer layer that is pooled: the last that is built."""
        return len(self.model.encoder.backbone.encoder.layers)

    def speeds(self) -> tuple[float, ...]:
        augmentation = augmentation_of(self.config)
        return (1.0,) if augmentation is None else tuple(augmentation.speeds)


@cache
def built(name: str, classes: int = 5_994) -> Built:
    """What a recipe builds."""
    return Built(recipe(name), classes)


def agrees(found: Any, wanted: Any) -> bool:
    """Whether what is built is what was wanted; of a table all that is wanted of it."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(key in found and agrees(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, tuple | list):
        same_length = isinstance(found, tuple | list) and len(found) == len(wanted)
        return same_length and all(map(agrees, found, wanted))
    if isinstance(wanted, float) and isinstance(found, int | float):
        return math.isclose(found, wanted, rel_tol=1e-3, abs_tol=1e-12)
    return bool(found == wanted)
