"""LoRA: low-rank updates of an encoder's attention are trained in place of its weights, by the library peft.

Hu et al., "LoRA", ICLR 2022. Heads, pooling and all else that is new is trained whole, and saved with the adapter.
"""

import dataclasses
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, one_line, unknown_name
from ..models.backbones import OWN_BACKBONES
from ..models.configuration import HfSpeechConfig
from ..models.modeling import HfSpeechForSequenceClassification, HfSpeechPreTrainedModel

if TYPE_CHECKING:
    from peft import PeftModel

FOLDER = "adapter"  # beside the merged model
_ABOUT = """---
library_name: peft
---

The low-rank updates, and the parts trained whole beside them, of the model in the folder above, which has them merged
in. Its card says what they were trained on and how well they do. To train on, or to switch:

```python
from hf_speech.training.adapters import load_lora

model = load_lora("folder-of-the-model")
```
"""
_STAGE = re.compile(r"(^|/)\d+-pretrain$")  # the folder of an encoder that a run has adapted for itself
# Queries and values, the choice of the paper (section 4.2), by the names that they have in transformers' encoders.
TARGETS = ("q_proj", "v_proj", "linear_q", "linear_v")
# What `lora` may set; the rest follows from the model.
_OURS = {"task_type", "peft_type", "auto_mapping", "inference_mode", "revision", "base_model_name_or_path"}


def add_lora(
    model: HfSpeechPreTrainedModel, settings: Mapping[str, Any] | None = None, *, backbone: str | None = None
) -> "PeftModel":
    """Freezes an encoder and gives it low-rank updates; all other parts go on being trained.

    Args:
        model: a model on an SSL encoder of transformers; it is changed.
        settings: fields of peft's `LoraConfig`: r, lora_alpha, lora_dropout, target_modules ...
        backbone: Hub name or folder that the encoder came from, for whoever loads the adapter.

    Raises:
        InputError: peft is not installed, an unknown or impossible setting, or an encoder without attention.
    """
    given = check_lora(model, settings)
    from peft import LoraConfig, get_peft_model

    values = {"target_modules": _targets(model), "modules_to_save": _new_parts(model), **given}
    try:
        with _peft_s_own_warnings():
            adapted = get_peft_model(model, LoraConfig(**values))
    except (ValueError, TypeError) as error:
        raise InputError(f"lora: {one_line(error)}; mend its fields") from error
    adapted.peft_config["default"].base_model_name_or_path = backbone  # peft would take the model's own name
    return adapted


def check_lora(model: HfSpeechPreTrainedModel, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings of `add_lora`, which a model may have; the model can be without numbers, and is not changed.

    Raises:
        InputError: peft is not installed, an unknown setting, an encoder without attention, or a WavLM whose
            attention takes the projections' weights themselves and would pass the updates by.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise InputError("LoRA needs peft, which is not installed: pip install 'hf_speech[lora]'") from error
    given = dict(settings or {})
    valid = {field.name for field in dataclasses.fields(LoraConfig)} - _OURS
    for name in given:
        if name not in valid:
            raise unknown_name(name, valid, "field of lora")
    kind = model.config.backbone_config.model_type
    if kind in OWN_BACKBONES or (not _targets(model) and "target_modules" not in given):
        raise InputError(f"lora: the encoder ({kind}) has no attention to adapt; leave lora out")
    if kind == "wavlm" and model.config._attn_implementation == "eager":
        raise InputError("lora: WavLM's eager attention passes the updates by; choose attn_implementation sdpa")
    return given


def _targets(model: HfSpeechPreTrainedModel) -> list[str]:
    there = {name.rpartition(".")[2] for name, _ in model.encoder.backbone.named_modules()}
    return [name for name in TARGETS if name in there]


@contextmanager
def _peft_s_own_warnings() -> Iterator[None]:
    """Silences what transformers says of an attribute that peft 0.21 asks for by its old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
        yield


def _new_parts(model: HfSpeechPreTrainedModel) -> list[str]:
    """Names of the parts that no checkpoint has: whatever has parameters beside the encoder's backbone."""
    base = f"{model.base_model_prefix}." if model.base_model is not model else ""
    candidates = {f"{base}{name}": getattr(model.base_model, name) for name in ("neck", "pooling", "projection")}
    for name in ("layer_mix", "class_token"):
        candidates[f"{base}frame_encoder.{name}"] = getattr(model.encoder, name, None)
    candidates |= {f"heads.{i}": head for i, head in enumerate(getattr(model, "heads", ()))}
    return [name for name, part in candidates.items() if part is not None and any(True for _ in part.parameters())]


def save_adapted(model: Any, folder: Path) -> HfSpeechForSequenceClassification:
    """Writes the adapter as peft does, into a folder of its own, and gives the model with the updates merged in.

    Args:
        model: what `add_lora` gave.
        folder: the finished model's; the adapter goes into `adapter/` in it.
    """
    model.save_pretrained(str(folder / FOLDER))
    # In the place of peft's form to fill in.
    (folder / FOLDER / "README.md").write_text(_ABOUT, encoding="utf-8")
    return model.merge_and_unload()


def load_lora(folder: str | Path, backbone: str | None = None) -> "PeftModel":
    """The adapter of a finished folder on the encoder that it was trained on, not merged: to train on, or to switch.

    Args:
        folder: the finished model's, with `config.json` and `adapter/`.
        backbone: Hub name or folder of the encoder; None: the one it was trained on.

    Raises:
        InputError: there is no adapter, or no such encoder; one that a run adapted for itself is looked for where that
            has left it, as seen from the folder.
    """
    from peft import PeftConfig, PeftModel

    place = Path(folder) / FOLDER
    if not (place / "adapter_config.json").is_file():
        raise InputError(f"{place}: no adapter here; give the folder of a model that was trained with lora")
    name = backbone or PeftConfig.from_pretrained(str(place)).base_model_name_or_path
    if not name:
        raise InputError(f"{place}: does not say which encoder it belongs to; give its Hub name or folder as backbone")
    if backbone is None and _STAGE.search(name):
        adapted = Path(folder) / name
        if not adapted.is_dir():
            raise InputError(f"{place}: its encoder was adapted for it, and is not in {adapted}; give it as backbone")
        name = str(adapted)
    model = HfSpeechForSequenceClassification(HfSpeechConfig.from_pretrained(str(folder)))
    model.encoder.load_pretrained(name)
    with _peft_s_own_warnings():
        return PeftModel.from_pretrained(model, str(place), is_trainable=True)
