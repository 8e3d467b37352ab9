"""What a model keeps of verification: back end, calibration and threshold, in its folder and on the Hub.

config.json                  the field `verification`: calibration, threshold, and the digests of the files below
verification.safetensors     the back end; there is none for the plain cosine
model.safetensors            the weights whose scores were calibrated
"""

import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from numpy.typing import ArrayLike, NDArray
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from ..errors import InputError, lookup, one_line
from ..files import replacing, sha256_of, to_disk
from ..models.configuration import HfSpeechConfig
from ..models.registry import is_number
from .backend import Backend
from .calibration import Calibration, pair_qualities
from .qualities import measures_in, qualities_of

FIELD = "verification"
BACKEND_FILE = "verification.safetensors"
_WHOLE = "whole"  # infinity, which JSON has not
_COMMAND = "`hf-speech verify MODEL TRIALS --calibrate LIST --keep --output-dir FOLDER`"
HOW_TO_KEEP = f"{_COMMAND} fits one"
_MEND = f"calibrate again with {_COMMAND}"


@dataclass(frozen=True)
class Kept:
    """How a model's embeddings become scores, probabilities and decisions.

    Attributes:
        backend: gives the scores; None: the plain cosine.
        calibration: of them.
        chunk_seconds: how long the pieces are whose embeddings are averaged; infinity: nothing is cut; None: 30.
        threshold: which of the calibration's thresholds decides.
        fitted_on: fingerprint of the trials that it was fitted on, hexadecimal; None: not known.

    Raises:
        InputError: a threshold that the calibration has not, measures that can't be made here, no length of pieces, no
            fingerprint.
    """

    backend: Backend | None
    calibration: Calibration
    chunk_seconds: float | None = None
    threshold: str = "eer"
    fitted_on: str | None = None

    def __post_init__(self) -> None:
        lookup(self.calibration.thresholds, self.threshold, "threshold")
        if "cohort_mean" in measures_in(self.calibration) and not (self.backend and len(self.backend.cohort)):
            raise InputError(
                "the calibration weighs cohort_mean, and the back end has no cohort; leave one of them out"
            )
        piece = self.chunk_seconds
        if piece not in (None, math.inf) and not (is_number(piece) and piece > 0):
            raise InputError(f"chunk_seconds is {self.chunk_seconds}; give seconds above 0")
        if self.fitted_on is not None and not re.fullmatch(r"[0-9a-f]+", self.fitted_on):
            raise InputError(f"fitted_on is {self.fitted_on!r}; give the fingerprint of a list, hexadecimal")

    def qualities(self, embeddings: ArrayLike, seconds: ArrayLike, left: ArrayLike, right: ArrayLike) -> NDArray | None:
        """What the calibration weighs beside the scores of T trials: (T, Q), or None.

        Args:
            embeddings: (N, E).
            seconds: (N,).
            left: (T,) places of the left sides.
            right: (T,) of the right sides.
        """
        measures = measures_in(self.calibration)
        if not measures:
            return None
        return pair_qualities(qualities_of(seconds, embeddings, self.backend, measures), left, right)[0]

    def enough(self, score: float, llr: float, threshold: str | None = None) -> float:
        """The score from which on a trial is accepted; with qualities, one that has those of this trial.

        Args:
            score: the trial's.
            llr: its log-likelihood ratio.
            threshold: a name; None: the one that is kept.

        Raises:
            InputError: no such threshold.
        """
        if not measures_in(self.calibration):
            return float(self.calibration.score_threshold(self._name(threshold)))
        return float(score - self.margin(llr, threshold) / self.calibration.weights[0])

    def margin(self, llrs: ArrayLike, threshold: str | None = None) -> NDArray:
        """How far log-likelihood ratios lie above the threshold; from 0 on a trial is accepted.

        Args:
            llrs: of any shape.
            threshold: a name; None: the one that is kept.

        Raises:
            InputError: no such threshold.
        """
        return np.asarray(llrs) - lookup(self.calibration.thresholds, self._name(threshold), "threshold")

    def accepts(self, llrs: ArrayLike, threshold: str | None = None) -> NDArray:
        """Which trials are taken for one speaker: bool, of the shape of the ratios; see `margin`."""
        return self.margin(llrs, threshold) >= 0

    def _name(self, threshold: str | None) -> str:
        return self.threshold if threshold is None else threshold


