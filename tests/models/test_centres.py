"""Where the frames of a network lie: the middle of all that a change of the output can be traced back to."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hf_speech.models.backbones import OWN_BACKBONES
from hf_speech.models.ecapa import SqueezeExcitation
from hf_speech.models.modeling import HfSpeechModel
from hf_speech.models.network_encoder import NETWORKS
from hf_speech.models.vgg import VGG
from hf_speech.models.wav2vec import UtteranceNorm

from .tiny import lively, tiny_config

BANDS, BATCH = 8, 16
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "x-vector": [{"channels": [8, 8, 8, 8, 12]}],
    "ecapa-tdnn": [{"channels": [8, 8, 8, 8, 12], "scale": 4, "se_channels": 6}],
    "vgg": [{"blocks": blocks, "size": 32} for blocks in (1, 2, 3, 4)],
    "residual-vgg": [{"size": 64}],
    "spectrum": [{}],
    "wav2vec": [{"conv_layers": [[8, 10, 5], [12, 8, 4], [16, 4, 2], [16, 1, 1]], "context_kernels": [2, 3, 4]}],
}
OPTIONS["wav2vec"].append(OPTIONS["wav2vec"][0] | {"context_kernels": [1], "reduction": [4, 2]})
CASES = [(name, options) for name in NETWORKS for options in OPTIONS[name]]


class Constant(nn.Module):
    """Stands for what is drawn from the whole utterance: it gives the first argument, or factors of 0.7."""

    def __init__(self, factors: bool) -> None:
        super().__init__()
        self.factors = factors

    def forward(self, values: Tensor, counts: Tensor | None = None) -> Tensor:
        return torch.full_like(values[..., :1], 0.7) if self.factors else values


def local(network: nn.Module) -> nn.Module:
    """The network without statistics of the utterance, which every frame would depend on."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, SqueezeExcitation | UtteranceNorm):
                setattr(parent, name, Constant(isinstance(child, SqueezeExcitation)))
    return network


def footprint(frames: Tensor, frame: int, values: Tensor) -> tuple[int, int]:
    """The first and the last input place, (B, T) or (B, T, bands), on which some number of the frame depends."""
    (gradient,) = torch.autograd.grad(frames[:, frame].square().sum(), values, retain_graph=True)
    places = gradient.view(BATCH, values.shape[1], -1).ne(0).any(2).any(0).nonzero()
    return int(places[0]), int(places[-1])


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_frame_lies_in_the_middle_of_what_it_has_seen(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    raw = name == "wav2vec"
    network = local(lively(NETWORKS[name](**options) if raw else NETWORKS[name](BANDS, **options))).double()
    values = torch.randn(BATCH, 3_000, dtype=torch.double) if raw else torch.randn(BATCH, 200, BANDS).double()
    values.requires_grad_()
    # A sample has a length, and its end counts; a frame of features stands for its middle.
    of_waves = network if "reduction" in options else getattr(network, "features", None)  # without what looks back
    frames, length = (of_waves(values)[0], 1) if raw else (network(values), 0)
    middle = frames.shape[1] // 2
    for frame in (middle, middle + 1):
        first, last = footprint(frames, frame, values)
        print(f"{name} {options}: frame {frame} sees {first} to {last}, centre {network.centre(frame)}")
        assert 0 < first and last < values.shape[1] - 1
        assert network.centre(frame) == (first + last + length) / 2


def test_the_third_frame_of_four_blocks() -> None:
    """Frames 2 to 77, by hand: 32 to 47 are pooled, and two convolutions a block reach 2 * (1 + 2 + 4 + 8) further."""
    assert VGG(BANDS, size=8).centre(2) == 39.5 == ((32 - 30) + (47 + 30)) / 2


def test_the_context_of_wav2vec_ends_where_its_own_frame_does() -> None:
    torch.manual_seed(0)
    options, _ = OPTIONS["wav2vec"]
    network = local(lively(NETWORKS["wav2vec"](**options))).double()
    values = torch.randn(BATCH, 3_000, dtype=torch.double, requires_grad=True)
    frames, _ = network(values)
    first, last = footprint(frames, 40, values)
    before = network.hop * sum(kernel - 1 for kernel in options["context_kernels"])
    assert last + 1 == network.centre(40) + network.min_samples / 2
    assert first == network.centre(40) - network.min_samples / 2 - before


@torch.inference_mode()
@pytest.mark.parametrize("backbone", OWN_BACKBONES)
def test_a_click_is_heard_at_the_time_of_the_frames(backbone: str) -> None:
    """It changes as many frames before it as behind it; behind a context that looks back, none before its own."""
    own = {} if backbone == "wav2vec" else {"frontend_config": {"norm": "none"}}
    model = local(lively(HfSpeechModel(tiny_config(backbone, own))))
    silent, click = torch.zeros(2, 24_000).split(1)
    click[:, 12_000] = 1.0
    before, after = (model(wave).last_hidden_state[0] for wave in (silent, click))
    times = torch.tensor(model.frame_times(len(before)))[(before != after).any(dim=1)]
    spacing = model.encoder.hop / model.config.sampling_rate
    if backbone == "wav2vec":
        half = model.encoder.min_samples / 2 / model.config.sampling_rate
        assert times[0] == pytest.approx(0.75 - half, abs=spacing)
    else:
        assert len(times) > 1 and times[[0, -1]].mean() == pytest.approx(0.75, abs=spacing / 2 + 1e-4)


def test_every_network_has_a_case() -> None:
    assert OPTIONS.keys() == NETWORKS.keys()
