"""Peak activation memory of the decoders in evaluation mode.

The other side computes the same masks, but keeps ten full-size masks and the gate of every prediction point, as a
network does that resizes all candidates before it combines them. Bytes of live tensors, parameters left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from measuring import Report, options, start

from adaptiveclick_med.candidates import combined_mask
from adaptiveclick_med.networks import AdaptiveClick
from adaptiveclick_med.profiling.meters import LiveTensors


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--preset", default="base")
    parser.add_argument("--image_size", type=int, default=448)
    arguments = start(parser)
    network = AdaptiveClick.from_preset(
        arguments.preset, image_size=arguments.image_size, pixel_decoder_layers=4
    ).eval()
    report = Report(f"{arguments.preset}, {arguments.image_size} pixels, decoders, float32, live activations")
    for batch in (1, 2):
        x = torch.rand(batch, 6, arguments.image_size, arguments.image_size)
        with torch.no_grad():
            pyramid = network.pyramid(network.encode(x))
            ours, theirs = peak(network, pyramid, x, decode), peak(network, pyramid, x, decode_with_everything_kept)
        report.add(f"batch {batch}: peak, MiB", ours / 2**20, "MiB")
        report.add(f"batch {batch}: peak with all masks kept, MiB", theirs / 2**20, "MiB")
        report.add(f"batch {batch}: ratio", ours / theirs, "x", at_most=0.5)
    report.print(arguments.json)


def decode(network: AdaptiveClick, pyramid, x: torch.Tensor) -> torch.Tensor:
    levels, features = network.pixel_decoder.features(pyramid)
    projection = network.pixel_decoder.pixel_embed
    masks, clicks = network.click_decoder(
        levels, features, x[:, 4:5], all_masks=False, projection=projection
    ).predictions[-1]
    return F.interpolate(combined_mask(masks, clicks), x.shape[-2:], mode="bilinear", align_corners=True)


def decode_with_everything_kept(network: AdaptiveClick, pyramid, x: torch.Tensor) -> torch.Tensor:
    levels, embedding = network.pixel_decoder(pyramid)
    decoded = network.click_decoder(levels, embedding, x[:, 4:5], all_masks=True)
    full = [F.interpolate(masks, x.shape[-2:], mode="bilinear", align_corners=True) for masks, _ in decoded.predictions]
    return combined_mask(full[-1], decoded.predictions[-1][1])


def peak(network: AdaptiveClick, pyramid, x: torch.Tensor, run) -> int:
    given = [*network.parameters(), *network.buffers(), *pyramid, x]
    with LiveTensors(given) as live:
        before = live.read()
        run(network, pyramid, x)
        return int(live.read() - before)


if __name__ == "__main__":
    main()
