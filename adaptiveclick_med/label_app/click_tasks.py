"""The two models that viewers show: one slice at a time, and whole objects."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from numpy.typing import NDArray

from adaptiveclick_med.data.files import file_stem
from adaptiveclick_med.inference import VolumeSession
from adaptiveclick_med.label_app.answer_files import write_answer
from adaptiveclick_med.label_app.click_request import ClickRequest, Place
from adaptiveclick_med.label_app.decoded_volumes import DecodedVolumes
from adaptiveclick_med.label_app.problems import problem
from adaptiveclick_med.label_app.served_network import ServedNetwork
from adaptiveclick_med.label_app.serving_options import ServingOptions

__all__ = ["ClickTask"]

logger = logging.getLogger(__name__)


class ClickTask(InferTask):
    """Answers to all clicks of a user on one object.

    A request carries every click, and the answer depends on nothing else: taking a click back in the viewer gives the
    answer from before, users do not meet, and a restart between two clicks changes nothing. Clicks that were answered
    before cost no network call, since all requests on a volume share what is known.

    With ``dimension`` 2, one slice along k is answered. With 3, every clicked slice is, and the masks are carried to
    their neighbours. A slice whose clicks are all negative corrects what was carried there.

    Args:
        network: the network in use.
        volumes: decoded volumes.
        options: of the server.
        dimension: 2 or 3.
    """

    def __init__(
        self, network: ServedNetwork, volumes: DecodedVolumes, options: ServingOptions, dimension: int
    ) -> None:
        config: dict[str, Any] = {"candidate": ""}
        if dimension == 3:
            config.update(direction=["both", "up", "down"], until="empty")
        what = "one slice at a time" if dimension == 2 else "clicked slices, carried through the volume"
        super().__init__(InferType.DEEPGROW, list(options.labels), dimension, f"AdaptiveClick: {what}", config)
        self._network = network
        self._volumes = volumes
        self._options = options

    def is_valid(self) -> bool:
        """Say that viewers may show it."""
        return True

    def get_path(self, validate: bool = True) -> str | None:
        """Return the weight file; with ``validate`` only when it exists."""
        return str(self._network.path) if self._network.path.is_file() or not validate else None

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Answer a request.

        Args:
            request: ``image``, the file or DICOM folder; the rest is described in ``docs/slicer.md``.

        Returns:
            (temporary file of the answer, what else is known of it).

        Raises:
            HTTPException: when the request cannot be answered.
            ValueError: when the image cannot be read, or a click cannot be used.
        """
        start = time.perf_counter()
        loaded = self._network.current()
        path = Path(str(request["image"]))
        name = str(request.get("image_name") or file_stem(path))
        volume, fresh = self._volumes.get(path, loaded)
        asked = ClickRequest.read(
            request,
            labels=self._options.labels,
            shape=volume.shape,
            name=name,
            by_slice=self.dimension == 2,
            max_clicks=self._options.max_clicks,
        )
        before = loaded.stopwatch.seconds
        session = volume.session.sibling()
        found = _click(session, asked, carry=self.dimension == 3)
        slices = _slices(session, asked.roi, self.dimension)
        network = loaded.stopwatch.seconds - before
        writing = time.perf_counter()
        file = write_answer(
            slices,
            volume.shape,
            volume.affine,
            asked.extension,
            name=asked.label,
            wide=asked.wide,
            compress=asked.compress,
        )
        end = time.perf_counter()
        decode = volume.decode if fresh else 0.0
        seconds = {
            "decode": decode,
            "transforms": writing - start - decode - network,
            "network": network,
            "writing": end - writing,
            "total": end - start,
        }
        answer = {
            "label": asked.label,
            "label_names": {asked.label: 1},
            "clicks": len(asked.clicks),
            "slices": list(slices),
            **found,
            "latencies": {part: round(max(0.0, value), 4) for part, value in seconds.items()},
        }
        logger.info("%s: %d click(s) on %s: %s", self.description, len(asked.clicks), name, answer["latencies"])
        return file, answer


def _click(session: VolumeSession, asked: ClickRequest, *, carry: bool) -> dict[str, Any]:
    """Make all clicks of a request; return what is known of the answer."""
    plane = session.acquisition_plane
    with_positive = {round(place[2]) for place in asked.clicks if place[3]}
    first = [place for place in asked.clicks if round(place[2]) in with_positive]
    later = [place for place in asked.clicks if round(place[2]) not in with_positive]
    ignored: list[Place] = []
    stops: dict[tuple[int, str], Any] = {}
    computed = 0

    def propagate() -> None:
        nonlocal stops, computed
        carried = session.propagate(asked.direction, asked.until, plane=plane)
        computed += carried.computed
        stops = dict(carried.stops)

    for i, j, k, positive in first:
        session.click((i, j, k), positive, plane=plane)
    newest = session.prediction
    if asked.candidate is not None:
        if newest is None:
            raise problem(422, "candidate is the place of an alternative of the last click, but there is no click.")
        newest = session.choose(asked.candidate)
    if carry and first:
        propagate()
        for i, j, k, positive in later:
            reached = session.slices(plane=plane).get(round(k))
            if reached is None or not reached.any():
                ignored.append((i, j, k, positive))
                continue
            newest = session.click((i, j, k), positive, plane=plane)
        if len(ignored) < len(later):
            propagate()
    elif later:
        raise problem(422, "There is no positive click: the first must be on the object.")
    return {
        "plane": plane,
        "clicked_slices": sorted({round(place[2]) for place in asked.clicks}),
        "confidence": None if newest is None else round(newest.confidence, 4),
        "candidates": [round(each.confidence, 4) for each in ([] if newest is None else newest.candidates)],
        "ignored_clicks": [list(place[:3]) for place in ignored],
        "computed_slices": computed,
        "stops": [
            {
                "from": index,
                "direction": direction,
                "reason": stop.reason,
                "at": stop.index,
                "confidence": None if stop.confidence is None else round(float(stop.confidence), 4),
            }
            for (index, direction), stop in sorted(stops.items())
        ],
    }


def _slices(
    session: VolumeSession, roi: tuple[tuple[int, int], ...] | None, dimension: int
) -> dict[int, NDArray[np.bool_]]:
    """Return the slices along k that are not empty, [I, J]; nothing outside the box, along k for whole objects only."""
    plane = session.image.planes[session.acquisition_plane]
    found = {}
    for index, shown in session.slices(plane=session.acquisition_plane).items():
        mask = np.zeros((*session.image.shape[:2], 1), dtype=np.bool_)
        plane.put(mask, 0, shown)
        if roi is not None:
            inside = np.zeros_like(mask)
            (i, last_i), (j, last_j), (k, last_k) = roi
            if dimension == 2 or k <= index <= last_k:
                inside[max(0, i) : max(0, last_i + 1), max(0, j) : max(0, last_j + 1)] = True
            mask &= inside
        if mask.any():
            found[index] = mask[:, :, 0]
    return found
