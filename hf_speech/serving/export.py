"""A model -> ONNX files that were held to it: traced, checked, compared with torch, made smaller, timed, then put down.

All is made in a folder of its own beside the wanted one; only what passed every check is moved there.
"""

import copy
import importlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..models.configuration import SSL_BACKBONES
from ..models.embedding import evaluating
from ..results import run_facts
from ..telemetry import keep_quiet
from .exactness import LIMIT, Agreement, Heard, agreement, check, heard_by_torch, utterances
from .facts import KEY, Facts, describes, needing
from .graph import OPSETS, ServedModel, served, trace
from .session import FILE, OnnxClassifier, batch_of, load_onnx
from .smaller import halve, quantize

logger = logging.getLogger(__name__)

FILES = {"float32": FILE, "int8": "model.int8.onnx", "float16": "model.half.onnx"}  # precision -> file
REPORT = "export.json"
EXTERNAL_FROM = 2_000_000_000  # bytes of weights, which then lie in a file beside it: protobuf holds 2^31 in all
UTTERANCE_SECONDS = 4.0  # of the noise that is timed
ROUNDS, PATIENCE = 5, 4.0  # repetitions, and seconds after which none is begun
LOW_COSINE, LOW_LABELS = 0.99, 0.9  # a smaller file that comes no nearer than this is warned of


@dataclass(frozen=True)
class ExportOptions:
    """What is to be made.

    Attributes:
        opset: version of the operators.
        quantize: "int8": also a file with 8-bit weights; None: none.
        half: also a file with weights in half precision, for GPUs.
        speech: recordings that the files are held to; none: those that are shipped.
        overwrite: whether an earlier export is replaced.

    Raises:
        InputError: an opset that can't be written, or another precision.
    """

    opset: int = OPSETS[0]
    quantize: str | None = None
    half: bool = False
    speech: tuple[str, ...] = ()
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.opset not in OPSETS:
            raise InputError(f"opset {self.opset} can't be written; give one of {OPSETS[0]} to {OPSETS[-1]}")
        if self.quantize not in (None, "int8"):
            raise InputError(f"quantize is {self.quantize!r}; valid: int8")


@dataclass(frozen=True)
class Made:
    """A file that was made.

    Attributes:
        file: its name.
        megabytes: its size, with that of the weights beside it; a megabyte is 10^6 bytes.
        size: the same over that of torch's weights in float32.
        agreement: how near it comes to torch.
        speed: how many times as fast as torch it answers, on this CPU with as many threads.
    """

    file: str
    megabytes: float
    size: float
    agreement: Agreement
    speed: float


