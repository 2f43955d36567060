"""The same network, faster: fewer bits, compiled, or recorded as CUDA graphs."""

from __future__ import annotations

import copy
import logging
import os
import shutil
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from adaptiveclick_med.inference.cuda_graphs import GraphedCalls
from adaptiveclick_med.inference.reduced import PRECISIONS, cast_floating, has_fast_bfloat16, reduced_copy
from adaptiveclick_med.networks import AdaptiveClickOutput, ClickModel, ClickNetwork

__all__ = ["AcceleratedNetwork", "accelerate", "acceleration_facts"]

_BACKEND = "inductor"
_COMPILED_SIZES = 4

_logger = logging.getLogger(__name__)


def accelerate(
    network: ClickNetwork,
    *,
    precision: str = "float32",
    compile: bool = False,
    cuda_graphs: bool = False,
    quantize: str | None = None,
) -> AcceleratedNetwork:
    """Return a faster model with the same answers, up to rounding, for sessions and evaluation; it cannot be trained.

    Args:
        network: in evaluation mode. It is copied and stays as it is.
        precision: ``"float32"``; ``"bfloat16"``; on a GPU also ``"float16"``. Which parts it is for:
            :func:`adaptiveclick_med.inference.reduced.reduced_copy`.
        compile: run it through ``torch.compile``. The first prediction of a size waits for the compiler, up to minutes.
        cuda_graphs: record it as CUDA graphs, one for each shape of the input; on a GPU only.
        quantize: ``"int8"``: linear layers of the encoder in 8 bits; on a CPU only and not with ``compile``.

    Raises:
        TypeError: when ``network`` is no :class:`~adaptiveclick_med.networks.ClickNetwork`.
        ValueError: when an argument cannot be used, or not on the network's device.

    Example:
        >>> import torch
        >>> from adaptiveclick_med.networks import AdaptiveClick
        >>> network = AdaptiveClick.from_preset("nano", image_size=64).eval()
        >>> fast = accelerate(network, quantize="int8")
        >>> fast.predict(torch.zeros(1, 6, 64, 64), auxiliary=False).logits.dtype
        torch.float32
    """
    if not isinstance(network, ClickNetwork):
        raise TypeError(
            f"network must be an AdaptiveClick or SimpleClick, got {type(network).__name__}: accelerate it first."
        )
    if network.training:
        raise ValueError("network must be in evaluation mode; call network.eval() first.")
    kind = network.device.type
    _check_precision(precision, kind)
    if quantize not in (None, "int8"):
        raise ValueError(f"quantize must be None or 'int8', got {quantize!r}.")
    if quantize is not None and kind != "cpu":
        raise ValueError(f"quantize may be {quantize!r} only on a CPU, the network is on {network.device}.")
    if quantize is not None and compile:
        raise ValueError(f"compile cannot go with quantize={quantize!r}: the compiler does not take int8 layers.")
    if cuda_graphs and kind != "cuda":
        raise ValueError(f"cuda_graphs may be true only on a CUDA device, the network is on {network.device}.")
    if compile and kind == "cpu" and not _has_compiler():
        raise ValueError("compile needs a C++ compiler on a CPU: install g++ or clang++, or name one in CXX.")
    return AcceleratedNetwork(network, precision=precision, compile=compile, cuda_graphs=cuda_graphs, quantize=quantize)


def acceleration_facts(
    *, precision: str = "float32", compile: bool = False, cuda_graphs: bool = False, quantize: str | None = None
) -> dict[str, Any]:
    """Return what differs from a network as it is, plain JSON values; nothing where nothing does."""
    usual = {"precision": "float32", "compile": False, "cuda_graphs": False, "quantize": None}
    given = {"precision": precision, "compile": compile, "cuda_graphs": cuda_graphs, "quantize": quantize}
    return {key: value for key, value in given.items() if value != usual[key]}


