"""Test signals, and what is measured of them."""

import math

import numpy as np
import torch

RATE = 16_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def tone(frequency: float, samples: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(samples) / RATE)).astype(np.float32)


def power(waveform: np.ndarray) -> float:
    return float(np.mean(waveform.astype(np.float64) ** 2))


def decibels(numerator: np.ndarray, denominator: np.ndarray) -> float:
    """Power over power."""
    return 10 * math.log10(power(numerator) / power(denominator))


def level_db(waveform: np.ndarray, reference: np.ndarray) -> float:
    """Power over that of the reference, without the first and last 0.1 s, where filters swing in."""
    return decibels(waveform[1600:-1600], reference[1600:-1600])


def padded(waveforms: list[np.ndarray], more: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T) and (B,): rows filled up with 0 to the longest, and by so many more."""
    longest = max(map(len, waveforms)) + more
    rows = [np.pad(waveform, (0, longest - len(waveform))) for waveform in waveforms]
    return torch.from_numpy(np.stack(rows)), torch.tensor([len(waveform) for waveform in waveforms])
