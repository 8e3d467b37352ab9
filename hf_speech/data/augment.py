"""Waveforms made different for training, drawn anew for every row: speed, room, noise, babble, line, gain.

Two steps. `Augmentation` draws, in the data loader's worker, all that is random about a row (`drawing`). `augmented`
then does it to the whole batch (`effects`), on whatever device the batch lies, and normalises as the feature extractor
would have. The speed alone is changed where the row is read (`speeds`), since it decides how much is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..audio import SAMPLE_RATE
from ..errors import InputError, unknown_name
from ..models.registry import is_number, with_options
from .drawing import EFFECTS, Babble, Drawn, Effect, Gain, Lowpass, MuLaw, Noise, Reverb, Scene, Telephone
from .effects import limit_peak, normalised
from .speeds import change_speed, speed_ratio

DRAWN = "augmentation"  # the key of a batch under which `augmented` finds what was drawn
NORMALIZE = "normalize"  # among the draws of a batch that the feature extractor would have normalised
Tables = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may happen to a waveform; with the defaults nothing does. All values can stand in a YAML or JSON file.

    In the order of the fields; each but the speed has its own probability, as in `{noise: {probability: 0.5}}`. Where
    full scale is passed in the end, the whole is made softer.

    Attributes:
        speeds: factors, of which one is drawn, all with equal probability; with 1.1 the voice is faster and higher.
        reverb: a room, given or simulated.
        noise: of a colour or from a folder.
        babble: of a folder's voices, or of the other rows'.
        telephone: the band of the telephone.
        lowpass: nothing above a frequency.
        mu_law: the 8-bit codec of the telephone.
        gain: louder or softer.
        sample_rate: of the waveforms, in Hz.

    Raises:
        InputError: an unknown field of a table, an impossible value, a folder without sounds: by field.
    """

    speeds: Sequence[float] = (1.0,)
    reverb: Reverb = Reverb()
    noise: Noise = Noise()
    babble: Babble = Babble()
    telephone: Telephone = Telephone()
    lowpass: Lowpass = Lowpass()
    mu_law: MuLaw = MuLaw()
    gain: Gain = Gain()
    sample_rate: int = SAMPLE_RATE

    def __post_init__(self) -> None:
        if not is_number(self.sample_rate) or self.sample_rate < 1:
            raise InputError(f"sample_rate {self.sample_rate!r}: give Hz above 0")
        is_list = isinstance(self.speeds, Sequence) and not isinstance(self.speeds, str) and len(self.speeds) > 0
        if not is_list or len(set(self.speeds)) < len(self.speeds):
            raise InputError(f"speeds {self.speeds!r}: give a list of one or more different factors")
        for speed in self.speeds:
            speed_ratio(speed)
        object.__setattr__(self, "speeds", tuple(self.speeds))
        for name, kind in EFFECTS.items():
            value = getattr(self, name)
            if not isinstance(value, kind):
                object.__setattr__(self, name, _effect(kind, value))
            getattr(self, name).check_rate(self.sample_rate)

    @property
    def effects(self) -> dict[str, Effect]:
        """Name -> effect, in the order in which they happen."""
        return {name: getattr(self, name) for name in EFFECTS}

    def draw_speed(self, rng: np.random.Generator) -> float:
        """One of the speeds: the first thing to be drawn, as it decides how much is read, and perhaps the class."""
        return float(self.speeds[int(rng.integers(len(self.speeds)))])

    def draw(self, samples: int, rng: np.random.Generator, others: Sequence[np.ndarray] = ()) -> dict[str, Drawn]:
        """What happens to a row, but for its speed: effect by effect, first whether it happens, then its values.

        Args:
            samples: how many the row has, its speed changed.
            rng: of all draws.
            others: waveforms of other rows, for babble without a folder.

        Returns:
            Effect -> draw, of those that happen, in their order.

        Raises:
            InputError: a file of a folder that can't be read, by name.
        """
        scene = Scene(samples, self.sample_rate, others)
        made = {name: effect.draw(scene, rng) for name, effect in self.effects.items() if _happens(effect, rng)}
        return {name: drawn for name, drawn in made.items() if drawn is not None}

    def __call__(self, waveform: np.ndarray, rng: np.random.Generator, others: Sequence[np.ndarray] = ()) -> np.ndarray:
        """One waveform as the draws make it.

        Args:
            waveform: (source samples,) in [-1, 1].
            rng: of all draws.
            others: waveforms of other rows, for babble without a folder.

        Returns:
            (ceil(source samples / speed),) float32, in [-1, 1] or within the range of the waveform that came, if that
            is greater.
        """
        made = change_speed(waveform, self.draw_speed(rng))
        drawn = collate_drawn([self.draw(len(made), rng, others)])
        return apply_drawn(torch.from_numpy(made)[None], torch.tensor([len(made)]), drawn)[0].numpy()