class AcceleratedNetwork(ClickModel):
    """What :func:`accelerate` makes of a network. Outputs are float32.

    Compiled and recorded are the predictions that sessions make, without ``auxiliary`` and ``return_features``; others
    run as they are. Compiled are the first four sizes (height, width) of the input that come along, for batches of any
    size; others run as they are. A model may be used by several threads.

    Attributes:
        network: the copy of the network that it runs.
        facts: what differs from the network as it was, plain JSON values.
    """

    def __init__(
        self, network: ClickNetwork, *, precision: str, compile: bool, cuda_graphs: bool, quantize: str | None
    ) -> None:
        self.facts = acceleration_facts(
            precision=precision, compile=compile, cuda_graphs=cuda_graphs, quantize=quantize
        )
        self.network = reduced_copy(network, precision, quantize)
        self.intensity = copy.deepcopy(network.intensity)
        self._compile = compile
        self._compiled: dict[tuple[int, int], Callable[[Tensor], tuple[Tensor, ...]]] = {}
        self._graphs = GraphedCalls(self._compute) if cuda_graphs else None

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.network.patch_size

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels of the input that the network was built for."""
        return self.network.image_size

    @property
    def device(self) -> torch.device:
        """Where the input is expected and the output appears."""
        return self.network.device

    @property
    def has_candidates(self) -> bool:
        """Whether the network has candidates."""
        return self.network.has_candidates

    def __call__(self, x: Tensor) -> Tensor:
        """Return logits [B, 1, H, W] for x [B, 6, H, W], as a network in evaluation mode does."""
        return self.predict(x, auxiliary=False).logits

    @torch.no_grad()
    def predict(self, x: Tensor, *, return_features: bool = False, auxiliary: bool = True) -> AdaptiveClickOutput:
        """Return the whole answer, see :meth:`adaptiveclick_med.networks.ClickModel.predict`; without gradients.

        Raises:
            ValueError: when ``x`` is not of shape [B, 6, H, W], or smaller than a patch or no multiple of it.
        """
        if return_features or (auxiliary and self.has_candidates):
            output = self.network.predict(x, return_features=return_features, auxiliary=auxiliary)
            whole: AdaptiveClickOutput = cast_floating(output, torch.float32)
            return whole
        self._check(x)
        logits, *candidates = self._compute(x) if self._graphs is None else self._graphs(x)
        masks, clicks = candidates or (None, None)
        return AdaptiveClickOutput(logits, masks, clicks)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != 6:
            raise ValueError(f"The input must be of shape [B, 6, H, W], got {list(x.shape)}.")
        self.network.encoder.grid_of(int(x.shape[-2]), int(x.shape[-1]))

    def _compute(self, x: Tensor) -> tuple[Tensor, ...]:
        if not self._compile:
            return self._answer(x)
        size = (int(x.shape[-2]), int(x.shape[-1]))
        run = self._compiled.get(size)
        if run is None:
            if len(self._compiled) >= _COMPILED_SIZES:
                return self._answer(x)
            run = self._compiled[size] = _compiled(self.network)
        x = x.view(x.shape)  # marks are made on a tensor of our own
        for axis in (1, 2, 3):
            torch._dynamo.mark_static(x, axis)
        if x.shape[0] > 1:
            torch._dynamo.mark_dynamic(x, 0)
        return run(x)

    def _answer(self, x: Tensor) -> tuple[Tensor, ...]:
        return _answer(self.network, x)


def _answer(network: ClickNetwork, x: Tensor) -> tuple[Tensor, ...]:
    output = network.predict(x, auxiliary=False)
    found = (output.logits, output.mask_logits, output.click_logits)
    return tuple(tensor.float() for tensor in found if tensor is not None)


def _compiled(network: ClickNetwork) -> Callable[[Tensor], tuple[Tensor, ...]]:
    def answer(x: Tensor) -> tuple[Tensor, ...]:
        return _answer(network, x)

    # PyTorch counts compilations by code object, and refuses after a few: each network and size has its own.
    own = FunctionType(answer.__code__.replace(), answer.__globals__, closure=answer.__closure__)
    compiled: Callable[[Tensor], tuple[Tensor, ...]] = torch.compile(own, fullgraph=True, backend=_BACKEND)
    return compiled


def _check_precision(precision: str, kind: str) -> None:
    allowed = [name for name in PRECISIONS if kind != "cpu" or name != "float16"]
    if precision not in allowed:
        place = "a CPU" if kind == "cpu" else f"a {kind} device"
        raise ValueError(f"precision must be one of {', '.join(allowed)} on {place}, got {precision!r}.")
    if precision == "bfloat16" and kind == "cpu" and not has_fast_bfloat16():
        _logger.warning(
            "This CPU has no bfloat16 arithmetic (AVX512-BF16, AMX): precision bfloat16 works, but may be slower than "
            "float32."
        )


def _has_compiler() -> bool:
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    return sys.platform == "win32" or any(shutil.which(name.split()[0]) for name in names)