def export(model: Any, extractor: Any, name: str, folder: Path, options: ExportOptions) -> list[Made]:
    """Writes model.onnx, the smaller files that are wanted, and export.json.

    Args:
        model: an audio classifier, on the CPU; of one in another precision, a copy in float32 is exported.
        extractor: its feature extractor.
        name: of the model, for messages.
        folder: where to.
        options: what to make.

    Raises:
        InputError: the model can't be exported, or what came out is not exact (which part, and why); the folder holds
            an earlier export; onnx or onnxruntime is not installed. Nothing is written then.
    """
    start = time.perf_counter()
    _check_folder(folder, options.overwrite)
    keep_quiet()
    for library in ("onnx", "onnxruntime"):
        needing("the export", lambda library=library: importlib.import_module(library))  # type: ignore[misc]
    if any(values.is_floating_point() and values.dtype != torch.float32 for values in model.state_dict().values()):
        model = copy.deepcopy(model).float()  # the caller's stays as it is
    whole = served(model, extractor, name)
    logger.info("exporting %s (%s)", name, describes(whole.facts.parts))
    given = utterances(whole.facts, options.speech)
    in_float32 = torch.autocast("cpu", enabled=False)  # whatever the caller computes in
    with _work_in(folder) as work, evaluating(model), evaluating(whole), in_float32:
        heard = heard_by_torch(whole, model, extractor, given)
        made = _make(whole, heard, Path(work), options)
        report = {
            "model": name,
            "opset": options.opset,
            "limit": LIMIT,
            "torch_megabytes": _bytes_of(whole) / 1e6,
            "threads": torch.get_num_threads(),
            "files": {one.file: {key: value for key, value in asdict(one).items() if key != "file"} for one in made},
            "run": run_facts(None, device="cpu", wall_seconds=time.perf_counter() - start),
        }
        (Path(work) / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        _move(Path(work), folder)
    return made


def _make(whole: ServedModel, heard: Sequence[Heard], work: Path, options: ExportOptions) -> list[Made]:
    """The files, in a folder of their own."""
    onnx: Any = importlib.import_module("onnx")
    write_onnx(whole, work / FILE, options.opset)
    makers: dict[str, Callable[[Any, Path], None]] = {}
    convolutions = whole.facts.parts["backbone"] not in SSL_BACKBONES
    makers |= {"int8": partial(quantize, convolutions=convolutions)} if options.quantize else {}
    makers |= {"float16": halve} if options.half else {}
    facts = {"float32": whole.facts}
    for precision, make in makers.items():
        logger.info("making the %s file", precision)
        facts[precision] = replace(whole.facts, precision=precision)
        with TemporaryDirectory(prefix=f"{precision}.", dir=work) as raw:
            make(onnx.load(str(work / FILE)), Path(raw) / FILE)
            _write(onnx, onnx.load(str(Path(raw) / FILE)), work / FILES[precision], facts[precision])
    found = {}
    for precision in facts:
        logger.info("comparing %s with torch on %d utterances", FILES[precision], len(heard))
        found[precision] = agreement(_loaded(work / FILES[precision]), heard)
        if precision == "float32":
            check(found[precision], whole.facts)
        else:
            _judge(found[precision], FILES[precision])
    speeds = _speeds(whole, {precision: _loaded(work / FILES[precision]) for precision in facts})
    sizes = {precision: _size_of(work / FILES[precision]) for precision in facts}
    ours = _bytes_of(whole)
    return [Made(FILES[each], sizes[each] / 1e6, sizes[each] / ours, found[each], speeds[each]) for each in facts]


def write_onnx(whole: ServedModel, path: Path, opset: int = OPSETS[0]) -> None:
    """A model as a valid file that is enough by itself; whether it is exact is for `exactness` to say.

    Args:
        whole: the model, as it is served.
        path: of the file; the weights of a large one lie beside it.
        opset: version of the operators.

    Raises:
        InputError: some part can't be exported; it says which.
    """
    onnx: Any = importlib.import_module("onnx")
    with TemporaryDirectory(prefix="trace.", dir=path.parent) as raw:
        trace(whole, Path(raw) / FILE, opset)
        graph = onnx.load(str(Path(raw) / FILE))
    del graph.graph.value_info[:]  # inner sizes, of which some are the example's
    _write(onnx, graph, path, whole.facts)


def _write(onnx: Any, graph: Any, path: Path, facts: Facts) -> None:
    """A graph as a file with its facts, checked; where it is large, its weights lie beside it.

    Raises:
        InputError: it is no valid model.
    """
    onnx.helper.set_model_props(graph, {KEY: facts.to_json()})
    graph.producer_name, graph.producer_version = "hf_speech", facts.versions.get("hf_speech", "")
    large = sum(len(tensor.raw_data) for tensor in graph.graph.initializer) >= EXTERNAL_FROM
    settings = {"save_as_external_data": True, "location": f"{path.name}.data"} if large else {}
    onnx.save_model(graph, str(path), **settings)
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InputError(f"{facts.precision}: the exporter made no valid ONNX model ({error})") from error


def _loaded(path: Path) -> OnnxClassifier:
    return load_onnx(path, device="cpu", threads=torch.get_num_threads())


def _judge(found: Agreement, file: str) -> None:
    """Refuses a smaller file that says nothing, and warns of one that says much else."""
    if not all(np.isfinite(value) for value in (*found.differences.values(), found.cosine)):
        raise InputError(f"{file} gives numbers that are not finite; leave it out: this model needs float32")
    if found.cosine < LOW_COSINE:
        logger.warning("%s turns embeddings to a cosine of %.3f: measure it before use", file, found.cosine)
    if found.labels is not None and found.labels < LOW_LABELS:
        logger.warning("%s gives other labels to %.0f %%: measure it before use", file, 100 * (1 - found.labels))


def _speeds(whole: ServedModel, classifiers: Mapping[str, OnnxClassifier]) -> dict[str, float]:
    """How many times as fast as torch each file says what an utterance of noise holds; the best of a few by turns."""
    noise = np.random.default_rng(0).normal(0, 0.1, round(UTTERANCE_SECONDS * whole.facts.sampling_rate))
    batch = batch_of([noise.astype(np.float32)])
    tensors = {name: torch.from_numpy(values) for name, values in batch.items()}
    runs: dict[str, Callable[[], object]] = {"torch": lambda: whole(**tensors)}
    runs |= {name: lambda each=each: each.run(batch) for name, each in classifiers.items()}  # type: ignore[misc]
    with torch.no_grad():
        best = best_times(runs, ROUNDS, PATIENCE)
    return {name: best["torch"] / best[name] for name in classifiers}


def best_times(runs: Mapping[str, Callable[[], object]], rounds: int, patience: float) -> dict[str, float]:
    """Seconds of the fastest of a few runs of each, by turns, after one that is not counted.

    Args:
        runs: name -> what is to be timed.
        rounds: how often at most.
        patience: seconds after which no further round is begun.
    """
    for run in runs.values():
        run()
    best, begun = dict.fromkeys(runs, float("inf")), time.perf_counter()
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
        if time.perf_counter() - begun > patience:
            break
    return best


def _bytes_of(whole: ServedModel) -> int:
    """Of torch's weights in float32."""
    return sum(tensor.nbytes for tensor in (*whole.parameters(), *whole.buffers()))


def _size_of(path: Path) -> int:
    beside = path.with_name(f"{path.name}.data")
    return path.stat().st_size + (beside.stat().st_size if beside.exists() else 0)


def _check_folder(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder")
    if (folder / "config.json").exists():
        raise InputError(f"{folder}: is a model's own folder; give another --output-dir")
    if not overwrite and any(path.exists() for path in _ours(folder)):
        raise InputError(f"{folder}: holds an earlier export; give --overwrite, or another --output-dir")


def _ours(folder: Path) -> list[Path]:
    """All that an export may have put into a folder."""
    return [folder / name for file in FILES.values() for name in (file, f"{file}.data")] + [folder / REPORT]


def _move(work: Path, folder: Path) -> None:
    """Puts what was made in the place of an earlier export; the report comes last, then what was not made goes."""
    made = sorted(work.iterdir(), key=lambda path: path.name == REPORT)
    names = {path.name for path in made}
    for path in made:
        os.replace(path, folder / path.name)
    for path in _ours(folder):
        if path.name not in names:
            path.unlink(missing_ok=True)


@contextmanager
def _work_in(folder: Path) -> Iterator[str]:
    """A folder to work in, below the one where the files go, so that they can be renamed into place.

    What is made for it goes again if nothing comes of the work.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryDirectory(prefix=".export.", dir=folder) as work:
            yield work
    finally:
        for path in new:  # the deepest first; one that holds something stays
            with suppress(OSError):
                path.rmdir()


def told(made: Sequence[Made], folder: Path) -> str:
    """The files in a table, for people."""
    rows = [["file", "MB", "of torch's", "difference", "same labels", "cosine", "speed"]]
    for one in made:
        found = one.agreement
        labels = "-" if found.labels is None else f"{found.labels:.1%}"
        difference = f"{max(found.differences.values()):.1e}"
        rows.append([one.file, f"{one.megabytes:.1f}", f"{one.size:.2f}", difference, labels, f"{found.cosine:.6f}"])
        rows[-1].append(f"{one.speed:.2f}x")
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [f"{row[0]:{widths[0]}}  " + "  ".join(map(str.rjust, row[1:], widths[1:])) for row in rows]
    notes = [
        f"in {folder}; against torch in float32; speeds on {UTTERANCE_SECONDS:g} s with as many threads",
        "difference: the largest of any output, as a share of that output's largest number where that is above 1",
    ]
    return "\n".join([*lines, *notes])