def keep(
    folder: str | Path,
    backend: Backend | None,
    calibration: Calibration,
    *,
    chunk_seconds: float | None = None,
    threshold: str = "eer",
    fitted_on: str | None = None,
) -> Kept:
    """Puts back end and calibration into a model's folder, in the place of earlier ones; all else stays as it is.

    Args:
        folder: a finished model of ours on this machine.
        backend: gives the scores; None: the plain cosine.
        calibration: of these scores.
        chunk_seconds: of the embeddings.
        threshold: which of the calibration's thresholds decides.
        fitted_on: fingerprint of the trials that it was fitted on, hexadecimal; None: not known.

    Raises:
        InputError: no such folder, none of a model of ours, one that can't be written to, or as for `Kept`.
    """
    kept = Kept(backend, calibration, chunk_seconds, threshold, fitted_on)
    place, names = Path(folder), check_folder(folder)
    config = _read_json(place / CONFIG_NAME)
    try:
        # First the back end: while it does not fit the field, reading refuses both.
        if backend is not None:
            backend.save(place / BACKEND_FILE)
            names.append(BACKEND_FILE)
        config[FIELD] = {
            "backend": None if backend is None else BACKEND_FILE,
            "calibration": calibration.to_dict(),
            "chunk_seconds": _WHOLE if chunk_seconds == math.inf else chunk_seconds,
            "threshold": threshold,
            "fitted_on": fitted_on,
            "files": {name: sha256_of(place / name) for name in names},
        }
        with replacing(place / CONFIG_NAME) as temporary:
            temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            temporary.chmod((place / CONFIG_NAME).stat().st_mode)
            to_disk(temporary)
        if backend is None:
            (place / BACKEND_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: can't be written to ({error.strerror}); make a copy of the model") from error
    return kept


def check_folder(folder: str | Path) -> list[str]:
    """Whether a folder can keep anything: to be asked before long work.

    Returns:
        The names of the files that hold the weights.

    Raises:
        InputError: no such folder, none of a model of ours, or one that can't be written to.
    """
    place = Path(folder)
    if not (place / CONFIG_NAME).is_file():
        raise InputError(f"{folder}: no {CONFIG_NAME} there; give the folder of a finished model on this machine")
    kind = _read_json(place / CONFIG_NAME).get("model_type")
    if kind != HfSpeechConfig.model_type:
        raise InputError(
            f"{folder}: holds a {kind!r} model, and only models of hf_speech keep a calibration; give another folder"
        )
    if not os.access(place, os.W_OK):
        raise InputError(f"{folder}: can't be written to; make a copy of the model")
    return _weight_files(str(place), None)


def kept_of(model: str | Path, revision: str | None = None) -> Kept | None:
    """What a model keeps of verification; None: nothing.

    Args:
        model: its folder, or its name on the Hub.
        revision: branch, tag or commit on the Hub.

    Raises:
        InputError: no such model; what it keeps can't be read; the back end is not there; or it was calibrated with
            other weights, or another back end, than lie there.
    """
    name = str(model)
    field = _read_json(_file(name, CONFIG_NAME, revision)).get(FIELD)
    if field is None:
        return None
    wanted = {"backend", "calibration", "chunk_seconds", "threshold", "fitted_on", "files"}
    # Models that were calibrated before it was noted have no `fitted_on`.
    if not isinstance(field, dict) or set(field) | {"fitted_on"} != wanted or not isinstance(field["files"], dict):
        raise InputError(f"{name}: the field {FIELD} of {CONFIG_NAME} can't be read; {_MEND}")
    if field["backend"] not in (None, BACKEND_FILE):  # a path could lead out of the folder
        raise InputError(f"{name}: its back end is {field['backend']!r}, not {BACKEND_FILE}; {_MEND}")
    weights = _weight_files(name, revision)
    backend_files = [] if field["backend"] is None else [BACKEND_FILE]
    if set(field["files"]) != {*weights, *backend_files}:
        raise InputError(f"{name}: was trained again, or saved anew, since it was calibrated; {_MEND}")
    if backend_files and _file_or_none(name, BACKEND_FILE, revision) is None:
        raise InputError(
            f"{name}: there is no {BACKEND_FILE}, the back end that {CONFIG_NAME} speaks of; copy it from the folder "
            f"that the model was loaded from, or {_MEND}"
        )
    for file, digest in field["files"].items():
        if sha256_of(_file(name, file, revision)) != digest:
            what = "has another back end" if file == BACKEND_FILE else "was trained again, or saved anew,"
            raise InputError(f"{name}: {what} since it was calibrated; {_MEND}")
    backend = Backend.load(_file(name, BACKEND_FILE, revision)) if backend_files else None
    chunk_seconds = math.inf if field["chunk_seconds"] == _WHOLE else field["chunk_seconds"]
    try:
        calibration = Calibration.from_dict(field["calibration"])
        return Kept(backend, calibration, chunk_seconds, field["threshold"], field.get("fitted_on"))
    except (InputError, TypeError) as error:
        raise InputError(f"{name}: the field {FIELD} of {CONFIG_NAME}: {one_line(error)}; {_MEND}") from error


def _weight_files(model: str, revision: str | None) -> list[str]:
    """Names of the files that hold the weights, sorted."""
    if _file_or_none(model, SAFE_WEIGHTS_NAME, revision) is not None:
        return [SAFE_WEIGHTS_NAME]
    path = _file(model, SAFE_WEIGHTS_INDEX_NAME, revision, "model.safetensors")
    places = _read_json(path).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise InputError(f"{path}: does not say in which files the weights lie; fetch the model again")
    return sorted(set(places.values()))


def _file(model: str, name: str, revision: str | None, what: str | None = None) -> Path:
    found = _file_or_none(model, name, revision)
    if found is None:
        raise InputError(f"{model}: there is no {what or name}; give a finished model with all of its files")
    return found


def _file_or_none(model: str, name: str, revision: str | None) -> Path | None:
    """A file of a model on this machine, fetched if need be."""
    if Path(model).is_dir():
        return Path(model) / name if (Path(model) / name).is_file() else None
    try:
        return Path(hf_hub_download(model, name, revision=revision))
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise InputError(f"{model}: can't be found ({one_line(error)}); give a model's folder or Hub name") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: can't be read as JSON ({one_line(error)}); fetch the model again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no table; fetch the model again")
    return content
