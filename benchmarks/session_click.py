"""What a click costs beside the network: cropping, click maps, mirror images, pasting, thresholds.

    python benchmarks/session_click.py [--preset tiny] [--side 1024]

Clicks on a random image of 1024 x 1024 pixels, the first of which sees the whole image and the later ones a crop. Once
a stand-in that answers at once takes the network's place; once a network of ``--preset`` answers, and its own time is
taken off. Each may cost 15 ms. Then the parts of a later click, measured alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from measuring import Report, Timing, options, side_by_side, start
from torch import Tensor

from adaptiveclick_med.clicks import Clicks, click_maps, points_tensor
from adaptiveclick_med.inference import InteractiveSession
from adaptiveclick_med.networks import AdaptiveClickOutput, ClickModel, build_network

MOST_MS = 15.0
CLICKS = [(500, 510, True), (520, 480, True), (300, 300, False), (530, 520, True), (560, 500, False), (470, 510, True)]


class StandIn(ClickModel):
    """Finds a disk in the middle of whatever it sees, in no time."""

    patch_size, image_size, device = 16, (448, 448), torch.device("cpu")

    def __init__(self) -> None:
        height, width = self.image_size
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        disk = 4 - 8 * torch.hypot(rows - height / 2, columns - width / 2) / (0.7 * height)
        self.answer = AdaptiveClickOutput(
            disk.expand(2, 1, -1, -1).contiguous(), torch.zeros(2, 10, height // 4, width // 4), torch.zeros(2, 10, 2)
        )

    def predict(self, x: Tensor, *, return_features: bool = False, auxiliary: bool = True) -> AdaptiveClickOutput:
        """Return the disk for a crop and its mirror image."""
        return self.answer


class Watched(ClickModel):
    """Another model, with its time measured."""

    def __init__(self, model: ClickModel) -> None:
        self.model, self.seconds = model, 0.0

    @property
    def patch_size(self) -> int:
        """As the model's."""
        return self.model.patch_size

    @property
    def image_size(self) -> tuple[int, int]:
        """As the model's."""
        return self.model.image_size

    @property
    def device(self) -> torch.device:
        """As the model's."""
        return self.model.device

    def predict(self, x: Tensor, **arguments: Any) -> AdaptiveClickOutput:
        """Return the model's answer."""
        begin = time.perf_counter()
        answer = self.model.predict(x, **arguments)
        self.seconds = time.perf_counter() - begin
        return answer


def main() -> None:
    """Time clicks with and without a network, and the parts of a click."""
    parser = options(__doc__)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--side", type=int, default=1024, help="side of the image in pixels")
    arguments = start(parser)
    image = np.random.default_rng(0).integers(0, 256, (arguments.side, arguments.side, 3), np.uint8)
    clicks = [(row * arguments.side // 1024, column * arguments.side // 1024, sign) for row, column, sign in CLICKS]
    report = Report(f"A click in an image of {arguments.side} x {arguments.side}, beside the network")
    session = session_of(StandIn(), image)
    firsts, laters, _ = beside_the_network(session, clicks, arguments.repeats)
    report.seconds("first click, stand-in for the network", firsts, at_most_ms=MOST_MS)
    report.seconds("later clicks, stand-in for the network", laters, at_most_ms=MOST_MS)
    for name, timing in parts(session, arguments.repeats).items():
        report.seconds(f"  of which {name}", timing)
    network = build_network("AdaptiveClick", arguments.preset).eval()
    real = session_of(network, image)
    firsts, laters, answers = beside_the_network(real, clicks, max(1, arguments.repeats // 5))
    report.seconds(f"first click with {arguments.preset}, its own time taken off", firsts, at_most_ms=MOST_MS)
    report.seconds(f"later clicks with {arguments.preset}, its own time taken off", laters, at_most_ms=MOST_MS)
    report.ratio(f"later clicks with {arguments.preset}, as a share of its own time", laters, answers)
    report.seconds("a new image", side_by_side({"": lambda: session.set_image(image)}, repeats=arguments.repeats)[""])
    report.print(arguments.json)


def session_of(model: ClickModel, image: np.ndarray) -> InteractiveSession:
    """Return a session whose model is watched."""
    session = InteractiveSession(Watched(model))
    session.set_image(image)
    return session


def beside_the_network(
    session: InteractiveSession, clicks: list[tuple[int, int, bool]], repeats: int
) -> tuple[Timing, Timing, Timing]:
    """Return the time beside the network of first and of later clicks, and the network's own."""
    watched: Any = session.predictor.network
    firsts, laters, answers = [], [], []
    for turn in range(repeats + 1):
        session.reset()
        for number, click in enumerate(clicks):
            begin = time.perf_counter()
            session.click(*click)
            spent = time.perf_counter() - begin - watched.seconds
            if turn:  # the first one warms up
                (laters if number else firsts).append(spent)
                answers.append(watched.seconds)
    return timing_of(firsts), timing_of(laters), timing_of(answers)


def parts(session: InteractiveSession, repeats: int) -> dict[str, Timing]:
    """Time what a later click does, one thing after the other, at the session's state."""
    state, zoom_in, size = session.state, session.zoom_in, session.size
    image, probability, box = session._image, state.probability, state.box
    assert zoom_in is not None and image is not None and probability is not None and box is not None
    shape = zoom_in.input_size(box)
    clicks: Clicks = zoom_in.crop_clicks(state.clicks, box)
    points = points_tensor([clicks, clicks])
    frame = zoom_in.crop(torch.cat([image, probability[None, None]], dim=1), box)
    logits = torch.rand(1, 1, *shape)
    calls: dict[str, Callable[[], object]] = {
        "choosing the crop": lambda: zoom_in.choose(size, state.clicks, probability, box),
        "cropping the image and the previous mask": lambda: [
            zoom_in.crop(each, box) for each in (image, probability[None, None])
        ],
        "click maps": lambda: click_maps(points, shape),
        "the network's input, with mirror images and click maps": lambda: session.predictor._input(
            frame[:, :3], frame[:, 3:], points
        ),
        "pasting": lambda: zoom_in.paste(logits, box, size),
        "threshold, and copies for the caller": lambda: session._prediction(probability, None, box),
    }
    return side_by_side(calls, repeats=repeats)


def timing_of(seconds: list[float]) -> Timing:
    """Return median and spread."""
    low, middle, high = np.percentile(seconds, (10, 50, 90)).tolist()
    return Timing(middle, low, high, len(seconds))


if __name__ == "__main__":
    main()
