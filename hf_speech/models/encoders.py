"""Which encoder a backbone gets."""

from .backbones import OWN_BACKBONES
from .configuration import HfSpeechConfig
from .encoder import Encoder
from .network_encoder import NetworkEncoder
from .ssl_encoder import SSLEncoder
from .w2v_bert_encoder import W2VBertEncoder


def make_encoder(config: HfSpeechConfig) -> Encoder:
    """The encoder of a config, with fresh weights."""
    model_type = config.backbone_config.model_type
    if model_type in OWN_BACKBONES:
        return NetworkEncoder(config)
    return W2VBertEncoder(config) if model_type == "wav2vec2-bert" else SSLEncoder(config)
