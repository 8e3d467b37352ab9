"""An ONNX file of a classifier -> what it says of waveforms; without torch."""

import importlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, lookup, one_line
from ..telemetry import keep_quiet
from .facts import KEY, Facts, needing

logger = logging.getLogger(__name__)

FILE = "model.onnx"
# What --device says -> the runtime's providers, the first of which does the work.
DEVICES = {"cpu": ["CPUExecutionProvider"], "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"]}


@dataclass(frozen=True, eq=False)
class OnnxClassifier:
    """A classifier in an ONNX file, loaded.

    Attributes:
        facts: what the file says of itself.
        session: of onnxruntime.
    """

    facts: Facts
    session: Any

    def __call__(self, waveforms: Sequence[NDArray]) -> dict[str, NDArray]:
        """What it says of waveforms, all in one batch.

        Args:
            waveforms: B of (samples,) float32, in [-1, 1], raw, at the rate and of at least the length that `facts`
                has.

        Returns:
            Output -> (B, ...), in the order of `facts.outputs`.
        """
        return self.run(batch_of(waveforms))

    def run(self, batch: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """The same of a batch that is padded.

        Args:
            batch: as `batch_of` makes it: each row's real samples at its left end.

        Raises:
            InputError: a row has too few of them, or padding elsewhere than at its right end.
        """
        self._check(batch["attention_mask"])
        names = self.facts.outputs
        return dict(zip(names, self.session.run(names, dict(batch)), strict=True))

    def _check(self, mask: NDArray) -> None:
        lengths, least = mask.sum(axis=1), self.facts.min_samples
        for row in np.flatnonzero(lengths < least):
            raise InputError(f"row {row} of the batch: {lengths[row]} samples, the model needs {least}; leave it out")
        for row in np.flatnonzero((mask != (np.arange(mask.shape[1]) < lengths[:, None])).any(axis=1)):
            raise InputError(f"row {row} of the batch: padded elsewhere than at the right end; pad it there")


def batch_of(waveforms: Sequence[NDArray]) -> dict[str, NDArray]:
    """Waveforms padded with zeros at the right: `input_values` (B, T) float32, `attention_mask` (B, T) int64."""
    values = np.zeros((len(waveforms), max(map(len, waveforms))), np.float32)
    mask = np.zeros(values.shape, np.int64)
    for row, waveform in enumerate(waveforms):
        values[row, : len(waveform)] = waveform
        mask[row, : len(waveform)] = 1
    return {"input_values": values, "attention_mask": mask}


def load_onnx(model: str | Path, *, device: str = "auto", threads: int | None = None) -> OnnxClassifier:
    """Loads a file of `hf-speech export`.

    Args:
        model: the file, or a folder with model.onnx in it.
        device: "cpu"; "cuda"; "auto": the GPU if onnxruntime is a build for one, else the CPU.
        threads: of the CPU; None: as onnxruntime likes it.

    Raises:
        InputError: there is no such file, or none of `hf-speech export`; onnxruntime is not installed, or not for that
            device.
    """
    keep_quiet()
    runtime: Any = needing("an ONNX model", lambda: importlib.import_module("onnxruntime"))
    path, there, wanted = file_of(model), runtime.get_available_providers(), device
    if device == "auto":
        device = "cuda" if DEVICES["cuda"][0] in there else "cpu"
    providers = lookup(DEVICES, device, "device")
    if providers[0] not in there:
        mend = "pip uninstall onnxruntime, then pip install onnxruntime-gpu"
        raise InputError(f"device {device}: this onnxruntime has no {providers[0]}; {mend}")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    # Its threads would go on spinning after an answer, and take the cores from what the process does next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions have no common class but this
        raise InputError(f"{path}: can't be loaded ({one_line(error)[:300]}); export the model again") from error
    if providers[0] not in session.get_providers():  # it falls back on the CPU, and says so in its log alone
        if wanted != "auto":
            raise InputError(f"device {device}: {providers[0]} can't be started; check CUDA and cuDNN, or take cpu")
        logger.warning("%s can't be started (check CUDA and cuDNN); the model runs on the CPU", providers[0])
    facts = Facts.from_json(session.get_modelmeta().custom_metadata_map.get(KEY), str(path))
    return OnnxClassifier(facts, session)


def file_of(model: str | Path) -> Path:
    """The ONNX file that is meant.

    Raises:
        InputError: there is none.
    """
    path = Path(model)
    if path.is_dir():
        path = path / FILE
    if not path.is_file():
        flag = {"model.int8.onnx": " --quantize int8", "model.half.onnx": " --half"}.get(path.name, "")
        raise InputError(
            f"{path}: there is no such file; make one with `hf-speech export MODEL --output-dir FOLDER{flag}`"
        )
    return path


def is_onnx(model: str | Path) -> bool:
    """Whether a name is that of an ONNX file, or of a folder that holds one and no model of transformers."""
    path = Path(model)
    return path.suffix == ".onnx" or (path / FILE).is_file() and not (path / "config.json").exists()
