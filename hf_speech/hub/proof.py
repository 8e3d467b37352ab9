"""The proof of a push: what lies on the Hub is loaded in a fresh process, and says what it says here."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..samples import sample_corpus
from .reloaded import answers
from .tokens import without_tokens

TOLERANCE = 1e-4  # of logits and embeddings, in float32, beside the largest of them where that is above 1
_VOICES = ("ada-test-1.flac", "bea-test-2.flac")  # of the shipped samples
_SECONDS = 1_800  # that loading may take


@dataclass(frozen=True)
class Said:
    """What a model says of the sample voices, and how it is loaded.

    Attributes:
        values: name -> (1, C) float32.
        auto: the Auto class of transformers that loads it.
        rate: of the voices, samples a second.
    """

    values: Mapping[str, NDArray]
    auto: str
    rate: int


def said_here(folder: Path) -> Said:
    """What the model in a folder says, loaded by this package in this process.

    Raises:
        InputError: it is no finished model.
    """
    from ..inference import load_model

    model, extractor = load_model(folder, trust_remote_code=True)  # one's own folder
    stock = model.config.model_type != "hf_speech" and type(model).__name__.endswith("ForXVector")
    auto = "AutoModelForAudioXVector" if stock else "AutoModelForAudioClassification"
    rate = int(extractor.sampling_rate)
    return Said(answers(model, extractor, _voices(rate), rate), auto, rate)


def said_there(place: str | Path, here: Said, *, revision: str = "", cache: Path | None = None) -> float:
    """How far what a model says in a fresh process, without this package, is from what it says here.

    Args:
        place: a folder, or a name on the Hub.
        here: what it says in this process.
        revision: the commit on the Hub.
        cache: of the Hub, which holds that commit already; None: of a folder.

    Returns:
        The largest difference of a logit or of a value of an embedding.

    Raises:
        InputError: it can't be loaded there, or says something else.
    """
    with tempfile.TemporaryDirectory(prefix="hf_speech-") as name:
        heard, said = Path(name) / "heard.npz", Path(name) / "said.npz"
        voices: dict[str, Any] = {f"voice-{i}": voice for i, voice in enumerate(_voices(here.rate))}
        np.savez(heard, rate=here.rate, **voices)
        _in_a_fresh_process("model", [str(place), revision, here.auto, str(heard), str(said)], Path(name), cache)
        with np.load(said) as loaded:
            there = {name: loaded[name] for name in loaded.files}
    if there.keys() != here.values.keys() or any(there[n].shape != here.values[n].shape for n in there):
        raise InputError(f"{place}: gives {_shapes(there)} when loaded anew, and {_shapes(here.values)} here")
    differences = {n: float(np.abs(there[n] - here.values[n]).max(initial=0.0)) for n in there}
    for what, difference in differences.items():
        if not difference <= TOLERANCE * max(1.0, float(np.abs(here.values[what]).max(initial=0.0))):
            raise InputError(f"{place}: {what} differs by {difference:.3g} when loaded anew from what it is here")
    return max(differences.values())


def rows_here(folder: Path) -> dict[str, Any]:
    """The first row of each split of a data set in a folder."""
    with tempfile.TemporaryDirectory(prefix="hf_speech-") as name:
        return _rows(str(folder), "", Path(name), None)


def rows_there(repo: str, revision: str, here: Mapping[str, Any]) -> None:
    """Holds what `load_dataset` streams from the Hub in a fresh process against what lies here.

    Raises:
        InputError: it can't be loaded, or has other splits, columns or first rows.
    """
    with tempfile.TemporaryDirectory(prefix="hf_speech-") as name:
        there = _rows(repo, revision, Path(name), Path(name) / "hub")
    if there.keys() != here.keys():
        raise InputError(f"{repo}: has the splits {', '.join(there)} when loaded anew, and {', '.join(here)} here")
    for split, row in here.items():
        if there[split] != row:
            columns = [column for column in {**row, **there[split]} if row.get(column) != there[split].get(column)]
            raise InputError(f"{repo}: the first row of {split} differs when loaded anew, in {', '.join(columns)}")


def _rows(place: str, revision: str, room: Path, cache: Path | None) -> dict[str, Any]:
    _in_a_fresh_process("data", [place, revision, str(room / "rows.json")], room, cache)
    rows: dict[str, Any] = json.loads((room / "rows.json").read_text(encoding="utf-8"))
    return rows


def _voices(rate: int) -> list[NDArray]:
    """Sample voices, (samples,) float32 each."""
    from ..audio import read_audio

    return [read_audio(sample_corpus().parent / "audio" / name, sample_rate=rate) for name in _VOICES]


def _in_a_fresh_process(kind: str, words: list[str], room: Path, cache: Path | None) -> None:
    """Runs `reloaded.py` with caches of its own.

    Raises:
        InputError: it failed; its last line says why.
    """
    from . import reloaded

    environment = {**os.environ, "HF_MODULES_CACHE": str(room / "modules"), "HF_DATASETS_CACHE": str(room / "data")}
    environment |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    if cache is not None:
        environment["HF_HUB_CACHE"] = str(cache)
    if kind == "model":  # all there is lies here by now, and code beside the weights needs no token
        environment |= {"HF_HUB_OFFLINE": "1", "HF_TOKEN": "", "HF_TOKEN_PATH": str(room / "token")}
    command = [sys.executable, "-P", reloaded.__file__, kind, *words]
    try:
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{words[0]}: could not be loaded anew in {_SECONDS // 60} minutes") from error
    if run.returncode:
        last = (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]
        raise InputError(without_tokens(f"{words[0]}: can't be loaded in a process without this package: {last}"))


def _shapes(values: Mapping[str, NDArray]) -> str:
    return ", ".join(f"{name} {list(array.shape)}" for name, array in sorted(values.items())) or "nothing"
