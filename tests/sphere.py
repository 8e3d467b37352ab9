"""NIST SPHERE files, written by hand: a header of text lines `name -type value`, then the samples."""

import io

import numpy as np
import soundfile as sf


def stereo(seconds: float, rate: int = 8_000) -> np.ndarray:
    """(samples, 2): two different tones in 16 bits."""
    time = np.arange(round(seconds * rate)) / rate
    tones = np.stack([0.4 * np.sin(2 * np.pi * 300 * time), 0.2 * np.sin(2 * np.pi * 700 * time)], axis=1)
    return np.round(tones * 32_768) / 32_768


def sphere_bytes(samples: np.ndarray, coding: str = "pcm", order: str = "01", rate: int = 8_000) -> bytes:
    """A file of (samples, channels): header of 1,024 bytes, then the samples, the channels taking turns.

    Args:
        samples: float in [-1, 1].
        coding: the field sample_coding; "ulaw" is written as such, everything else as 16-bit numbers.
        order: "01": the low byte first, "10": the high one.
        rate: samples per second.
    """
    width = 1 if coding.startswith("ulaw") else 2
    if width == 1:
        file = io.BytesIO()
        sf.write(file, samples, rate, format="RAW", subtype="ULAW")
        content = file.getvalue()
    else:
        content = np.round(samples * 32_768).astype("<i2" if order == "01" else ">i2").tobytes()
    fields = {
        "channel_count -i": samples.shape[1],
        "sample_rate -i": rate,
        "sample_count -i": len(samples),
        "sample_n_bytes -i": width,
        f"sample_byte_format -s{width}": order if width == 2 else "1",
        f"sample_coding -s{len(coding)}": coding,
    }
    lines = ["NIST_1A", "   1024", *(f"{name} {value}" for name, value in fields.items()), "end_head", ""]
    return "\n".join(lines).encode().ljust(1024) + content
