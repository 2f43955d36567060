"""Seconds of one forward of an exported network, each format beside PyTorch's own, as ratios.

python benchmarks/exported.py [--preset tiny] [--image_size 224] [--formats torchscript onnx openvino] [--bf16]

The network is untrained: times do not depend on the weights. It is exported into a temporary folder first, which takes
longer than the timing. All formats use as many threads as PyTorch.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable

import torch
from measuring import Report, options, side_by_side, start

from adaptiveclick_med.export import FORMATS, export_network, load_exported
from adaptiveclick_med.export.graph import example_input
from adaptiveclick_med.networks import NETWORKS, PRESETS, ClickModel
from adaptiveclick_med.weights import start_network


def main() -> None:
    parser = options(__doc__, repeats=9)
    parser.add_argument("--preset", default="tiny", choices=list(PRESETS))
    parser.add_argument("--network", default="AdaptiveClick", choices=list(NETWORKS))
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--image_size", type=int, default=224, help="side of the input in pixels")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2], help="a click is a batch of 2: also mirrored")
    parser.add_argument("--bf16", action="store_true", help="also OpenVINO with precision bf16")
    arguments = start(parser)
    network = start_network(arguments.network, arguments.preset, image_size=arguments.image_size).eval()
    height, width = network.image_size
    models: dict[str, ClickModel] = {"PyTorch": network}
    report = Report(f"One forward of {arguments.network} {arguments.preset}, {height} x {width} pixels, float32")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.formats:
            begin = time.perf_counter()
            exported = export_network(network, f"{folder}/model{FORMATS[name]}")
            seconds = time.perf_counter() - begin
            models[name] = load_exported(exported.path, device="cpu")
            report.add(f"{name}: largest difference of the logits", 1e6 * exported.differences["logits"], "1e-6")
            print(f"{name}: exported and checked in {seconds:.1f} s", flush=True)
            if name == "openvino" and arguments.bf16:
                models["openvino, bf16"] = load_exported(exported.path, precision="bf16")
        for batch in arguments.batches:
            x = example_input(network.image_size, batch)

            def call(model: ClickModel, x: torch.Tensor = x) -> Callable[[], object]:
                @torch.no_grad()
                def run() -> object:
                    return model.predict(x, auxiliary=False)

                return run

            timings = side_by_side({name: call(model) for name, model in models.items()}, repeats=arguments.repeats)
            report.seconds(f"PyTorch, batch {batch}", timings["PyTorch"])
            for name in list(models)[1:]:
                report.ratio(f"{name}, batch {batch}", timings[name], timings["PyTorch"])
    report.print(arguments.json)


if __name__ == "__main__":
    main()
