"""What may happen to a waveform: each kind draws its numbers and sounds in the data loader's worker, row by row.

Applying them is the work of `effects`, on a whole batch. Levels of noise and babble after Snyder et al., "X-vectors:
robust DNN embeddings for speaker recognition", 2018, section 3.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from ..audio import SAMPLE_RATE
from ..errors import InputError, lookup
from ..models.registry import is_number
from .effects import TELEPHONE, gain, limit_band, mix, mu_law, reverberate
from .sound_folders import one_sound, read_piece, read_response, sounds_in
from .synthetic import COLOURS, babble, noise, room_response

T = TypeVar("T")
LOWEST_DRR = -6.0  # dB; further below, the direct path is no longer the largest tap of a simulated response
SHORTEST_RT60 = 0.05  # seconds; as above


@dataclass(frozen=True)
class Scene:
    """The row that is drawn for: how many samples it has at which rate, and the other waveforms of its batch."""

    samples: int
    sample_rate: int = SAMPLE_RATE
    others: Sequence[np.ndarray] = ()


@dataclass(frozen=True)
class Drawn:
    """What was drawn of one kind for one row: numbers and arrays by name, and in words."""

    told: str
    values: Mapping[str, float | np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A kind of change, which happens to a row with a probability.

    Ranges are [lowest, highest]; between the two all is equally likely.

    Raises:
        InputError: an impossible value, by field.
    """

    name: ClassVar[str]
    probability: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, list):  # so that what came from JSON is equal to what was given in Python
                object.__setattr__(self, item.name, tuple(value))
            if isinstance(item.default, tuple) and isinstance(item.default[0], float | int):
                self._require_range(item.name, value)
        if not is_number(self.probability) or not 0 <= self.probability <= 1:
            raise self._refusal("probability", "give a number from 0 to 1")
        self.check()

    def check(self) -> None:
        """Refuses what else is impossible, whatever the rate."""

    def check_rate(self, sample_rate: int) -> None:
        """Refuses what is impossible at a sampling rate (Hz)."""

    def draw(self, scene: Scene, rng: np.random.Generator) -> Drawn | None:
        """Everything that is random about it, for one row; None where it can't happen."""
        raise NotImplementedError

    @staticmethod
    def apply(waveforms: Tensor, lengths: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """What was drawn, done to the rows of a batch.

        Shape:
            waveforms (B, T), lengths (B,), values (B,) or (B, samples) each -> (B, T)
        """
        raise NotImplementedError

    def _refusal(self, option: str, mend: str) -> InputError:
        return InputError(f"{self.name}.{option} {getattr(self, option)!r}: {mend}")

    def _require_range(self, option: str, value: Any) -> None:
        is_list = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
        if not is_list or not all(map(is_number, value)) or value[0] > value[1]:
            raise InputError(f"{self.name}.{option} {value!r}: give the lowest and the highest value, such as [0, 15]")

    def _require_folder(self, folder: Any) -> None:
        if folder is not None and not isinstance(folder, str):
            raise self._refusal("folder", "give the path of a folder, as text")
        if folder is not None:
            sounds_in(folder, self.name)


@dataclass(frozen=True, kw_only=True)
class Reverb(Effect):
    """A room: a response of a folder, or a simulated one.

    Attributes:
        folder: of impulse responses; None: they are simulated, `synthetic.room_response`.
        seconds: RT60 of a simulated one.
        drr: energy of its direct path over all the rest, in dB.
    """

    name = "reverb"
    folder: str | None = None
    seconds: Sequence[float] = (0.2, 0.8)
    drr: Sequence[float] = (0.0, 12.0)

    def check(self) -> None:
        """See the base."""
        self._require_folder(self.folder)
        if self.seconds[0] < SHORTEST_RT60:
            raise self._refusal("seconds", f"give seconds from {SHORTEST_RT60:g} up")
        if self.drr[0] < LOWEST_DRR:
            raise self._refusal("drr", f"give dB from {LOWEST_DRR:g} up")

    def draw(self, scene: Scene, rng: np.random.Generator) -> Drawn:
        """In this order: file, channel; or RT60, ratio, noise."""
        if self.folder is not None:
            sound = one_sound(sounds_in(self.folder, self.name), rng)
            response, channel = read_response(sound, scene.sample_rate, rng)
            told = f"response {sound.name}" + (f", channel {channel}" if sound.info.channels > 1 else "")
        else:
            seconds, drr = _between(self.seconds, rng), _between(self.drr, rng)
            response = room_response(seconds, drr, scene.sample_rate, rng)
            told = f"room with RT60 {seconds:.2f} s, direct path {drr:.1f} dB above the rest"
        # What rings longer after the direct path than the row lasts is not heard.
        return Drawn(told, {"response": response[: int(np.abs(response).argmax()) + scene.samples]})

    @staticmethod
    def apply(waveforms: Tensor, lengths: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """See the base."""
        return reverberate(waveforms, values["response"], lengths)


class _Added(Effect):
    """A sound that is added at a signal-to-noise ratio."""

    @staticmethod
    def apply(waveforms: Tensor, lengths: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """See the base."""
        added = values["waveform"]
        padded = F.pad(added, (0, waveforms.shape[1] - added.shape[1]))
        return mix(waveforms, padded, values["snr_db"], lengths)


@dataclass(frozen=True, kw_only=True)
class Noise(_Added):
    """Noise of a colour, or a piece of a recording.

    Attributes:
        folder: of noises (and music); None: noise of the colours, `synthetic.noise`.
        colours: of which one is drawn.
        snr: signal-to-noise ratio in dB, powers over the whole row.
    """

    name = "noise"
    folder: str | None = None
    colours: Sequence[str] = tuple(COLOURS)
    snr: Sequence[float] = (0.0, 15.0)

    def check(self) -> None:
        """See the base."""
        self._require_folder(self.folder)
        if not isinstance(self.colours, Sequence) or isinstance(self.colours, str) or not self.colours:
            raise self._refusal("colours", f"give a list of {', '.join(COLOURS)}")
        for colour in self.colours:
            lookup(COLOURS, colour, "colour of noise")

    def draw(self, scene: Scene, rng: np.random.Generator) -> Drawn:
        """In this order: file and place, or colour and noise; ratio."""
        if self.folder is not None:
            sound = one_sound(sounds_in(self.folder, self.name), rng)
            waveform, what = read_piece(sound, scene.samples, scene.sample_rate, rng), f"noise {sound.name}"
        else:
            colour = _one_of(self.colours, rng)
            waveform, what = noise(colour, scene.samples, rng), f"{colour} noise"
        snr = _between(self.snr, rng)
        return Drawn(f"{what} at {snr:.1f} dB", {"waveform": waveform, "snr_db": snr})


@dataclass(frozen=True, kw_only=True)
class Babble(_Added):
    """Several voices at once: pieces of recordings, or of the other rows of the batch, where there are any.

    Attributes:
        folder: of speech; None: the other rows, so that it hangs on who is in the batch.
        voices: fewest and most.
        snr: signal-to-noise ratio in dB, powers over the whole row.
    """

    name = "babble"
    folder: str | None = None
    voices: Sequence[int] = (3, 7)
    snr: Sequence[float] = (13.0, 20.0)

    def check(self) -> None:
        """See the base."""
        self._require_folder(self.folder)
        if self.voices[0] < 1 or any(not float(count).is_integer() for count in self.voices):
            raise self._refusal("voices", "give whole numbers from 1 up")

    def draw(self, scene: Scene, rng: np.random.Generator) -> Drawn | None:
        """In this order: how many voices, which, their places; ratio."""
        if self.folder is None and not scene.others:
            return None
        fewest, most = (int(count) for count in self.voices)
        count = int(rng.integers(fewest, most + 1))
        if self.folder is not None:
            sounds = [one_sound(sounds_in(self.folder, self.name), rng) for _ in range(count)]
            voices = [read_piece(sound, scene.samples, scene.sample_rate, rng) for sound in sounds]
        else:
            voices = [scene.others[i] for i in rng.permutation(len(scene.others))[:count]]
        waveform, snr = babble(voices, scene.samples, rng), _between(self.snr, rng)
        return Drawn(f"babble of {len(voices)} at {snr:.1f} dB", {"waveform": waveform, "snr_db": snr})


class _Band(Effect):
    """Only the frequencies between two."""

    @staticmethod
    def apply(waveforms: Tensor, lengths: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """See the base."""
        return limit_band(waveforms, values["low"], values["high"], lengths)


@dataclass(frozen=True, kw_only=True)
class Telephone(_Band):
    """The band of the telephone, 300 to 3400 Hz (ITU-T G.712)."""

    name = "telephone"

    def check_rate(self, sample_rate: int) -> None:
        """See the base."""
        if self.probability and sample_rate / 2 <= TELEPHONE[0]:
            raise self._refusal("probability", f"nothing lies above {TELEPHONE[0]:g} Hz at {sample_rate} Hz; give 0")

    def draw(self, scene: Scene, rng: np.random.Generator) -> Drawn:
        """Nothing is left to chance."""
        low, high = TELEPHONE
        values = {"low": low / scene.sample_rate, "high": high / scene.sample_rate}
        return Drawn(f"telephone band, {low:g} to {high:g} Hz", values)


@dataclass(frozen=True, kw_only=True)
class Lowpass(_Band):
    """Nothing above a frequency.

    Attributes:
        hz: the cut-off.
    """

    name = "lowpass"
    hz: Sequence[float] = (2000.0, 7000.0)

    def check_rate(self, sample_rate: int) -> None:
        """See the base."""
        if not 0 < self.hz[0] <= self.hz[1] <= sample_rate / 2 and (self.probability or self.hz != type(self).hz):
            raise self._refusal("hz", f"give Hz above 0, to {sample_rate / 2:g}")

    def draw(self, scene: Scene, rng: np.random.Generator) -> Drawn:
        """The cut-off."""
        hz = _between(self.hz, rng)
        return Drawn(f"low-pass at {hz:.0f} Hz", {"low": 0.0, "high": hz / scene.sample_rate})


@dataclass(frozen=True, kw_only=True)
class MuLaw(Effect):
    """The 8-bit codec of the telephone, ITU-T G.711, mu-law."""

    name = "mu_law"

    def draw(self, scene: Scene, rng: np.random.Generator) -> Drawn:
        """Nothing is left to chance."""
        return Drawn("mu-law, 8 bits")

    @staticmethod
    def apply(waveforms: Tensor, lengths: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """See the base."""
        return mu_law(waveforms)


@dataclass(frozen=True, kw_only=True)
class Gain(Effect):
    """Louder or softer.

    Attributes:
        db: in dB.
    """

    name = "gain"
    db: Sequence[float] = (-6.0, 6.0)

    def draw(self, scene: Scene, rng: np.random.Generator) -> Drawn:
        """The gain."""
        decibels = _between(self.db, rng)
        return Drawn(f"gain {decibels:+.1f} dB", {"decibels": decibels})

    @staticmethod
    def apply(waveforms: Tensor, lengths: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """See the base."""
        return gain(waveforms, values["decibels"])


def _one_of(values: Sequence[T], rng: np.random.Generator) -> T:
    return values[int(rng.integers(len(values)))]


def _between(ends: Sequence[float], rng: np.random.Generator) -> float:
    low, high = ends
    return float(rng.uniform(low, high))


# In the order in which they happen: the voice in its room, with what else sounds there, through the line.
EFFECTS: dict[str, type[Effect]] = {
    kind.name: kind for kind in (Reverb, Noise, Babble, Telephone, Lowpass, MuLaw, Gain)
}
