"""Which image is labelled next: strategies for MONAI Label's active learning."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.exception import MONAILabelException
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.utils.others.generic import file_checksum

from adaptiveclick_med.clicks import Click
from adaptiveclick_med.data.files import is_volume, picture_size, volume_header
from adaptiveclick_med.evaluation.method import usable_device
from adaptiveclick_med.inference import InteractiveSession, click_together
from adaptiveclick_med.label_app.request_options import whole_number
from adaptiveclick_med.label_app.saved_labels import acquisition_plane, image_file
from adaptiveclick_med.networks import ClickModel
from adaptiveclick_med.transforms import LoadSampled, ScaleToUnitRGBd
from adaptiveclick_med.weights import load_network

__all__ = ["LeastConfident", "NeverSeen", "image_confidence", "probe_clicks"]

_PROBES = 5

logger = logging.getLogger(__name__)


class NeverSeen(Strategy):
    """The next unlabelled image that nobody was given yet, by id; then the one that was given longest ago.

    What any strategy gave to anybody counts: MONAI Label keeps the times in the images' information. Images that
    cannot be read are passed over with a warning.
    """

    def __init__(self) -> None:
        super().__init__("The next image that nobody has seen, then the one seen longest ago")

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any] | None:
        """Choose an image.

        Args:
            request: ``label_tag`` and ``labels``, as MONAI Label sends them.
            datastore: the server's images and labels.

        Returns:
            ``id`` of the image, and ``given``: when it was given last, in seconds since 1970, 0: never. ``None`` when
            no image is left.
        """
        given = _given(request, datastore)
        for image in sorted(given, key=lambda name: (given[name], name)):
            if _readable(image, datastore):
                return {"id": image, "given": given[image]}
        return None


class LeastConfident(Strategy):
    """Of the unlabelled images that nobody was given yet, the one on which the network is least sure.

    How sure it is, is measured on the middle slice of a volume: one positive click each on five bright places (see
    :func:`probe_clicks`), all in one batch; see :func:`image_confidence`. A request measures at most ``max_images``
    images (an option, 4 by default), in the order of their ids, so it takes a bounded time; it chooses among all that
    were measured so far. What was measured is kept in the images' information (``click_confidence``), with the weights
    it holds for: after a training, or when an image's file has changed, it is measured again. When all images were
    given, it is the one that was given longest ago. Images that cannot be read are passed over with a warning.

    Args:
        weights: the weights in use; read again when the file has changed.
        load: gives the network of the weights, where somebody has it loaded already.
        window: of the images, in place of that of the weights, see :func:`adaptiveclick_med.transforms.to_unit_rgb`.
        channels: likewise.
    """

    def __init__(
        self,
        weights: str | Path,
        load: Callable[[], ClickModel] | None = None,
        *,
        window: str | Sequence[float] | None = None,
        channels: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__("The image on which the network is least sure")
        self.weights = Path(weights)
        self._load = load
        self._scaling: dict[str, Any] = {"window": window, "channels": channels}
        self._known: tuple[tuple[int, ...], str, ClickModel | None] | None = None
        self._measured: dict[tuple[str, str, tuple[int, ...]], float | None] = {}

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any] | None:
        """Choose an image.

        Args:
            request: ``label_tag`` and ``labels``, as MONAI Label sends them, and ``max_images``.
            datastore: the server's images and labels.

        Returns:
            ``id`` of the image, ``confidence`` in [0, 1] where it was measured, and ``given`` as of :class:`NeverSeen`.
            ``None`` when no image is left.

        Raises:
            MONAILabelException: when ``max_images`` cannot be used.
            FileNotFoundError: when there are no weights.
            ValueError: when the weights are damaged.
        """
        left = whole_number(request, "max_images", 4, 1)
        given = _given(request, datastore)
        digest = self._digest()
        confidences: dict[str, float] = {}
        for image in sorted(name for name, when in given.items() if not when):
            known = _remembered(image, datastore, digest)
            if known is None and left and _readable(image, datastore):
                key = (image, digest, tuple(_state(image_file(datastore, image))))
                if key not in self._measured:
                    left -= 1
                    self._measured[key] = self._measure(image, datastore, digest)
                known = self._measured[key]
            if known is not None:
                confidences[image] = known
        if confidences:
            image = min(confidences, key=lambda name: (confidences[name], name))
            return {"id": image, "confidence": confidences[image], "given": 0}
        return NeverSeen()({**request}, datastore)

    def _measure(self, image: str, datastore: Any, digest: str) -> float | None:
        """Measure an image and remember it; ``None``: it cannot be used."""
        try:
            file = image_file(datastore, image)
            confidence = round(image_confidence(self._network(), file, **self._scaling), 6)
        except (ValueError, OSError) as error:
            logger.warning("The image %s cannot be used and is passed over: %s", image, error)
            return None
        kept = {"value": confidence, "weights": digest, "file": _state(file)}
        try:
            datastore.update_image_info(image, {"click_confidence": kept})
        except MONAILabelException:  # a datastore that knows nothing of its images; this process remembers it
            logger.debug("The confidence of %s cannot be kept.", image)
        return confidence

    def _digest(self) -> str:
        state = _state(self.weights)
        if not state:
            raise FileNotFoundError(f"There is no weight file {self.weights}.")
        if self._known is None or self._known[0] != tuple(state):
            digest = file_checksum(self.weights).removeprefix("SHA256:")
            self._known = tuple(state), digest, None
        return self._known[1]

    def _network(self) -> ClickModel:
        if self._load is not None:
            return self._load()
        self._digest()
        assert self._known is not None
        state, digest, network = self._known
        if network is None:
            network = load_network(self.weights, device=usable_device(None))
            self._known = state, digest, network
        return network


def image_confidence(
    network: ClickModel,
    image: str | Path,
    *,
    window: str | Sequence[float] | None = None,
    channels: int | Sequence[int] | None = None,
) -> float:
    """Return how sure a network is on an image, in [0, 1].

    Five clicks on the middle slice (in the acquisition plane), each for an object of its own. The confidence of a click
    is the mean probability inside its mask, 0 where the mask is empty: the network then finds nothing where it was told
    that something is. The confidence of the image is the mean over the clicks.

    Args:
        network: in evaluation mode; the image is scaled as its ``intensity`` says.
        image: a picture, a volume, or the folder of a DICOM series.
        window: in place of that of the network's ``intensity``.
        channels: in place of those of the network's ``intensity``.

    Raises:
        ValueError: when the image cannot be used.
    """
    hints: dict[str, Any] = {}
    if is_volume(image):
        plane = acquisition_plane(image)
        hints = {"plane": plane, "index": volume_header(image)[0][2] // 2}
    sample = LoadSampled("image", label_keys=())({"image": str(image), "name": Path(image).name, "reader": hints})
    sample = ScaleToUnitRGBd("image", window, channels, intensity=network.intensity)(sample)
    picture = np.moveaxis(np.asarray(sample["image"]), 0, -1)
    first = InteractiveSession(network, flip=False, undo_limit=0)
    first.set_image(picture)
    clicks = probe_clicks(picture.mean(axis=-1))
    predictions = click_together([first.sibling(keep_image=True) for _ in clicks], clicks)
    inside = [found.probability[found.mask] for found in predictions]
    return float(np.mean([float(values.mean()) if values.size else 0.0 for values in inside]))


def probe_clicks(picture: np.ndarray) -> list[Click]:
    """Return five places that lie on something and far from each other.

    Places with a brightness of at least the mean are taken, so that the background around a body is not asked about.
    The first is the one that is closest to their centre, each further one the farthest from those before.

    Args:
        picture: [H, W] in [0, 1].

    Returns:
        positive clicks in pixels, fewer than five where there are fewer places.
    """
    step = max(1, min(picture.shape) // 32)  # enough places to choose from, whatever the size
    grid = np.zeros(picture.shape, dtype=bool)
    grid[step // 2 :: step, step // 2 :: step] = True
    places = np.argwhere(grid & (picture >= picture.mean())).astype(float)
    if not len(places):
        places = np.argwhere(grid).astype(float)
    chosen = [int(np.linalg.norm(places - places.mean(axis=0), axis=1).argmin())]
    distance = np.linalg.norm(places - places[chosen[0]], axis=1)
    while len(chosen) < _PROBES and distance.max() > 0:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(places - places[chosen[-1]], axis=1))
    return [Click(float(row), float(column)) for row, column in places[chosen]]


def _given(request: Mapping[str, Any], datastore: Any) -> dict[str, int]:
    """Return when each unlabelled image was given last, in seconds since 1970; 0: never."""
    images = datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels"))
    found = {}
    for image in images:
        times = datastore.get_image_info(image).get("strategy") or {}
        found[image] = max((int(each.get("ts", 0)) for each in times.values()), default=0)
    return found


def _readable(image: str, datastore: Any) -> bool:
    """Tell whether the header of an image can be read, and warn when it cannot."""
    try:
        file = image_file(datastore, image)
        volume_header(file) if is_volume(file) else picture_size(file)
    except ValueError as error:
        logger.warning("The image %s cannot be read and is passed over: %s", image, error)
        return False
    return True


def _remembered(image: str, datastore: Any, digest: str) -> float | None:
    """Return the confidence that was measured with these weights on this file."""
    info = datastore.get_image_info(image)
    known = info.get("click_confidence")
    if not isinstance(known, Mapping) or known.get("weights") != digest:
        return None
    try:
        unchanged = known.get("file") == _state(image_file(datastore, image))
    except ValueError:
        return None
    return float(known["value"]) if unchanged else None


def _state(file: str | Path) -> list[int]:
    """Return what changes when a file is written anew; nothing of a folder or a missing file."""
    path = Path(file)
    if path.is_dir() or not path.exists():
        return []
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]
