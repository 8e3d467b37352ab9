"""Where a model runs, and with how many bits: on a GPU if there is one, in half precision where that is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from .errors import InputError, lookup, one_line
from .ranks import local_device

DTYPES = {"auto": None, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@contextmanager
def placed(model: Any, device: str = "auto", dtype: str = "auto") -> Iterator[None]:
    """Within, a model lies on a device, and what is asked of it is computed in a precision.

    Half precision is autocast: weights, spectra and norms stay as they are, products are made in 16 bits. Afterwards
    the model is as it was.

    Args:
        model: of torch.
        device: "auto": an accelerator if there is one, else where the model lies; or as torch calls it ("cpu", "cuda",
            "cuda:1").
        dtype: "auto": that of the weights; "float32", the weights too; "bfloat16"; "float16", on accelerators alone.

    Raises:
        InputError: another precision, no such device, or float16 on a CPU.
    """
    kind = lookup(DTYPES, dtype, "dtype")
    before = model.device
    where = _device(device, before)
    if kind is torch.float16 and where.type == "cpu":
        raise InputError("dtype float16 is for GPUs, and the model runs on the CPU; take bfloat16, or float32")
    half = kind is not None and is_half(kind)
    kinds = {name: values.dtype for name, values in _numbers(model)}  # a model may have weights of several
    try:
        model.to(where)
        if kind is torch.float32:
            model.float()
    except (RuntimeError, AssertionError) as error:  # torch asserts that it is a build for CUDA
        raise InputError(f"device {device}: {one_line(error)}; take another, or cpu") from error
    try:
        with torch.autocast(where.type, dtype=kind if half else None, enabled=half):
            yield
    finally:
        model.to(before)
        for name, values in _numbers(model):
            values.data = values.data.to(kinds.get(name, values.dtype))  # some models make buffers as they run


def computed_in(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Within, products are made in a dtype; float32: as it is.

    torch rounds weights to 16 bits when they are first met within the outermost such context, and keeps those that can
    be trained as they are: around a whole pass that is once, around a batch it is for each.
    """
    half = is_half(dtype)
    return torch.autocast(device.type, dtype=dtype if half else None, enabled=half)


def is_half(dtype: torch.dtype) -> bool:
    """Whether a number has 16 bits."""
    return dtype in (torch.float16, torch.bfloat16)


def _numbers(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers of a model."""
    yield from model.named_parameters()
    yield from model.named_buffers()


def _device(name: str, before: torch.device) -> torch.device:
    if name == "auto":
        return local_device() if before.type == "cpu" else before
    with suppress(RuntimeError):
        device = torch.device(name)
        if device.type != "meta":  # where nothing is computed
            return device
    raise InputError(f"device {name!r}: there is none of that name; take auto, cpu or cuda")
