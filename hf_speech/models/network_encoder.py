"""Waveform -> frames: the networks of ours, behind a front end or straight from the waveform."""

import itertools

from torch import Tensor

from .configuration import HfSpeechConfig
from .ecapa import EcapaTDNN
from .encoder import Encoder, EncoderOutput, Rung, frame_mask_of
from .frontends import FRONTENDS
from .registry import InputError, build, with_options
from .spec_augment import SpecAugment
from .spectrum import Spectrum
from .tdnn import XVectorTDNN
from .vgg import VGG, ResidualVGG
from .wav2vec import Wav2Vec

NETWORKS = {
    "x-vector": XVectorTDNN,
    "ecapa-tdnn": EcapaTDNN,
    "vgg": VGG,
    "residual-vgg": ResidualVGG,
    "wav2vec": Wav2Vec,
    "spectrum": Spectrum,
}


class NetworkEncoder(Encoder):
    """A network of ours behind the encoder contract: spectral features of the waveform first, where it takes such."""

    def __init__(self, config: HfSpeechConfig) -> None:
        super().__init__()
        own, what = config.backbone_config, "backbone"
        self.spec_augment: SpecAugment | None = None
        if hasattr(own, "frontend"):  # not its class: code from the Hub may come in two copies
            self.frontend = build(FRONTENDS, own.frontend, "frontend", own.frontend_config, config.sampling_rate)
            self.backbone = build(NETWORKS, own.model_type, what, own.network_config, self.frontend.output_size)
            self.min_samples, self.hop = self.frontend.min_samples, self.frontend.hop * self.backbone.stride
            bands = self.frontend.output_size
        else:
            self.frontend = None
            self.backbone = build(NETWORKS, own.model_type, what, own.network_config)
            self.min_samples, self.hop = self.backbone.min_samples, self.backbone.hop
            bands = self.backbone.output_size
        options = getattr(own, "spec_augment", None)  # configurations of older files have none
        if options is not None:
            self.spec_augment = with_options(SpecAugment, options, "spec_augment")(bands)
        self.output_size = self.backbone.output_size

    def rungs(self) -> list[Rung]:
        """See the base class: there is one, of wav2vec 1.0 two. Masks on what a network takes rest with it."""
        masks = [] if self.spec_augment is None else [self.spec_augment]
        network = self.backbone
        if not isinstance(network, Wav2Vec):
            return [Rung("network", [network, *masks])]
        above = [network.context, *([] if network.reduction is None else [network.reduction]), *masks]
        return [Rung("cnn", [network.encoder]), Rung("context", above)]

    def frame_centre(self, frame: int) -> float:
        """See the base class."""
        centre = self.backbone.centre(frame)
        return centre if self.frontend is None else self.frontend.min_samples / 2 + centre * self.frontend.hop

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> EncoderOutput:
        """Encodes waveforms.

        Args:
            input_values: (B, T) waveforms, padded at the right.
            attention_mask: (B, T), 1 at real samples; None: all are real.
            output_hidden_states: refused: there are no layers to choose from.
            output_attentions: refused: there is no attention.

        Raises:
            InputError: a waveform is too short for one frame; layers or attentions were asked for.
        """
        if output_hidden_states or output_attentions:
            raise InputError(f"a {type(self.backbone).__name__} has no layers and no attentions to give; ask for none")
        lengths = self.lengths_of(input_values, attention_mask)
        dtype = next(itertools.chain(self.backbone.parameters(), self.backbone.buffers())).dtype
        if self.frontend is None:
            features, counts = self.backbone.features(input_values.to(dtype), lengths)
            if self.spec_augment is not None:
                features = self.spec_augment(features, counts)
            frames, counts = self.backbone.gathered(features, counts)
            return EncoderOutput(frames, frame_mask_of(frames, counts))
        features, counts = self.frontend(input_values, lengths)
        if self.spec_augment is not None:
            features = self.spec_augment(features, counts)
        frames = self.backbone(features.to(dtype), counts)
        return EncoderOutput(frames, frame_mask_of(frames, None if counts is None else self.backbone.count(counts)))
