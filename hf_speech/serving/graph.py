"""A classifier of ours -> the graph of an ONNX file: raw waveforms in, logits and embeddings out.

torch's tracing exporter writes it. The other one, which captures a program (`dynamo=True`), takes ten times as long or
more, and of WavLM, wav2vec2-conformer and w2v-BERT with their fused attention makes no graph (torch 2.13). A trace
keeps what Python computed of the example's sizes; so a file counts only once `exactness` has held it to torch at other
ones.
"""

import importlib
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor

from ..errors import InputError, one_line
from ..inference import label_map_of, own_model, shortest, tasks_of
from ..models.conversion import from_stock
from ..models.embedding import evaluating
from ..models.masking import length_mask, masked_mean
from ..models.modeling import HfSpeechForSequenceClassification
from ..results import run_facts
from .facts import Facts, ServedTask

OPSETS = range(17, 21)  # of the tracing exporter, from the first with a layer norm on
INPUTS = ("input_values", "attention_mask")


class ServedModel(nn.Module):
    """A classifier as it is served: what its feature extractor does to waveforms is a part of it.

    Args:
        model: of ours.
        extractor: its feature extractor.

    Attributes:
        facts: what has to be known of it.
    """

    def __init__(self, model: Any, extractor: Any) -> None:
        super().__init__()
        self.model = model
        self.normalizes = bool(extractor.do_normalize)
        self.facts = facts_of(model, extractor)
        self.labels = [len(task.labels) for task in self.facts.tasks]

    def forward(self, input_values: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """What the model says of waveforms.

        Args:
            input_values: (B, T) float32, raw, in [-1, 1]; what stands in the padding does not count.
            attention_mask: (B, T) int64, 1 at real samples, padded at the right end.

        Returns:
            Logits of each task (B, C), embeddings (B, E), and of poolings that weigh frames their weights (B, F).
        """
        values = normalised(input_values, attention_mask) if self.normalizes else input_values
        weighs = True if self.facts.frame_times is not None else None
        outputs = self.model(values, attention_mask, output_frame_weights=weighs)
        logits = list((outputs.task_logits or {"": outputs.logits}).values())
        heard = [_over_speeds(each, count) for each, count in zip(logits, self.labels, strict=True)]
        return (*heard, outputs.embeddings, *([] if weighs is None else [outputs.frame_weights]))


def facts_of(model: Any, extractor: Any) -> Facts:
    """What has to be known of a classifier of ours that is served."""
    own, tasks = own_model(model), tasks_of(model)
    config = own.config
    parts = {
        "backbone": config.backbone_config.model_type,
        "front end": getattr(config.backbone_config, "frontend", ""),
    }
    parts |= {part: getattr(config, part) for part in ("neck", "pooling", "projection")}
    parts["head"] = ", ".join(dict.fromkeys(task.head for task in tasks))
    first, second = own.frame_times(3)[1:]  # not of the first frame: a class token stands at no time
    return Facts(
        sampling_rate=int(extractor.sampling_rate),
        min_samples=shortest(model, extractor),
        tasks=tuple(ServedTask(task.name, task.labels, task.head, task.problem_type, task.unit) for task in tasks),
        precision="float32",
        embedding_size=own.speech.output_size,
        frame_times=(2 * first - second, second - first) if hasattr(own.speech.pooling, "attend") else None,
        parts={part: name for part, name in parts.items() if name not in ("", "none")},
        versions=run_facts(None)["versions"]
        | {name: importlib.import_module(name).__version__ for name in ("onnx", "onnxruntime")},
    )


def normalised(waveforms: Tensor, attention_mask: Tensor) -> Tensor:
    """Zero mean and unit variance over the real samples, as transformers' feature extractor does it; 0 elsewhere.

    Shape:
        (B, T), (B, T) -> (B, T)
    """
    mask = length_mask(attention_mask.sum(-1), waveforms.shape[1])
    values = waveforms.double()  # onnxruntime's sums of float32 are too coarse for a faint voice on an offset
    centred = values - masked_mean(values[..., None], mask)
    variance = masked_mean(centred.square()[..., None], mask)
    return (centred / (variance + 1e-7).sqrt()).masked_fill(~mask, 0.0).to(waveforms.dtype)


def _over_speeds(logits: Tensor, labels: int) -> Tensor:
    """As `outcome.over_speeds`: (B, speeds * labels) -> (B, labels)."""
    return logits if logits.shape[1] == labels else logits.unflatten(1, (-1, labels)).logsumexp(1)


def served(model: Any, extractor: Any, name: str) -> ServedModel:
    """A classifier in the form in which it is served: of ours, or one of transformers that ours can stand for.

    Args:
        model: an audio classifier, in float32.
        extractor: its feature extractor.
        name: of the model, for messages.

    Raises:
        InputError: what it takes is made outside the model, or it is a stock one that ours can't stand for.
    """
    own = own_model(model)
    if label_map_of(model) is not None:
        raise InputError(f"{name}: speaks of its labels by other names, which a file can't hold; take them back first")
    if not isinstance(own, HfSpeechForSequenceClassification):
        try:
            model = from_stock(own)
        except InputError as error:
            raise InputError(f"{name}: can't be exported ({error}); export a model of ours") from error
        if not isinstance(model, HfSpeechForSequenceClassification):
            raise InputError(f"{name}: makes embeddings and has no labels; export a classifier")
        if isinstance(extractor, SeamlessM4TFeatureExtractor):
            if extractor.to_dict() != SeamlessM4TFeatureExtractor().to_dict():
                raise InputError(f"{name}: its feature extractor has settings of its own, which a file can't hold")
            extractor = model.make_feature_extractor()  # ours makes the filter banks itself
    if type(extractor) is not Wav2Vec2FeatureExtractor:
        raise InputError(
            f"{name}: {type(extractor).__name__} makes its features outside the model, where an ONNX file has to hold "
            "them; export a model that takes waveforms (Wav2Vec2FeatureExtractor)"
        )
    rate = own_model(model).config.sampling_rate
    if extractor.sampling_rate != rate:
        raise InputError(
            f"{name}: its feature extractor says {extractor.sampling_rate} Hz, its config {rate}; mend one"
        )
    return ServedModel(model, extractor)


def trace(whole: ServedModel, path: Path, opset: int) -> None:
    """Writes the graph into a file; where it is over 2 GB, its weights into files beside it.

    Raises:
        InputError: some part can't be traced; it says which.
    """
    facts = whole.facts
    values, mask = _example(whole)
    axes = dict.fromkeys(INPUTS, {0: "batch", 1: "samples"}) | dict.fromkeys(facts.outputs, {0: "batch"})
    axes |= {"frame_weights": {0: "batch", 1: "frames"}} if facts.frame_times is not None else {}
    with evaluating(whole), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # every size that Python sees is warned of; `exactness` finds what is wrong
        whole(values, mask)  # constants of the front ends are made outside the trace
        try:
            torch.onnx.export(
                whole,
                (values, mask),
                str(path),
                input_names=list(INPUTS),
                output_names=facts.outputs,
                dynamic_axes=axes,
                opset_version=opset,
                dynamo=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            raise InputError(_untraceable(error, whole, (values, mask))) from error


def _example(whole: ServedModel) -> tuple[Tensor, Tensor]:
    """Two utterances, one padded, with several frames each that are pooled: a size of 1 would be taken for fixed."""
    facts, speech = whole.facts, own_model(whole.model).speech
    size = max(int(1.5 * facts.sampling_rate), 2 * facts.min_samples)
    while True:
        values = 0.1 * torch.randn(2, size, generator=torch.Generator().manual_seed(0))
        mask = length_mask(torch.tensor([size, size - size // 5]), size).long()
        with evaluating(whole), torch.no_grad():
            frames = speech(values, mask).frame_mask.sum(-1)
        if frames.min() >= 4 or size >= 60 * facts.sampling_rate:
            return values, mask
        size *= 2


def _untraceable(error: Exception, whole: ServedModel, example: tuple[Tensor, Tensor]) -> str:
    """Which part can't be exported, and why.

    Of an operator that ONNX has not, the part is looked up in the trace; of others, torch's message tells the scope.
    """
    words = str(error)
    reason = one_line(words.partition("\n")[0]).partition(". Please")[0][:200]
    operator = re.search(r"aten::\w+", reason)
    scopes = re.findall(r"scope: ([^\n#]+)", words)
    if operator:
        graph = torch.jit.trace(whole, example, strict=False, check_trace=False).inlined_graph
        scopes = [node.scopeName() for node in graph.nodes() if node.kind() == operator[0]]
    path = re.findall(r"(?:::|__module\.)([\w.]+)$", scopes[-1].strip()) if scopes else []
    part = path[0].removeprefix("model.") if path else "a part of the model"
    return f"{part} can't be exported to ONNX ({reason}); take another part, or serve the model with torch"