@torch.no_grad()
def augmented(batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch of `SpeechCollator(augment_later=True)` as it goes into the model, made where its tensors lie.

    Args:
        batch: of the collator, moved to any device; one without draws comes back as it is.

    Returns:
        The batch without its draws; `input_values` (B, T) as the draws made them, then each row normalised where the
        feature extractor would have, 0 in the padding.
    """
    made = {name: value for name, value in batch.items() if name != DRAWN}
    if DRAWN in batch:
        lengths = batch["attention_mask"].sum(1)
        waveforms = apply_drawn(batch["input_values"], lengths, batch[DRAWN])
        made["input_values"] = normalised(waveforms, lengths) if NORMALIZE in batch[DRAWN] else waveforms
    return made


def augmentation(table: Mapping[str, Any], sample_rate: int = SAMPLE_RATE) -> Augmentation | None:
    """What a run's field `augment` says; None of an empty table.

    Args:
        table: field of `Augmentation` -> value, or table of values.
        sample_rate: of the waveforms, in Hz.

    Raises:
        InputError: an unknown field, or an impossible value.
    """
    valid = {field.name for field in fields(Augmentation)} - {"sample_rate"}
    for name in table:
        if name not in valid:
            raise unknown_name(name, valid | {"speed_classes"}, "field of augment")
    try:
        return Augmentation(sample_rate=sample_rate, **table) if table else None
    except InputError as error:
        raise InputError(f"augment: {error}") from None


def collate_drawn(rows: Sequence[Mapping[str, Drawn]], *, normalize: bool = False) -> dict[str, dict[str, Tensor]]:
    """The draws of a batch's rows as tensors, all of which have a row each in their first dimension.

    Args:
        rows: what was drawn for each.
        normalize: whether `augmented` is to normalise them, each over its real samples.

    Returns:
        Effect -> {"drawn": (B,) bool, whether it happens to the row; value -> (B,) or (B, longest) float32, with 0
        where nothing was drawn}, of the effects that happen to any row; and "normalize", where it is wanted.
    """
    tables = {}
    for name in EFFECTS:
        drawn = [row[name].values if name in row else None for row in rows]
        some = next((values for values in drawn if values is not None), None)
        if some is not None:
            columns = {key: _column([values[key] if values else None for values in drawn]) for key in some}
            tables[name] = {"drawn": torch.tensor([values is not None for values in drawn]), **columns}
    if normalize:
        tables[NORMALIZE] = {"drawn": torch.ones(len(rows), dtype=torch.bool)}
    return tables


def apply_drawn(waveforms: Tensor, lengths: Tensor, drawn: Tables) -> Tensor:
    """All that was drawn, done to a batch; no row passes full scale, or the peak that it came with, if that is higher.

    Shape:
        waveforms (B, T), 0 beyond lengths (B,), drawn: see `collate_drawn` -> (B, T)
    """
    limit = waveforms.abs().amax(1).clamp_min(1.0)
    made = waveforms
    for name in EFFECTS:
        if name in drawn:
            made = apply_effect(name, made, lengths, drawn[name])
    return limit_peak(made, limit)


def apply_effect(name: str, waveforms: Tensor, lengths: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    """One effect, done to the rows that it was drawn for; full scale may be passed.

    Shape:
        waveforms (B, T), lengths (B,), values: one table of `collate_drawn` -> (B, T)
    """
    rows = values["drawn"].nonzero()[:, 0]
    own = {key: value[rows] for key, value in values.items() if key != "drawn"}
    made = waveforms.clone()
    made[rows] = EFFECTS[name].apply(waveforms[rows], lengths[rows], own)
    return made


def _column(values: Sequence[float | np.ndarray | None]) -> Tensor:
    """Numbers -> (B,); arrays -> (B, longest), filled up with 0; float32."""
    if not any(isinstance(value, np.ndarray) for value in values):
        return torch.tensor([0.0 if value is None else value for value in values], dtype=torch.float32)
    rows = [torch.from_numpy(value) if isinstance(value, np.ndarray) else torch.zeros(0) for value in values]
    longest = max(map(len, rows))
    return torch.stack([F.pad(row, (0, longest - len(row))) for row in rows])


def _effect(kind: type[Effect], table: Any) -> Effect:
    """An effect from its table: what YAML has in the place of one."""
    if not isinstance(table, Mapping):
        valid = ", ".join(item.name for item in fields(kind))
        raise InputError(f"{kind.name} {table!r}: give a table of its fields: {valid}")
    return with_options(kind, table, kind.name)()


def _happens(effect: Effect, rng: np.random.Generator) -> bool:
    return bool(rng.random() < effect.probability)
