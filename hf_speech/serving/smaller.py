"""An ONNX file made smaller: weights in 8 bits for CPUs, or in half precision for GPUs.

Both change what lies between the first convolution and the pooling, and what makes the embedding of the pooled vector:
nearly all weights are there. What stands before (front end, normalisation, first convolution) sees numbers of a wide
range, what stands behind (pooling, heads) is small and decides: they stay float32. So do all convolutions of wav2vec
2.0's feature encoder and its like, which stand before the backbone.
"""

import importlib
import logging
from pathlib import Path
from typing import Any

import numpy as np

from ..telemetry import keep_quiet
from .facts import needing

SCOPES = ("/backbone/", "/neck/", "/projection/")  # modules whose weights are made smaller
MATRICES, CONVOLUTIONS = ("MatMul", "Gemm"), ("Conv",)
_FLOAT32, _FLOAT16 = 1, 10  # as onnx numbers types


def nodes_of(graph: Any, kinds: tuple[str, ...]) -> list[str]:
    """Names of the nodes whose weights are made smaller.

    Args:
        graph: of an ONNX model that `graph.trace` wrote, whose nodes are called by the modules that they come from.
        kinds: operators.
    """
    first = next((node.name for node in graph.node if node.op_type in CONVOLUTIONS), None)
    stored = {tensor.name for tensor in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type in kinds
        and node.name != first
        and node.input[1] in stored  # a product of two activations has no weights
        and any(scope in node.name for scope in SCOPES)
    ]


def quantize(model: Any, target: Path, *, convolutions: bool) -> None:
    """Weights as whole numbers, a scale a channel; activations are rounded while it runs, by their own range.

    Since that range is taken over a whole batch, what is said of an utterance depends a little on the others in its
    batch.

    Weights of products have a sign and 7 bits: a processor without VNNI adds two such products in 16 bits, which 8
    would overflow. Those of convolutions have 8 bits and no sign; with one, onnxruntime 1.31 took three times as long.

    Args:
        model: the float32 one, loaded; it is changed.
        target: file to be written.
        convolutions: whether theirs are rounded too. Of a transformer they are few, and cost more accuracy than the
            rest together.
    """
    keep_quiet()
    quantization: Any = needing("int8", lambda: importlib.import_module("onnxruntime.quantization"))
    onnx: Any = importlib.import_module("onnx")
    types = quantization.QuantType
    passes = [(MATRICES, types.QInt8, True)] + ([(CONVOLUTIONS, types.QUInt8, False)] if convolutions else [])
    logging.getLogger().addFilter(_is_ours)
    try:
        for kinds, kind, reduced in passes:
            names = nodes_of(model.graph, kinds)
            if not names:  # to the quantiser, no names are all
                continue
            # The quantiser parts a Gemm into a product and a sum, and calls the product so.
            names += [f"{name}_MatMul" for name in names]
            del model.graph.value_info[:]  # sizes of the example, which it would take for fixed
            quantization.quantize_dynamic(
                model,
                target,
                op_types_to_quantize=list(kinds),
                nodes_to_quantize=names,
                per_channel=True,
                reduce_range=reduced,
                weight_type=kind,
                use_external_data_format=True,
            )
            model = onnx.load(str(target))
    finally:
        logging.getLogger().removeFilter(_is_ours)
    onnx.save_model(model, str(target), save_as_external_data=True)


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a line of the root logger is not the quantiser's advice."""
    return "quant" not in record.pathname


def halve(model: Any, target: Path) -> None:
    """Weights in float16, and the products and convolutions with them; all else stays float32. For GPUs.

    onnxruntime's own converter rounds the waveform too, whatever it is told to keep (1.31): here casts stand around
    each node that is changed.

    Args:
        model: the float32 one, loaded; it is changed.
        target: file to be written.
    """
    onnx: Any = importlib.import_module("onnx")
    graph, names = model.graph, set(nodes_of(model.graph, (*MATRICES, *CONVOLUTIONS)))
    weights = {tensor.name: tensor for tensor in graph.initializer}
    halved: dict[str, Any] = {}
    nodes = []
    for node in graph.node:
        if node.name not in names:
            nodes.append(node)
            continue
        heard, made, more = f"{node.name}/half", f"{node.name}/made", list(node.input[1:])
        for name in more:
            if name not in halved:
                values = onnx.numpy_helper.to_array(weights[name]).astype(np.float16)
                halved[name] = onnx.numpy_helper.from_array(values, f"{name}/half")
        nodes.append(onnx.helper.make_node("Cast", [node.input[0]], [heard], f"{heard}/Cast", to=_FLOAT16))
        changed = type(node)()
        changed.CopyFrom(node)
        changed.input[:], changed.output[:] = [heard, *(f"{name}/half" for name in more)], [made]
        nodes += [changed, onnx.helper.make_node("Cast", [made], list(node.output), f"{made}/Cast", to=_FLOAT32)]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in [*weights.values(), *halved.values()] if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    onnx.save_model(model, str(target), save_as_external_data=True)
