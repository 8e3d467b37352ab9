"""Regularisation of SSL encoders by name: dropouts, SpecAugment's masks, LayerDrop; all, some, or none.

The values, and the names, are those of Vaessen & van Leeuwen, "Training speaker recognition systems with limited
data", Interspeech 2022 (2203.14688), in their code; LayerDrop is Fan et al.'s, ICLR 2020, the masks are Park et al.'s
("SpecAugment", Interspeech 2019) as wav2vec 2.0 has them (2006.11477, section 4.2).

Their dropout of 0.05 before the classifier is no part of an encoder (transformers' `final_dropout` is of heads that are
not built here): it is an option of a head.
"""

from typing import Any

from ..errors import InputError, lookup
from ..models.backbones import OWN_BACKBONES
from ..models.configuration import BACKBONES

_DROPOUTS: dict[str, float] = {
    "activation_dropout": 0.1,
    "attention_dropout": 0.1,
    "conformer_conv_dropout": 0.1,  # not theirs: the dropout that conformers have beside the others
    "feat_proj_dropout": 0.1,
    "hidden_dropout": 0.1,
}
_MASKS: dict[str, Any] = {
    "apply_spec_augment": True,
    "mask_time_prob": 0.5,
    "mask_time_length": 10,
    "mask_feature_prob": 0.1,
    "mask_feature_length": 64,
}
_NO_DROPOUTS = dict.fromkeys(_DROPOUTS, 0.0)
_NO_MASKS: dict[str, Any] = {"apply_spec_augment": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}
_LAYERDROP = 0.1


def _settings(dropouts: dict[str, float], masks: dict[str, Any], layerdrop: float) -> dict[str, Any]:
    return {"backbone_config": {**dropouts, **masks}, "layerdrop": layerdrop}


# Name -> settings of `HfSpeechConfig`; what one does not have is exactly 0.
REGULARIZATIONS: dict[str, dict[str, Any]] = {
    "default": _settings(_DROPOUTS, _MASKS, _LAYERDROP),
    "none": _settings(_NO_DROPOUTS, _NO_MASKS, 0.0),
    "dropout": _settings(_DROPOUTS, _NO_MASKS, 0.0),
    "masking": _settings(_NO_DROPOUTS, _MASKS, 0.0),
    "layerdrop": _settings(_NO_DROPOUTS, _NO_MASKS, _LAYERDROP),
}


def regularized(name: str, model_type: str) -> dict[str, Any]:
    """The settings of a regularisation for one backbone; they are to be laid below what a run gives itself.

    Args:
        name: of a regularisation.
        model_type: of the backbone; values that its configuration does not have are left out.

    Returns:
        {"backbone_config": {value: number}, "layerdrop": probability}.

    Raises:
        InputError: no such regularisation, or a backbone that has none of its parts.
    """
    settings = lookup(REGULARIZATIONS, name, "regularization")
    if model_type in OWN_BACKBONES:
        raise InputError(
            f"regularization {name!r} is for encoders of transformers, and a {model_type} has none of its dropouts; "
            "leave it out, and set spec_augment in backbone_config"
        )
    lookup(dict.fromkeys(BACKBONES), model_type, "backbone model_type")
    from transformers import CONFIG_MAPPING

    known = CONFIG_MAPPING[model_type]().to_dict()
    values = {field: value for field, value in settings["backbone_config"].items() if field in known}
    return {**settings, "backbone_config": values}
