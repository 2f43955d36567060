"""Writing an exported network, and comparing what was written with the network itself."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adaptiveclick_med.export.facts import ExportFacts
from adaptiveclick_med.export.formats import target_of
from adaptiveclick_med.export.graph import ExportableNetwork, example_input
from adaptiveclick_med.export.model import ExportedModel, load_exported
from adaptiveclick_med.export.onnx_file import write_onnx
from adaptiveclick_med.export.openvino_file import write_openvino
from adaptiveclick_med.export.torchscript import write_torchscript
from adaptiveclick_med.networks import ClickNetwork
from adaptiveclick_med.networks.click_network import as_size

__all__ = ["Exported", "export_network"]

_WRITERS: dict[str, Callable[[ExportableNetwork, ExportFacts, Path], None]] = {
    "torchscript": write_torchscript,
    "onnx": write_onnx,
    "openvino": write_openvino,
}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the file.
        format: name of its format.
        facts: what it tells of the network.
        differences: of each output, the largest difference from the network's own, relative to the network's largest
            absolute value.
    """

    path: Path
    format: str
    facts: ExportFacts
    differences: Mapping[str, float]


def export_network(
    network: ClickNetwork,
    path: str | Path,
    *,
    format: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    tolerance: float = 1e-3,
    check_batches: Sequence[int] = (1, 2),
) -> Exported:
    """Write a network as a file that runs without its Python code.

    The file takes ``image_mask_clicks`` [B, 6, H, W] of one height and width and any batch size, and gives ``logits``
    [B, 1, H, W] and, with candidates, ``mask_logits`` [B, Q, h, w] and ``click_logits`` [B, Q, 2]. What a session must
    know of the network lies in it. It is read back and compared with the network, on up to three inputs of each batch
    size of which two must agree, before it appears under its name: whole or not at all.

    Args:
        network: an ``AdaptiveClick`` or ``SimpleClick`` in evaluation mode, float32.
        path: the file: ``.ts`` for TorchScript, ``.onnx``, or ``.xml`` for OpenVINO, which has a ``.bin`` beside it.
        format: ``"torchscript"``, ``"onnx"`` or ``"openvino"``; ``None``: told by the suffix.
        image_size: side or (height, width) in pixels of the input; ``None``: the size the network was built for.
        tolerance: largest difference of the logits from the network's, relative to their largest absolute value.
        check_batches: batch sizes that are compared.

    Returns:
        What was written, with the differences found.

    Raises:
        IsADirectoryError: when ``path`` is a folder.
        ValueError: when an argument cannot be used, the network is in training mode, a library is missing, or what was
            written differs from the network.

    Example:
        >>> import tempfile
        >>> from adaptiveclick_med.networks import SimpleClick
        >>> network = SimpleClick.from_preset("nano").eval()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     exported = export_network(network, f"{folder}/model.ts", image_size=64)
        >>> exported.format, exported.facts.image_size, exported.differences["logits"] < 1e-4
        ('torchscript', (64, 64), True)
    """
    target, name = target_of(path, format)
    size = _checked_size(network, image_size)
    facts = ExportFacts.of(network, size)
    exportable = ExportableNetwork(network)
    with _appearing_together(target) as temporary:
        _WRITERS[name](exportable, facts, temporary)
        differences = _compare(exportable, temporary, facts, check_batches, tolerance)
        if not differences["logits"] <= tolerance:
            raise ValueError(
                f"The exported network differs from the network itself by {differences['logits']:.2g} of the largest "
                f"logit, more than tolerance {tolerance:g}; {target} was not written."
            )
    return Exported(target, name, facts, differences)


def _checked_size(network: ClickNetwork, image_size: int | tuple[int, int] | None) -> tuple[int, int]:
    if not isinstance(network, ClickNetwork):
        raise ValueError(f"network must be an AdaptiveClick or SimpleClick, got {type(network).__name__}.")
    if network.training:
        raise ValueError("network must be in evaluation mode; call network.eval() first.")
    other = {str(each.dtype) for each in network.parameters() if each.dtype != torch.float32}
    if other:
        raise ValueError(f"network must be of float32, it has {', '.join(sorted(other))}; call network.float() first.")
    size = network.image_size if image_size is None else as_size(image_size)
    if any(side % network.patch_size for side in size):
        raise ValueError(
            f"image_size must be a multiple of the network's patch of {network.patch_size} pixels, "
            f"got {size[0]} x {size[1]}."
        )
    return size


def _compare(
    network: ExportableNetwork, path: Path, facts: ExportFacts, batches: Sequence[int], tolerance: float
) -> dict[str, float]:
    """Return the largest relative difference of each output over the batch sizes; infinite where one is no number.

    A gate of the click decoder is open or closed. Where the number that decides it is 0 up to rounding, any two float32
    computations of the same network may differ, on that input. So two inputs of three must agree for each batch size;
    the third is only looked at where one of the first two does not.
    """
    model = load_exported(path, device="cpu")
    if model.facts != facts:
        raise ValueError(f"What the exported file tells of its network is not what was written: {model.facts}.")
    found = dict.fromkeys(facts.outputs, 0.0)
    for batch in batches:
        trials: list[dict[str, float]] = []
        for seed in range(3):
            trials.append(_differences(network, model, example_input(facts.image_size, batch, seed=seed)))
            if sum(trial["logits"] <= tolerance for trial in trials) == 2:
                break
        second = sorted(trials, key=lambda trial: trial["logits"])[1]
        found = {name: max(value, second[name]) for name, value in found.items()}
    return found


def _differences(network: ExportableNetwork, model: ExportedModel, x: Tensor) -> dict[str, float]:
    with torch.no_grad():
        expected = network(x)
    answer = model.predict(x)
    found = {}
    for name, right in zip(model.facts.outputs, expected, strict=True):
        difference = (getattr(answer, name) - right).abs().max() / right.abs().max().clamp_min(1e-12)
        found[name] = float(difference.nan_to_num(nan=float("inf")))
    return found


@contextmanager
def _appearing_together(target: Path) -> Iterator[Path]:
    """Give a temporary path with the target's name; all files written beside it take their places when all went well.

    The target itself comes last, and an older one goes first: nobody finds one file of a pair beside another's.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=target.parent) as folder:
        temporary = Path(folder) / target.name
        yield temporary
        beside = [each for each in Path(folder).iterdir() if each != temporary]
        if beside:
            target.unlink(missing_ok=True)
        for each in beside:
            each.replace(target.with_name(each.name))
        temporary.replace(target)
