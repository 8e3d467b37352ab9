"""SpecAugment on spectral features: bands and stretches of time that a network does not get to see in training."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .registry import InputError


class SpecAugment(nn.Module):
    """Sets some bands, and some stretches of time, of each utterance to 0 in training; no-op in evaluation.

    Park et al., "SpecAugment", Interspeech 2019, section 2, without time warping. The number of masks of each kind is
    drawn for each utterance from the range given, the width of each mask from 0 to the greatest, its place from all
    where it fits. Masks may overlap.

    After normalisation by the mean (the front end's `norm`), 0 is the utterance's own mean in that band; without one
    it is just a number. What is hidden of the time is at most the share `time_share` of the utterance's own frames:
    masks that would go beyond are cut, so that a single frame is never hidden. Time masks keep to the real frames.

    The numbers are drawn from torch's generator of the features' device. The defaults are those of the MFCC systems of
    Vaessen & van Leeuwen, Interspeech 2022 (2203.14688), in their code.

    Args:
        bands: of the features.
        time_masks: fewest and most masks of time.
        time_width: of the widest, frames.
        band_masks: fewest and most masks of bands.
        band_width: of the widest, bands.
        time_share: of an utterance's frames, the greatest share that is hidden, from 0 to below 1.

    Raises:
        InputError: ranges that are none, or masks that could hide all bands.
    """

    def __init__(
        self,
        bands: int,
        *,
        time_masks: Sequence[int] = (5, 10),
        time_width: int = 10,
        band_masks: Sequence[int] = (1, 3),
        band_width: int = 4,
        time_share: float = 0.5,
    ) -> None:
        super().__init__()
        for name, masks in (("time_masks", time_masks), ("band_masks", band_masks)):
            if len(masks) != 2 or not 0 <= masks[0] <= masks[1]:
                raise InputError(f"spec_augment: {name} is {list(masks)}; give the fewest and the most, such as [1, 3]")
        for name, width in (("time_width", time_width), ("band_width", band_width)):
            if width < 1:
                raise InputError(f"spec_augment: {name} is {width}; give 1 or more")
        if not 0 <= time_share < 1:
            raise InputError(f"spec_augment: time_share is {time_share}; give a share from 0 to below 1")
        if band_masks[1] * band_width >= bands:
            raise InputError(
                f"spec_augment: {band_masks[1]} masks of {band_width} bands could hide all {bands}; "
                "give fewer band_masks, or a smaller band_width"
            )
        self.bands, self.time_share = bands, float(time_share)
        self.time_masks, self.time_width = tuple(time_masks), time_width
        self.band_masks, self.band_width = tuple(band_masks), band_width

    def forward(self, features: Tensor, counts: Tensor | None = None) -> Tensor:
        """Hides what it has drawn.

        Args:
            features: (B, F, bands) float.
            counts: (B,) int, of the F frames of each the real ones; None: all.

        Shape:
            (B, F, bands)
        """
        if not self.training:
            return features
        batch, frames, bands = features.shape
        if counts is None:
            counts = torch.full((batch,), frames, device=features.device)
        most = (counts * self.time_share).long()
        hidden_frames = draw_masks(counts, most, frames, self.time_masks, self.time_width)
        sizes = torch.full_like(counts, bands)
        hidden_bands = draw_masks(sizes, sizes, bands, self.band_masks, self.band_width)
        return features.masked_fill(hidden_frames[..., None] | hidden_bands[:, None], 0.0)


def draw_masks(sizes: Tensor, most: Tensor, places: int, masks: tuple[int, ...], width: int) -> Tensor:
    """Random spans, for each utterance its own.

    Args:
        sizes: (B,) int, of the places of each utterance the real ones.
        most: (B,) int, how many of them may be hidden in all.
        places: P, of the longest.
        masks: fewest and most spans.
        width: of the widest.

    Returns:
        (B, P) bool, True where hidden.
    """
    device, shape = sizes.device, (len(sizes), masks[1])
    number = masks[0] + _below(torch.rand(shape[0], 1, device=device), masks[1] - masks[0] + 1)
    widths = _below(torch.rand(shape, device=device), sizes.clamp(max=width)[:, None] + 1)
    widths = widths * (torch.arange(shape[1], device=device) < number)
    before = widths.cumsum(1) - widths
    widths = torch.minimum(widths, (most[:, None] - before).clamp(min=0))
    starts = _below(torch.rand(shape, device=device), sizes[:, None] - widths + 1)
    place = torch.arange(places, device=device)
    inside = (place >= starts[..., None]) & (place < (starts + widths)[..., None])
    return inside.any(1)


def _below(uniform: Tensor, limit: Tensor | int) -> Tensor:
    """Whole numbers from 0 to below the limit, of uniform ones from 0 to below 1."""
    return (uniform * limit).long().clamp(max=limit - 1)  # the product may be rounded up to the limit
