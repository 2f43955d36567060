"""ONNX: a file for ONNX Runtime and many other programs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from adaptiveclick_med.export.facts import FACTS_KEY, INPUT_NAME, ExportFacts
from adaptiveclick_med.export.graph import ExportableNetwork, example_input, quiet
from adaptiveclick_med.export.libraries import need, need_onnxruntime

__all__ = ["OPSET", "OnnxRunner", "write_onnx"]

OPSET = 18
_LARGEST_SINGLE_FILE = 1_800_000_000  # a protocol buffer ends at 2 GiB


def write_onnx(network: ExportableNetwork, facts: ExportFacts, path: Path) -> None:
    """Write the network to ``path``; weights of more than 1.8 GB go into ``NAME.onnx.data`` beside it.

    Raises:
        ValueError: when a library is missing.
    """
    need("onnx", "Export to ONNX")
    need("onnxscript", "Export to ONNX")
    size = sum(each.numel() * each.element_size() for each in network.state_dict().values())
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (example_input(facts.image_size),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=list(facts.outputs),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
        assert program is not None
        program.model.metadata_props[FACTS_KEY] = facts.to_json()
        program.save(str(path), external_data=size > _LARGEST_SINGLE_FILE)


class OnnxRunner:
    """Runs an ONNX file with ONNX Runtime. Tensors stay on the CPU, whatever the provider.

    Args:
        path: the file.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; ``None``: the first GPU where ONNX Runtime was installed with
            CUDA, else the CPU.
        threads: threads of the CPU.

    Raises:
        ValueError: when the file is damaged or of another origin, ONNX Runtime is missing, or the device cannot be
            used.
    """

    device = torch.device("cpu")

    def __init__(self, path: Path, device: str | None, threads: int) -> None:
        runtime = need_onnxruntime("Running an ONNX file")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        providers = _providers(device, runtime.get_available_providers())
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime has an exception class for each of its status codes
            raise ValueError(f"{path} is damaged or no ONNX file: {str(error).splitlines()[0]}") from error
        self.facts = ExportFacts.from_json(self._session.get_modelmeta().custom_metadata_map.get(FACTS_KEY), path)

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Return the outputs for [B, 6, H, W], in the order of the facts."""
        found = self._session.run(list(self.facts.outputs), {INPUT_NAME: x.cpu().contiguous().numpy()})
        return [torch.from_numpy(each) for each in found]


def _providers(device: str | None, available: list[str]) -> list[str | tuple[str, dict[str, int]]]:
    """Return the execution providers of a device, the preferred one first."""
    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    if device is None:
        return [cuda, cpu] if cuda in available else [cpu]
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in ("cpu", "cuda"):
        raise ValueError(f"device of an ONNX file must be cpu, cuda or cuda:N, got {device!r}.")
    if chosen.type == "cpu":
        return [cpu]
    if cuda not in available:
        raise ValueError(
            f"device {device!r} cannot be used: this ONNX Runtime has no CUDA (pip install onnxruntime-gpu), "
            f"only {', '.join(available)}."
        )
    return [(cuda, {"device_id": chosen.index or 0}), cpu]
