"""How much memory a training needs, computed without any: no tensor of the network is ever filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from adaptiveclick_med.evaluation import format_table
from adaptiveclick_med.losses import MaskAdaptiveLoss, NormalizedFocalLoss
from adaptiveclick_med.networks import ClickNetwork
from adaptiveclick_med.networks.click_network import as_size
from adaptiveclick_med.profiling.meters import LiveTensors

__all__ = ["PRECISIONS", "TrainingMemory", "TrainingProfile", "profile_training", "training_memory"]

PRECISIONS: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Names of the precisions; all but the first are autocast, with weights and Adam in float32."""

CARDS = (8, 12, 16, 24, 32, 40, 48, 80, 141)
"""Usual sizes of GPU memory in GB."""

_SPARE = 0.1


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that one training step needs.

    Attributes:
        precision: one of :data:`PRECISIONS`.
        activation_checkpointing: whether the encoder computes its activations again.
        parameters: parameters and buffers.
        gradients: gradients of all parameters; they stay from step to step.
        optimizer: Adam's two moments.
        activations: the most bytes of everything else at a time: what the backward pass waits for, the loss and the
            passing needs of the operators, without their scratch space.
    """

    precision: str
    activation_checkpointing: bool
    parameters: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All bytes at the worst moment of a step."""
        return self.parameters + self.gradients + self.optimizer + self.activations

    @property
    def card(self) -> int | None:
        """The smallest usual GPU, in GB, with a tenth of its memory left over; ``None``: none of :data:`CARDS`."""
        return next((card for card in CARDS if self.total <= (1 - _SPARE) * card * 1e9), None)

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values."""
        return {
            "precision": self.precision,
            "activation_checkpointing": self.activation_checkpointing,
            "parameter_bytes": self.parameters,
            "gradient_bytes": self.gradients,
            "optimizer_bytes": self.optimizer,
            "activation_bytes": self.activations,
            "total_bytes": self.total,
            "smallest_card_gb": self.card,
        }


@dataclass(frozen=True)
class TrainingProfile:
    """What a training needs in each precision, with and without activation checkpointing.

    Attributes:
        memory: one entry for each choice.
        facts: ``network``, ``image_size`` (height, width), ``batch_size``, ``torch``.
    """

    memory: Sequence[TrainingMemory]
    facts: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return ``facts`` and ``memory`` as plain values for JSON."""
        return {"facts": dict(self.facts), "memory": [each.as_dict() for each in self.memory]}

    def table(self) -> str:
        """Return a text table, a row for each choice, with what the columns mean below it."""
        rows = {
            each.precision + (", checkpointing" if each.activation_checkpointing else ""): {
                "parameters (GiB)": each.parameters / 2**30,
                "gradients (GiB)": each.gradients / 2**30,
                "Adam (GiB)": each.optimizer / 2**30,
                "activations (GiB)": each.activations / 2**30,
                "total (GiB)": each.total / 2**30,
                "card (GB)": float("inf") if each.card is None else float(each.card),
            }
            for each in self.memory
        }
        height, width = self.facts["image_size"]
        notes = [
            f"{self.facts['network']}, {height} x {width} pixels, batch {self.facts['batch_size']}, one training step.",
            "Computed from the shapes of all tensors alive, operator by operator; nothing was allocated or timed.",
            "Attention as a fused kernel does it. bfloat16 and float16: autocast, weights and Adam in float32.",
            f"card: the smallest usual GPU with {_SPARE:.0%} of its memory left over, for its context, the operators'",
            "  scratch space and gaps. Several ranks: as much again as the gradients on each, for their exchange.",
        ]
        return "\n".join([format_table(rows), "", *notes])


def profile_training(
    network: ClickNetwork, image_size: int | Sequence[int] | None = None, *, batch_size: int = 2
) -> TrainingProfile:
    """Compute :func:`training_memory` for every precision, with and without activation checkpointing.

    Args:
        network: see :func:`training_memory`.
        image_size: see there.
        batch_size: see there.

    Raises:
        ValueError: see there.
    """
    size = _size_of(network, image_size)
    memory = [
        training_memory(network, size, batch_size=batch_size, precision=precision, activation_checkpointing=choice)
        for precision in PRECISIONS
        for choice in (False, True)
    ]
    facts = {
        "network": type(network).__name__,
        "image_size": list(size),
        "batch_size": batch_size,
        "torch": str(torch.__version__),
    }
    return TrainingProfile(memory, facts)


def training_memory(
    network: ClickNetwork,
    image_size: int | Sequence[int] | None = None,
    *,
    batch_size: int = 2,
    precision: str = "float32",
    activation_checkpointing: bool = False,
) -> TrainingMemory:
    """Compute the memory of one training step: forward pass, loss with matching, backward pass, Adam.

    The step runs on PyTorch's fake tensors, which have shapes but no values, so a network of any size fits on any
    machine. The bytes of all fake tensors alive are followed from operator to operator, each storage once.

    Args:
        network: which network; its own tensors are not touched and may be on the device ``"meta"``.
        image_size: side or (height, width) in pixels of the crops; ``None``: the size it was built for.
        batch_size: samples of a step on one device.
        precision: one of :data:`PRECISIONS`.
        activation_checkpointing: see :class:`adaptiveclick_med.networks.plain_vit.PlainViT`.

    Raises:
        ValueError: when an argument is out of range.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
    height, width = _size_of(network, image_size)
    loss: nn.Module = MaskAdaptiveLoss() if network.has_candidates else NormalizedFocalLoss(ignore_value=-1)
    with torch.device("meta"):
        copy = type(network)(**network.arguments).train()
    copy.encoder.activation_checkpointing = activation_checkpointing
    dtype = PRECISIONS[precision]
    if dtype is not None:
        _normalise_in_full(copy)
    with FakeTensorMode(allow_non_fake_inputs=True):
        copy.to_empty(device="cpu")
        x, target = torch.zeros(batch_size, 6, height, width), torch.zeros(batch_size, 1, height, width)
        parameters = list(copy.parameters())
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        own = [*parameters, *copy.buffers()]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        live = LiveTensors([*own, *gradients])
        before = live.bytes
        with live:
            inputs = x.clone(), target.clone()
            with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
                total = loss(copy(inputs[0]), inputs[1])
            total.backward()
    held = sum(gradient.nbytes for gradient in gradients)
    return TrainingMemory(
        precision=precision,
        activation_checkpointing=activation_checkpointing,
        parameters=sum(tensor.nbytes for tensor in own),
        gradients=held,
        optimizer=2 * held,
        activations=live.read() - before,
    )


def _normalise_in_full(network: nn.Module) -> None:
    """Let normalisation work in float32, as autocast has it on a GPU but not on a CPU."""

    def full(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(each.float() for each in inputs)

    for module in network.modules():
        if isinstance(module, nn.LayerNorm | nn.GroupNorm):
            module.register_forward_pre_hook(full)


def _size_of(network: ClickNetwork, image_size: int | Sequence[int] | None) -> tuple[int, int]:
    size = as_size(network.arguments["image_size"] if image_size is None else image_size)
    network.encoder.grid_of(*size)
    return size
