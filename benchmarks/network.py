"""The whole network, its deformable attention and its click decoder against the bare encoder.

The bare encoder is the network's own plain ViT: timm's blocks in the same windows with the same weights. Deformable
attention is judged against its four linear layers alone, on the tokens of the same input.
"""

from __future__ import annotations

import torch
from measuring import Report, options, side_by_side, start

from adaptiveclick_med.networks import AdaptiveClick
from adaptiveclick_med.networks.deformable_attention import reference_points


def main() -> None:
    parser = options(__doc__, repeats=7)
    parser.add_argument("--preset", default="base")
    parser.add_argument("--image_size", type=int, default=448)
    parser.add_argument("--pixel_decoder_layers", type=int, default=4)
    arguments = start(parser)
    network = AdaptiveClick.from_preset(
        arguments.preset, image_size=arguments.image_size, pixel_decoder_layers=arguments.pixel_decoder_layers
    ).eval()
    report = Report(f"{arguments.preset}, {arguments.image_size} pixels, float32, against the bare encoder")
    base = arguments.preset == "base"
    with torch.no_grad():
        for batch in (1, 2):
            measure(report, network, torch.rand(batch, 6, arguments.image_size, arguments.image_size), base, arguments)
    report.print(arguments.json)


def measure(report: Report, network: AdaptiveClick, x: torch.Tensor, base: bool, arguments) -> None:
    batch = len(x)
    encoded = network.encode(x)
    pyramid = network.pyramid(encoded)
    levels, features = network.pixel_decoder.features(pyramid)
    sizes = [tuple(level.shape[-2:]) for level in levels]
    tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1).contiguous()
    reference = reference_points(sizes, device=x.device, dtype=torch.float32)
    attentions = [layer.self_attn for layer in network.pixel_decoder.layers]

    def linear() -> None:
        for attention in attentions:
            value = attention.value_proj(tokens)
            attention.sampling_offsets(tokens)
            attention.attention_weights(tokens)
            attention.output_proj(value)

    def attend() -> None:
        for attention in attentions:
            attention(tokens, reference, tokens, sizes)

    def decode() -> None:
        projection = network.pixel_decoder.pixel_embed
        network.click_decoder(levels, features, x[:, 4:5], all_masks=False, projection=projection)

    found = side_by_side(
        {
            "encoder": lambda: network.encode(x),
            "network": lambda: network(x),
            "pyramid": lambda: network.pyramid(encoded),
            "pixel decoder": lambda: network.pixel_decoder.features(pyramid),
            "linear layers": linear,
            "deformable attention": attend,
            "click decoder": decode,
        },
        repeats=arguments.repeats,
    )
    encoder = found["encoder"]
    report.ratio(f"batch {batch}: whole network", found["network"], encoder, at_most=1.5 if base else None)
    report.ratio(f"batch {batch}: feature pyramid", found["pyramid"], encoder)
    report.ratio(f"batch {batch}: pixel decoder", found["pixel decoder"], encoder)
    report.ratio(f"batch {batch}: click decoder", found["click decoder"], encoder, at_most=0.06 if base else None)
    report.ratio(
        f"batch {batch}: deformable attention / its linear layers",
        found["deformable attention"],
        found["linear layers"],
        at_most=1.5 if base else None,
    )


if __name__ == "__main__":
    main()
