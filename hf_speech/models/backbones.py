"""Configurations of the backbones that transformers does not have: a front end and a network, each with its options."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, TypeVar

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import PreTrainedConfig

from .registry import InputError, unknown_name

Config = TypeVar("Config", bound=PreTrainedConfig)

# What transformers' base class takes by keyword and is no field of it.
_TAKEN: tuple[str, ...] = ("model_type", "num_labels", "torch_dtype", "name_or_path", "output_attentions")
_TAKEN += ("attn_implementation", "experts_implementation")
_WORDS = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false"}
_WORDS |= {"list": "a list", "dict": "a table", "None": "nothing"}


def strict_fields(kind: type[Config]) -> type[Config]:
    """huggingface_hub's `strict`, whose errors become one line: a value of another kind than its field's is refused."""
    checked: Any = strict(kind)
    assign = checked.__setattr__
    kinds = {field.name: getattr(field.type, "__name__", str(field.type)).split(" | ") for field in fields(checked)}

    def assign_checked(self: Any, name: str, value: Any) -> None:
        try:
            assign(self, name, value)
        except StrictDataclassFieldValidationError as error:
            valid = " or ".join(_WORDS.get(word, word) for word in kinds[name])
            raise InputError(f"{name} is {value!r}; give {valid}") from error

    checked.__setattr__ = assign_checked
    return checked


def check_fields(model_type: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises InputError for a value that a backbone's configuration does not have: transformers would take any.

    It is for what a user writes. A table that was stored (it has its `transformers_version`) may have values that
    another version knew, and is not to be held against this one's.

    Args:
        model_type: of the backbone.
        given: names of the values.
        known: names of the fields; what transformers takes of any configuration is known beside.
    """
    valid = {*known, *_TAKEN}
    for name in given:
        if name not in valid and not name.startswith("_"):
            raise unknown_name(name, valid, f"value of a {model_type} configuration")


@strict_fields
class NetworkConfig(PreTrainedConfig):
    """A network of ours that takes waveforms.

    Args:
        network_config: options of the network, see the class that `NETWORKS` names for the `model_type`.

    Raises:
        InputError: a value that it does not have, or layers.
    """

    network_config: dict | None = None
    num_hidden_layers: int = 0  # no choice of layer

    def __post_init__(self, **kwargs: Any) -> None:
        if self.transformers_version is None:
            check_fields(self.model_type, kwargs, (field.name for field in fields(self)))
        if self.num_hidden_layers != 0:
            raise InputError(
                f"num_hidden_layers is {self.num_hidden_layers}, but {self.model_type} has no layers to choose from; "
                "leave it out, and set the network's size in network_config"
            )
        self.network_config = dict(self.network_config or {})
        super().__post_init__(**kwargs)


@strict_fields
class SpectralNetworkConfig(NetworkConfig):
    """A network of ours behind a front end that makes spectral features of the waveform.

    Args:
        frontend: name of a front end, see `FRONTENDS`.
        frontend_config: its options.
        network_config: options of the network.
        spec_augment: options of `SpecAugment` on the features, such as {"time_masks": [2, 2], "time_width": 40}; an
            empty table takes its defaults. None: no SpecAugment.
    """

    frontend: str = "speechbrain-fbank"
    frontend_config: dict | None = None
    spec_augment: dict | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.frontend_config = dict(self.frontend_config or {})
        super().__post_init__(**kwargs)


@strict_fields
class XVectorConfig(SpectralNetworkConfig):
    """The time-delay network of the x-vectors (Snyder et al., ICASSP 2018)."""

    model_type = "x-vector"


@strict_fields
class EcapaConfig(SpectralNetworkConfig):
    """ECAPA-TDNN (Desplanques et al., Interspeech 2020)."""

    model_type = "ecapa-tdnn"


@strict_fields
class VGGConfig(SpectralNetworkConfig):
    """The VGG of double multi-head attention (India et al., 2007.13199, section 3)."""

    model_type = "vgg"
    frontend: str = "log-mel"


@strict_fields
class ResidualVGGConfig(SpectralNetworkConfig):
    """The residual network of the same authors' age classifier, with time kept."""

    model_type = "residual-vgg"
    frontend: str = "log-mel"


@strict_fields
class Wav2VecConfig(NetworkConfig):
    """wav2vec 1.0 (Schneider et al., Interspeech 2019).

    Args:
        spec_augment: options of `SpecAugment` on the features that its context is gathered from; see
            `SpectralNetworkConfig`.
    """

    model_type = "wav2vec"
    spec_augment: dict | None = None


@strict_fields
class SpectrumConfig(SpectralNetworkConfig):
    """The features of a front end and no network: for models of their statistics, and so as they are (norm none)."""

    model_type = "spectrum"
    frontend: str = "log-mel"

    def __post_init__(self, **kwargs: Any) -> None:
        self.frontend_config = {"norm": "none", **(self.frontend_config or {})}
        super().__post_init__(**kwargs)


OWN_BACKBONES: dict[str, type[NetworkConfig]] = {
    config.model_type: config
    for config in (XVectorConfig, EcapaConfig, VGGConfig, ResidualVGGConfig, Wav2VecConfig, SpectrumConfig)
}
