"""A network's heavy parts in fewer bits: bfloat16 or float16, or int8 linear layers."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adaptiveclick_med.networks import ClickNetwork

__all__ = ["PRECISIONS", "cast_floating", "has_fast_bfloat16", "reduced_copy"]

PRECISIONS: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""Types of the heavy parts by name."""

_HEAVY = {"encoder": "forward", "pyramid": "forward", "pixel_decoder": "features", "head": "forward"}
"""Through which method a network asks each of its heavy parts; the part of AdaptiveClick that follows is exact."""

_EXACT = ("pixel_embed", "classifier")
_QUANTIZED = r"encoder\..*"
_QUANTIZED_IN_FLOAT32 = r"encoder\..*|pixel_decoder\.layers\.(?!.*(sampling_offsets|attention_weights)).*"


def cast_floating(value: Any, dtype: torch.dtype) -> Any:
    """Return tensors in another floating type, also inside tuples, lists and dictionaries; the rest is as it was."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(cast_floating(part, dtype) for part in value))
    if isinstance(value, (tuple, list)):
        return type(value)(cast_floating(part, dtype) for part in value)
    if isinstance(value, Mapping):
        return {key: cast_floating(part, dtype) for key, part in value.items()}
    return value


def has_fast_bfloat16() -> bool:
    """Tell whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX); also true where PyTorch cannot say."""
    asked = [getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")]
    answers = [bool(question()) for question in asked if question is not None]
    return any(answers) or not answers


def reduced_copy(network: ClickNetwork, precision: str = "float32", quantize: str | None = None) -> ClickNetwork:
    """Copy a network for inference, its heavy parts in fewer bits.

    Encoder, pyramid, pixel decoder and plain head hold nearly all of the work. The click decoder, with its gates and
    the product that makes the masks, and the plain head's classifier stay in float32: they decide by comparing with 0,
    and take a few hundredths of the time. On a CPU the weights are converted once. On a GPU they stay in float32 and
    ``torch.autocast`` picks the type of each operation.

    With int8, weights of linear layers are rounded for each output channel, and their inputs when they arrive. These
    are the encoder's, and in float32 also the pixel decoder's, without those that say where it looks. Where both are
    asked for, the encoder has int8 layers and the other heavy parts have ``precision``.

    Args:
        network: it is not changed.
        precision: one of :data:`PRECISIONS`.
        quantize: ``None`` or ``"int8"``.

    Returns:
        The copy in evaluation mode, without gradients, with its ``intensity``. Intermediate maps are of the lower type.

    Raises:
        ValueError: when this PyTorch cannot quantise.
    """
    twin = copy.deepcopy(network).eval().requires_grad_(False)
    dtype = PRECISIONS[precision]
    if quantize is not None:
        _quantize(twin, _QUANTIZED if dtype != torch.float32 else _QUANTIZED_IN_FLOAT32)
    if dtype != torch.float32:
        autocast = None if twin.device.type == "cpu" else twin.device.type
        for name, entry in _HEAVY.items():
            part = getattr(twin, name, None)
            if part is not None and not (quantize is not None and name == "encoder"):
                _lower(part, entry, dtype, autocast)
    return twin


def _lower(part: nn.Module, entry: str, dtype: torch.dtype, autocast: str | None) -> None:
    """Let a part compute in a lower type; what it answers has that type, or float32 where exact layers come next."""
    compute = getattr(part, entry)
    if autocast is None:
        part.to(dtype)

    def lowered(*arguments: Any) -> Any:
        if autocast is None:
            return compute(*cast_floating(arguments, dtype))
        # Casts of weights are not kept: without gradients PyTorch would not, and a CUDA graph must not.
        with torch.autocast(autocast, dtype, cache_enabled=False):
            return compute(*arguments)

    def raised(*arguments: Any) -> Any:
        return cast_floating(lowered(*arguments), torch.float32)

    setattr(part, entry, raised if entry == "features" else lowered)
    for name, layer in part.named_children():
        if name in _EXACT:
            _keep_exact(layer, autocast)


def _keep_exact(layer: nn.Module, autocast: str | None) -> None:
    compute = layer.float().forward

    def exact(*arguments: Any) -> Any:
        if autocast is None:
            return compute(*cast_floating(arguments, torch.float32))
        with torch.autocast(autocast, enabled=False):
            return compute(*cast_floating(arguments, torch.float32))

    layer.forward = exact


def _quantize(network: nn.Module, names: str) -> None:
    try:
        from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic
    except ImportError as error:
        raise ValueError(f"quantize needs torch.ao.quantization, which PyTorch {torch.__version__} lacks.") from error
    chosen = {
        name: per_channel_dynamic_qconfig
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and re.fullmatch(names, name)
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is deprecated, and what shall follow it is a library of its own
            quantize_dynamic(network, chosen, inplace=True)
    except RuntimeError as error:  # PyTorch's words where it was built without int8 kernels
        raise ValueError(f"quantize cannot be 'int8' on this machine: {str(error).splitlines()[0]}") from error
