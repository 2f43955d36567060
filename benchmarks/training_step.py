"""Where the time of a training step goes: what learns, and what simulates the user and tells right from wrong.

    python benchmarks/training_step.py [--presets tiny base] [--batch_size 2] [--image_size 448]

The floor is the network's forward and backward pass alone. Beside it stand, at the same batch, the simulated clicks of
the further rounds with the drawing of all click maps, and the losses with the matching of candidates, forward and
backward down to the network's output. Their sum may be at most 15 % of the floor. The network's own predictions of the
further rounds (no gradient, 1.5 a step on average) are time of the network and no overhead: they are listed, and not
judged. Random images; objects and predictions are ellipses whose borders differ, one of them with scattered errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from measuring import Report, Timing, options, side_by_side, start
from torch import Tensor, nn

MAX_ROUNDS = 3
MOST = 0.15


def main() -> None:
    """Time the parts of a step for each preset."""
    parser = options(__doc__, repeats=3)
    parser.add_argument("--presets", nargs="+", default=["tiny", "base"])
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--image_size", type=int, default=448)
    arguments = start(parser)
    report = Report(f"A training step, batch {arguments.batch_size}, {arguments.image_size} pixels")
    for preset in arguments.presets:
        measure(report, preset, arguments.batch_size, arguments.image_size, arguments.repeats)
    report.print(arguments.json)


def measure(report: Report, preset: str, batch_size: int, side: int, repeats: int) -> None:
    """Add the rows of one preset."""
    from adaptiveclick_med.engines import network_input
    from adaptiveclick_med.losses import MaskAdaptiveLoss
    from adaptiveclick_med.networks import build_network
    from adaptiveclick_med.simulation import next_training_clicks

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = build_network("AdaptiveClick", preset, image_size=side).to(device).train()
    image, target, previous, points = (tensor.to(device) for tensor in batch(batch_size, side))
    x = network_input(image, previous, points)
    loss, generator = MaskAdaptiveLoss(), torch.Generator().manual_seed(0)
    output = detached(network(x))

    def forward_backward() -> None:
        network.zero_grad()
        found = network(x)
        (found.logits.mean() + sum(a.mean() + b.mean() for a, b in predictions(found))).backward()

    def losses() -> None:
        loss(output, target).backward()

    def clicks() -> None:
        """One further round."""
        next_training_clicks(previous, target, points, generator)

    def maps() -> None:
        """The input of one call of the network."""
        network_input(image, previous, points)

    def predict() -> None:
        network.eval()
        with torch.no_grad():
            network(x)
        network.train()

    calls: dict[str, Callable[[], object]] = {
        "step": forward_backward,
        "losses": losses,
        "clicks": clicks,
        "maps": maps,
        "predict": predict,
    }
    times = side_by_side(calls, repeats=repeats, warmup=1)
    rounds = MAX_ROUNDS / 2
    simulation = weighted((times["clicks"], rounds), (times["maps"], rounds + 1))
    together = weighted((simulation, 1.0), (times["losses"], 1.0))
    floor = times["step"]
    report.seconds(f"{preset}: forward and backward", floor)
    report.ratio(f"{preset}: simulated clicks and maps, mean step", simulation, floor)
    report.ratio(f"{preset}: matching and losses", times["losses"], floor)
    report.ratio(f"{preset}: all of these", together, floor, at_most=MOST)
    report.ratio(f"{preset}: not judged: predictions of further rounds", weighted((times["predict"], rounds)), floor)


def weighted(*parts: tuple[Timing, float]) -> Timing:
    """Return a weighted sum of timings; so is its spread, which overstates it."""
    sums = [sum(factor * getattr(timing, name) for timing, factor in parts) for name in ("median", "low", "high")]
    return Timing(*sums, parts[0][0].repeats)


def batch(size: int, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return image, target, previous mask and points with five clicks of each sign."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")

    def ellipse(number: int, scale: float) -> Tensor:
        height, width = scale * side * (0.2 + 0.03 * number), scale * side * (0.3 - 0.03 * number)
        return ((rows - side / 2) / height) ** 2 + ((columns - side / 2.2) / width) ** 2 <= 1

    target = torch.stack([ellipse(number % 4, 1.0) for number in range(size)])[:, None].float()
    previous = torch.stack([ellipse(number % 4, 0.9 + 0.2 * (number % 2)) for number in range(size)])[:, None]
    noise = torch.rand(previous.shape, generator=generator)
    probability = torch.where(previous, 0.9, 0.1)
    probability[-1:] = torch.where(noise[-1:] < 0.05, 1 - probability[-1:], probability[-1:])
    points = torch.full((size, 48, 3), -1.0)
    places = torch.randint(side, (size, 10, 2), generator=generator).float()
    points[:, :5, :2], points[:, 24:29, :2] = places[:, :5], places[:, 5:]
    points[:, :5, 2], points[:, 24:29, 2] = torch.arange(5.0), torch.arange(5.0, 10.0)
    return torch.rand(size, 3, side, side, generator=generator), target, probability, points


def predictions(output: Any) -> list[tuple[Tensor, Tensor]]:
    """Return the candidates of all prediction points."""
    return [*output.auxiliary, (output.mask_logits, output.click_logits)]


def detached(output: Any) -> Any:
    """Return an output whose tensors are leaves: a loss goes back to them and no further."""

    def leaf(tensor: Tensor) -> Tensor:
        return nn.Parameter(tensor.detach().clone())

    auxiliary = tuple((leaf(masks), leaf(clicks)) for masks, clicks in output.auxiliary)
    return type(output)(leaf(output.logits), leaf(output.mask_logits), leaf(output.click_logits), auxiliary)


if __name__ == "__main__":
    main()
