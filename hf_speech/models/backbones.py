"""Configurations of the backbones that transformers does not have: a front end and a network, each with its options."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class NetworkConfig(PreTrainedConfig):
    """A network of ours that takes waveforms.

    Args:
        network_config: options of the network, see the class that `NETWORKS` names for the `model_type`.
    """

    network_config: dict | None = None
    num_hidden_layers: int = 0  # no choice of layer

    def __post_init__(self, **kwargs: Any) -> None:
        self.network_config = dict(self.network_config or {})
        super().__post_init__(**kwargs)


@strict
class SpectralNetworkConfig(NetworkConfig):
    """A network of ours behind a front end that makes spectral features of the waveform.

    Args:
        frontend: name of a front end, see `FRONTENDS`.
        frontend_config: its options.
        network_config: options of the network.
    """

    frontend: str = "speechbrain-fbank"
    frontend_config: dict | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.frontend_config = dict(self.frontend_config or {})
        super().__post_init__(**kwargs)


@strict
class XVectorConfig(SpectralNetworkConfig):
    """The time-delay network of the x-vectors (Snyder et al., ICASSP 2018)."""

    model_type = "x-vector"


@strict
class EcapaConfig(SpectralNetworkConfig):
    """ECAPA-TDNN (Desplanques et al., Interspeech 2020)."""

    model_type = "ecapa-tdnn"


@strict
class VGGConfig(SpectralNetworkConfig):
    """The VGG of double multi-head attention (India et al., 2007.13199, section 3)."""

    model_type = "vgg"
    frontend: str = "log-mel"


@strict
class ResidualVGGConfig(SpectralNetworkConfig):
    """The residual network of the same authors' age classifier, with time kept."""

    model_type = "residual-vgg"
    frontend: str = "log-mel"


@strict
class Wav2VecConfig(NetworkConfig):
    """wav2vec 1.0 (Schneider et al., Interspeech 2019)."""

    model_type = "wav2vec"


OWN_BACKBONES: dict[str, type[NetworkConfig]] = {
    config.model_type: config for config in (XVectorConfig, EcapaConfig, VGGConfig, ResidualVGGConfig, Wav2VecConfig)
}
