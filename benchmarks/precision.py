"""How much faster fewer bits make the network, and which of its operations gain.

python benchmarks/precision.py [--preset base] [--compile] [--cuda_graphs]

The whole network in bfloat16, with int8 linear layers, and with both, against float32 in the same run, for one crop and
for a crop with its mirror image; then its parts, and single operations of the sizes that `base` has at 448 pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from measuring import Report, options, side_by_side, start

from adaptiveclick_med.inference import AcceleratedNetwork, accelerate
from adaptiveclick_med.networks import AdaptiveClick

MODELS: dict[str, dict[str, str]] = {
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "int8": {"quantize": "int8"},
    "bfloat16 + int8": {"precision": "bfloat16", "quantize": "int8"},
}
TARGETS = {"bfloat16": 0.6, "int8": None, "bfloat16 + int8": 0.6}


def inputs(size: tuple[int, int], batch: int, device: str) -> torch.Tensor:
    x = torch.rand(batch, 6, *size)
    x[:, 4:] = (x[:, 4:] > 0.999).float()
    return x.to(device)


PARTS = {"encoder": "forward", "pyramid": "forward", "pixel_decoder": "features", "click_decoder": "forward"}


def parts(model: AcceleratedNetwork, x: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """Calls of the network's parts, with what they get when the network answers to ``x``."""
    seen: dict[str, Callable[[], Any]] = {}
    with ExitStack() as stack:
        for name, entry in PARTS.items():
            part = getattr(model.network, name)
            run = getattr(part, entry)

            def watched(*args: Any, name: str = name, run: Callable[..., Any] = run, **kwargs: Any):
                seen[name] = partial(run, *args, **kwargs)
                return run(*args, **kwargs)

            stack.enter_context(patch.object(part, entry, watched))
        model.predict(x, auxiliary=False)
    return seen


def operations() -> dict[str, tuple[Callable[..., Any], tuple[torch.Tensor, ...]]]:
    """Operations of `base` at 448 pixels with their operands."""
    tokens, fine = torch.randn(1, 784, 768), torch.randn(1, 256, 112, 112)
    places = torch.rand(8, 4116, 4, 2) * 2 - 1
    return {
        "linear 768 -> 3072 of 784 tokens": (F.linear, (tokens, torch.randn(3072, 768), torch.randn(3072))),
        "attention over 784 tokens": (F.scaled_dot_product_attention, (torch.randn(1, 12, 784, 64),) * 3),
        "attention in 4 windows of 196": (F.scaled_dot_product_attention, (torch.randn(4, 12, 196, 64),) * 3),
        "GELU of 784 x 3072": (F.gelu, (torch.randn(1, 784, 3072),)),
        "layer normalisation of 784 x 768": (partial(F.layer_norm, normalized_shape=(768,)), (tokens,)),
        "convolution 3 x 3, 256 channels at 112": (
            partial(F.conv2d, padding=1),
            (fine, 0.02 * torch.randn(256, 256, 3, 3)),
        ),
        "transposed convolution 768 -> 512 at 28": (
            partial(F.conv_transpose2d, stride=2),
            (torch.randn(1, 768, 28, 28), 0.02 * torch.randn(768, 512, 2, 2)),
        ),
        "group normalisation of 256 at 112": (partial(F.group_norm, num_groups=32), (fine,)),
        "sampling at 4116 x 4 places": (
            partial(F.grid_sample, align_corners=False),
            (torch.randn(8, 32, 56, 56), places),
        ),
        "resizing 256 channels from 56 to 112": (
            partial(F.interpolate, size=(112, 112), mode="bilinear"),
            (torch.randn(1, 256, 56, 56),),
        ),
    }


def main() -> None:
    parser = options(__doc__, repeats=5)
    parser.add_argument("--preset", default="base")
    parser.add_argument("--image_size", type=int, default=448)
    parser.add_argument("--pixel_decoder_layers", type=int, default=4, help="4 as the released weights have")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", default="cpu", help="on a GPU there is float16 in the place of int8")
    parser.add_argument("--compile", action="store_true", help="also compiled; compiling takes minutes on a CPU")
    parser.add_argument("--cuda_graphs", action="store_true", help="also as CUDA graphs; on a GPU only")
    arguments = start(parser)
    gpu = not arguments.device.startswith("cpu")

    network = AdaptiveClick.from_preset(
        arguments.preset, image_size=arguments.image_size, pixel_decoder_layers=arguments.pixel_decoder_layers
    )
    network = network.to(arguments.device).eval()
    chosen: dict[str, dict[str, Any]] = dict(MODELS)
    if gpu:
        chosen = {"float32": {}, "bfloat16": {"precision": "bfloat16"}, "float16": {"precision": "float16"}}
    plain = dict(chosen)
    for flag in ("compile", "cuda_graphs"):
        if getattr(arguments, flag):
            chosen.update(
                {f"{name}, {flag}": {**what, flag: True} for name, what in plain.items() if "quantize" not in what}
            )
    models = {name: accelerate(network, **what) for name, what in chosen.items()}
    report = Report(f"Precision: AdaptiveClick {arguments.preset} at {arguments.image_size} pixels")
    for batch in arguments.batches:
        x = inputs(network.image_size, batch, arguments.device)
        calls = {name: partial(model.predict, x, auxiliary=False) for name, model in models.items()}
        times = side_by_side(calls, repeats=arguments.repeats, warmup=1)
        report.seconds(f"batch {batch}, float32", times["float32"])
        for name in list(times)[1:]:
            report.ratio(f"batch {batch}, {name}", times[name], times["float32"], at_most=TARGETS.get(name))
    with torch.inference_mode():
        x = inputs(network.image_size, 1, arguments.device)
        split = {name: parts(models[name], x) for name in plain}
        for part in split["float32"]:
            times = side_by_side({name: split[name][part] for name in plain}, repeats=arguments.repeats, warmup=1)
            report.seconds(f"{part}, float32", times["float32"])
            for name in list(plain)[1:]:
                report.ratio(f"{part}, {name}", times[name], times["float32"])
        for name, (operation, operands) in operations().items():
            exact = [operand.to(arguments.device) for operand in operands]
            lower = [operand.bfloat16() for operand in exact]
            calls = {"float32": partial(operation, *exact), "bfloat16": partial(operation, *lower)}
            if name.startswith("linear") and not gpu:
                calls["int8"] = partial(models["int8"].network.encoder.blocks[0].mlp.fc1, exact[0])
                if arguments.preset != "base":
                    del calls["int8"]
            times = side_by_side(calls, repeats=4 * arguments.repeats)
            for kind in list(times)[1:]:
                report.ratio(f"{name}, {kind}", times[kind], times["float32"])
    report.print(arguments.json)


if __name__ == "__main__":
    main()
