"""What the machine itself can do, on the device and the threads that the benchmarks take.

Products of matrices, copies, Fourier transforms.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from .turns import seconds_of

SIDE = {"cpu": 2048, "cuda": 8192}
BEST_OF = 7


def rates(device: str = "cpu") -> dict[str, float]:
    """Operations, bytes or transforms a second: the best of some runs, which is what the machine can do."""
    side = SIDE[device]
    found = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        found[f"gemm_{name}_flops"] = 2 * side**3 / _best(product(side, dtype, device))
    source = torch.randn(side * side * 4, device=device)
    target = torch.empty_like(source)
    # Each byte is read once and written once.
    found["copy_bytes"] = 2 * source.nbytes / _best(lambda: target.copy_(source))
    waves = torch.randn(256, 400, device=device)
    found["fft_of_400_points"] = len(waves) / _best(lambda: torch.fft.rfft(waves))
    return found


def product(side: int, dtype: torch.dtype, device: str = "cpu") -> Callable[[], Any]:
    """A product of two square matrices, into memory that is there."""
    one, other, found = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(3))
    return lambda: torch.mm(one, other, out=found)


def flops(module: Callable[..., Any], shapes: dict[str, torch.Tensor]) -> int:
    """Floating-point operations of a forward pass, a multiplication and an addition counted as two; nothing is run.

    Args:
        module: on the meta device, with eager attention: the counter knows matrix products and convolutions.
        shapes: its arguments, on the meta device.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(**shapes)
    return counter.get_total_flops()


KINDS = {
    "products": ("addmm", "addmm_", "mm", "bmm", "baddbmm"),
    "convolutions": ("mkldnn_convolution", "thnn_conv2d", "slow_conv2d_forward"),
    "attention": ("_scaled_dot_product_flash_attention_for_cpu",),
    "activations": ("gelu", "gelu_"),
    "norms": ("native_layer_norm", "native_batch_norm"),
    "copies": ("copy_", "cat", "clone", "contiguous", "index"),
}


def parts(way: Callable[[], Any]) -> dict[str, float]:
    """Of the time of a call on the CPU, the share of each of `KINDS` and of the rest, by torch's profiler."""
    way()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        way()
    spent = {event.key.removeprefix("aten::"): event.self_cpu_time_total for event in profiled.key_averages()}
    whole = sum(spent.values())
    found = {kind: sum(spent.get(name, 0.0) for name in names) / whole for kind, names in KINDS.items()}
    return {**found, "rest": 1 - sum(found.values())}


def _best(way: Callable[[], Any]) -> float:
    way()
    calls = max(1, round(0.05 / seconds_of(way)))  # short calls are timed many at a time, for a clock's sake

    def many() -> None:
        for _ in range(calls):
            way()

    return min(seconds_of(many) for _ in range(BEST_OF)) / calls


def operations(model: Any, seconds: Sequence[float], rate: int = 16_000) -> int:
    """Of a forward pass over waveforms of such lengths, without padding.

    Args:
        model: of transformers, on the meta device, with eager attention.
        seconds: of each.
        rate: samples a second.
    """
    lengths = [round(each * rate) for each in seconds]
    with torch.device("meta"):
        found = {n: flops(model, {"input_values": torch.empty(1, n)}) for n in sorted(set(lengths))}
    return sum(found[n] for n in lengths)
