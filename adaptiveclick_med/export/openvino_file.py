"""OpenVINO: two files, ``.xml`` and ``.bin``, for Intel's runtime."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from adaptiveclick_med.export.facts import FACTS_KEY, INPUT_NAME, ExportFacts
from adaptiveclick_med.export.graph import ExportableNetwork, example_input, quiet
from adaptiveclick_med.export.libraries import need_openvino
from adaptiveclick_med.export.torchscript import traced

__all__ = ["PRECISIONS", "OpenVinoRunner", "write_openvino"]

PRECISIONS = ("f32", "bf16", "f16")


def write_openvino(network: ExportableNetwork, facts: ExportFacts, path: Path) -> None:
    """Write the network to ``path`` and the ``.bin`` of the same name, with its facts in the ``rt_info``.

    Raises:
        ValueError: when OpenVINO is missing.
    """
    openvino = need_openvino("Export to OpenVINO")
    with quiet():
        model = openvino.convert_model(
            traced(network, facts),
            example_input=example_input(facts.image_size),
            input=[openvino.PartialShape([-1, 6, *facts.image_size])],
        )
    model.inputs[0].get_tensor().set_names({INPUT_NAME})
    for output, name in zip(model.outputs, facts.outputs, strict=True):
        output.get_tensor().set_names({name})
    model.set_rt_info(facts.to_json(), FACTS_KEY)
    openvino.save_model(model, str(path), compress_to_fp16=False)


class OpenVinoRunner:
    """Runs an OpenVINO file. Tensors stay on the CPU, whatever the device.

    Args:
        path: the ``.xml``; the ``.bin`` lies beside it.
        device: a device of OpenVINO: ``"cpu"``, ``"gpu"``, ``"gpu.1"``, ``"npu"``, ``"auto"``; ``None``: the CPU.
        threads: threads of the CPU.
        precision: one of :data:`PRECISIONS`, of the arithmetic where the device has it.

    Raises:
        ValueError: when the file is damaged or of another origin, OpenVINO is missing, or the device or the precision
            cannot be used.
    """

    device = torch.device("cpu")

    def __init__(self, path: Path, device: str | None, threads: int, precision: str) -> None:
        openvino = need_openvino("Running an OpenVINO file")
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
        name = (device or "cpu").upper()
        core = openvino.Core()
        if name != "AUTO" and name.split(".")[0] not in {each.split(".")[0] for each in core.available_devices}:
            available = ", ".join(["auto", *(each.lower() for each in core.available_devices)])
            raise ValueError(f"device of an OpenVINO file must be one of {available} here, got {device!r}.")
        weights = path.with_suffix(".bin")
        if not weights.is_file():
            raise FileNotFoundError(f"{path} needs its weights beside it, and there is no {weights}.")
        try:
            model = core.read_model(str(path))
        except RuntimeError as error:
            raise ValueError(f"{path} is damaged or no OpenVINO file: {str(error).splitlines()[0]}") from error
        self.facts = ExportFacts.from_json(_read_facts(model), path)
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision}
        if name == "CPU":
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            self._compiled = core.compile_model(model, name, options)
        except RuntimeError as error:
            raise ValueError(f"{path} cannot be run on device {device!r}: {str(error).splitlines()[-1]}") from error
        self._lock = Lock()  # its call shares one request among threads

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Return the outputs for [B, 6, H, W], in the order of the facts."""
        with self._lock:
            found = self._compiled({INPUT_NAME: x.cpu().contiguous().numpy()})
        return [torch.from_numpy(found[name]) for name in self.facts.outputs]


def _read_facts(model: Any) -> str | None:
    if not model.has_rt_info([FACTS_KEY]):
        return None
    value = model.get_rt_info([FACTS_KEY])
    return str(value.astype(str) if hasattr(value, "astype") else value)
