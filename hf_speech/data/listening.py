"""What an augmentation does to a file, written as files to listen to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..audio import read_audio, write_audio
from ..errors import InputError
from .augment import Augmentation, apply_effect, collate_drawn
from .drawing import Babble, Effect, Noise
from .effects import limit_peak, power
from .speeds import change_speed

SPEEDS = (0.9, 1.1)  # that are shown where the settings name none
DEFAULT_SEED = 0
_HEARD = 0.05  # dB: what is told to a tenth


@dataclass(frozen=True)
class Example:
    """A file that was written, and what was drawn for it."""

    path: Path
    told: str


def write_examples(
    file: str | Path,
    folder: str | Path,
    augmentation: Augmentation | None = None,
    count: int = 1,
    seed: int = DEFAULT_SEED,
) -> list[Example]:
    """A file as training hears it, as 16-bit wav files, none of them clipped.

    Args:
        file: the recording; channels are averaged.
        folder: where the files go to; made where it is not there, files of the same names are replaced.
        augmentation: what is drawn from. Where nothing in it can happen, and where it is None, every kind is shown
            once, with its values: the speeds, noise of each colour or of the folder, babble if it has a folder, ...
        count: how many draws, or how many of each kind, from 1 up.
        seed: of the draws, from 0 up.

    Returns:
        The files, in the order in which they were drawn; their names say what was done.

    Raises:
        InputError: the file, or one of the augmentation's folders, can't be read, or an impossible count or seed.
    """
    if count < 1 or seed < 0:
        raise InputError(f"count {count}, seed {seed}: give a count from 1 up and a seed from 0 up")
    settings = augmentation or Augmentation()
    waveform = read_audio(str(file), sample_rate=settings.sample_rate)
    plans = {"drawn": settings} if _can_happen(settings) else _each_kind(settings)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: this folder can't be made ({error.strerror}); give another") from error
    examples = []
    for kind, plan in plans.items():
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            ending, told, made = _example(plan, waveform, rng)
            parts = [Path(file).stem, ending if kind == "drawn" else kind]
            path = folder / ("-".join([*parts, *([f"{number + 1:02d}"] if count > 1 else [])]) + ".wav")
            write_audio(path, made, settings.sample_rate)
            examples.append(Example(path, told))
    return examples


def not_shown(augmentation: Augmentation | None) -> str:
    """A sentence on the babble, where one recording alone can't show it; else nothing."""
    settings = augmentation or Augmentation()
    if settings.babble.folder is not None or (_can_happen(settings) and not settings.babble.probability):
        return ""
    return "babble is not shown: it is made of the other rows of a batch; or give --babble.folder, a folder of speech"


def _example(augmentation: Augmentation, waveform: np.ndarray, rng: np.random.Generator) -> tuple[str, str, np.ndarray]:
    """One draw, applied step by step: names of what happened, words for it, and the waveform, in [-1, 1]."""
    speed = augmentation.draw_speed(rng)
    made = torch.from_numpy(change_speed(waveform, speed))[None]
    lengths = torch.tensor([made.shape[1]])
    names = [] if speed == 1 else [f"speed-{speed:g}"]
    told = [] if speed == 1 else [f"speed {speed:g}"]
    draws = augmentation.draw(made.shape[1], rng)
    for name, drawn in draws.items():
        before = made
        made = apply_effect(name, made, lengths, collate_drawn([{name: drawn}])[name])
        names.append(name)
        told.append(drawn.told + (_measured(before, made, lengths) if "snr_db" in drawn.values else ""))
    softer = 20 * math.log10(max(float(made.abs().max()), 1.0))
    if "gain" in draws and softer >= _HEARD:  # the last effect: what is heard of it is what is left
        drawn_db = float(draws["gain"].values["decibels"])
        heard = round(drawn_db - softer, 1) + 0.0  # no -0.0
        told[-1] = f"gain {heard:+.1f} dB ({drawn_db:+.1f} dB drawn, which would pass full scale)"
    elif softer >= _HEARD:
        told.append(f"all of it {softer:.1f} dB softer, to stay within full scale")
    return "-".join(names) or "unchanged", "; ".join(told) or "unchanged", limit_peak(made)[0].numpy()


def _measured(before: torch.Tensor, after: torch.Tensor, lengths: torch.Tensor) -> str:
    """The ratio of what was there to what was added."""
    added = float(power(after - before, lengths))
    return f" (measured {10 * math.log10(float(power(before, lengths)) / added):.1f} dB)" if added else " (silent)"


def _can_happen(augmentation: Augmentation) -> bool:
    return set(augmentation.speeds) != {1.0} or any(effect.probability for effect in augmentation.effects.values())


def _each_kind(settings: Augmentation) -> dict[str, Augmentation]:
    """Name -> settings with which one kind happens, and nothing else."""
    plans = {f"speed-{speed:g}": replace(settings, speeds=[speed]) for speed in SPEEDS}
    for name, effect in settings.effects.items():
        for ending, certain in _certain(effect):
            table: dict[str, Any] = {name: certain}
            plans[f"{name}{ending}"] = replace(settings, **table)
    return plans


def _certain(effect: Effect) -> Sequence[tuple[str, Effect]]:
    """An effect that happens in any case, with what the name says of it; each colour of a noise by itself."""
    if isinstance(effect, Babble) and effect.folder is None:
        return []  # there are no other rows
    if isinstance(effect, Noise) and effect.folder is None:
        return [(f"-{colour}", replace(effect, probability=1.0, colours=[colour])) for colour in effect.colours]
    return [("", replace(effect, probability=1.0))]
