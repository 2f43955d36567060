"""Click on one object in one image until its mask is right."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from adaptiveclick_med.clicks import Click, Clicks, points_tensor
from adaptiveclick_med.inference.crop import CropBox, ZoomIn
from adaptiveclick_med.inference.prediction import Candidate, Prediction
from adaptiveclick_med.inference.predictor import ClickPredictor
from adaptiveclick_med.inference.state import Question, SessionState
from adaptiveclick_med.networks import AdaptiveClickOutput, ClickModel
from adaptiveclick_med.networks.click_network import as_size
from adaptiveclick_med.transforms.intensity import to_unit_rgb

__all__ = ["InteractiveSession"]


class InteractiveSession:
    """One object in one image: clicks go in, a mask and its alternatives come out.

    It follows the evaluation protocol of the paper: zoom in on the object found so far, resize, predict on the crop and
    on its mirror image, paste back; the pasted probability is the next previous mask.

    Args:
        network: an ``AdaptiveClick`` or ``SimpleClick`` in evaluation mode, another
            :class:`~adaptiveclick_med.networks.ClickModel`, or any callable (image [B, 3, h, w] in [0, 1], previous
            mask [B, 1, h, w], points [B, 2N, 3] in crop pixels) -> logits [B, 1, h', w'].
        crop_size: side or (height, width) in pixels to which a crop is resized; ``None``: the size the network was
            built for, 448 for a callable.
        zoom_in: crop around the object; ``False``: the image goes in at its own size. A :class:`ZoomIn` is used as is.
        flip: average with the prediction for the mirror image.
        threshold: probability above which a pixel belongs to the mask.
        max_clicks: most clicks on one object.
        undo_limit: how many clicks can be undone; each holds two maps of the image's size. ``None``: all.
        second_look: answer the first click twice, where the object is small. The first answer, to the whole image,
            tells where the object is; the second, to the crop around it and without a previous mask, is the prediction
            (:meth:`ZoomIn.choose_second`). The protocol of the paper looks once. Needs ``zoom_in``.

    Raises:
        ValueError: when an argument is out of range, the network is in training mode, or ``second_look`` comes without
            ``zoom_in``.

    Example:
        >>> import numpy as np
        >>> from adaptiveclick_med.networks import AdaptiveClick
        >>> session = InteractiveSession(AdaptiveClick.from_preset("nano").eval())
        >>> session.set_image(np.zeros((100, 120), np.uint8))
        >>> prediction = session.click(50, 60)
        >>> prediction.mask.shape, len(prediction.candidates)
        ((100, 120), 10)
        >>> session.undo() is None, len(session.clicks)
        (True, 0)
    """

    def __init__(
        self,
        network: ClickModel | Callable[..., Any],
        crop_size: int | tuple[int, int] | None = None,
        zoom_in: bool | ZoomIn = True,
        flip: bool = True,
        threshold: float = 0.49,
        *,
        max_clicks: int = 100,
        undo_limit: int | None = None,
        second_look: bool = False,
    ) -> None:
        if isinstance(network, ClickModel) and network.training:
            raise ValueError("network must be in evaluation mode; call network.eval() first.")
        if undo_limit is not None and undo_limit < 0:
            raise ValueError(f"undo_limit must be at least 0 or None, got {undo_limit}.")
        if not 0.0 < threshold < 1.0:
            raise ValueError(f"threshold must lie between 0 and 1, got {threshold}.")
        if second_look and not zoom_in:
            raise ValueError("second_look looks at a crop, so it needs zoom_in, which is False.")
        if crop_size is None:
            crop_size = network.image_size if isinstance(network, ClickModel) else 448
        self.predictor = ClickPredictor(network, flip=flip)
        self.crop_size = as_size(crop_size, "crop_size")
        self.zoom_in = zoom_in if isinstance(zoom_in, ZoomIn) else (ZoomIn(self.crop_size) if zoom_in else None)
        self.threshold = threshold
        self.max_clicks = max_clicks
        self.second_look = second_look
        self._image: Tensor | None = None
        self._state = SessionState(Clicks())
        self._history: deque[SessionState] = deque(maxlen=undo_limit)

    @property
    def clicks(self) -> Clicks:
        """The clicks made so far, in image pixels, oldest first (a copy)."""
        return self._state.clicks.copy()

    @property
    def prediction(self) -> Prediction | None:
        """The answer to the newest click, ``None`` before the first."""
        return self._state.prediction

    @property
    def state(self) -> SessionState:
        """What is known of the object now, for :meth:`restore`."""
        return self._state

    def restore(self, state: SessionState) -> None:
        """Go on from a state that this session, or one with the same network, options and image, had before.

        Nothing can be undone then.

        Raises:
            RuntimeError: when no image was set.
            ValueError: when the state belongs to an image of another size.
        """
        size = self.size
        if state.probability is not None and tuple(state.probability.shape) != size:
            raise ValueError(f"state must belong to an image of {list(size)}, got {list(state.probability.shape)}.")
        self._history.clear()
        self._state = state

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image.

        Raises:
            RuntimeError: when no image was set.
        """
        image = self._require_image()
        return int(image.shape[-2]), int(image.shape[-1])

    def set_image(
        self,
        image: ArrayLike | Tensor,
        *,
        window: str | tuple[float, float] | None = None,
        channels: int | tuple[int, int, int] | None = None,
        nan: str = "raise",
    ) -> None:
        """Start with a new image; earlier clicks are forgotten.

        Args:
            image: [H, W] or [H, W, C] of any integer or floating type. uint8 is divided by 255; floats inside [0, 1]
                are unchanged; anything else is scaled by its 0.5 and 99.5 percentiles, or by ``window``.
            window: name of a CT window or (low, high) in the image's units.
            channels: which channel, or which three, of an image with neither one nor three.
            nan: ``"raise"`` or ``"fill"``: what to do with NaN and infinite values.

        Raises:
            ValueError: when the image is of another shape or smaller than one patch, or its values cannot be used.
        """
        array = image.as_subclass(Tensor) if isinstance(image, Tensor) else torch.as_tensor(_own(np.asarray(image)))
        if array.ndim == 2:
            array = array[..., None]
        if array.ndim != 3:
            raise ValueError(f"image must be of shape [H, W] or [H, W, C], got {list(array.shape)}.")
        patch = self.predictor.patch_size
        if min(array.shape[0], array.shape[1]) < patch:
            raise ValueError(
                f"image must be at least one patch of {patch} x {patch} pixels, "
                f"got {array.shape[0]} x {array.shape[1]}."
            )
        unit = to_unit_rgb(array.movedim(-1, 0), window=window, channels=channels, nan=nan)
        self._image = torch.as_tensor(unit)[None].to(self.predictor.device)
        self._begin(None)

    def set_mask(self, mask: ArrayLike | Tensor, clicks: Iterable[Click] = ()) -> None:
        """Start from an existing mask, to correct it; earlier clicks are forgotten.

        Args:
            mask: [H, W] boolean, or probabilities in [0, 1].
            clicks: clicks that the network shall know of from the start, in image pixels.

        Raises:
            RuntimeError: when no image was set.
            ValueError: when the mask is of another size or holds values outside [0, 1], or a click lies outside the
                image. The session stays as it was.
        """
        size, given = self.size, Clicks(clicks)
        for click in given:
            self._require_inside(click)
        values = mask.detach().float().cpu() if isinstance(mask, Tensor) else mask
        probability = torch.from_numpy(np.array(values, dtype=np.float32))
        if tuple(probability.shape) != size:
            raise ValueError(f"mask must be of the image's size {list(size)}, got {list(probability.shape)}.")
        if not bool(((probability >= 0) & (probability <= 1)).all()):
            raise ValueError("mask must be boolean or hold probabilities in [0, 1].")
        self._begin(probability.to(self.predictor.device), given)

    def click(self, row: float, column: float, positive: bool = True) -> Prediction:
        """Add a click and predict.

        Args:
            row: row in image pixels.
            column: column in image pixels.
            positive: ``True`` on the object, ``False`` off it.

        Raises:
            RuntimeError: when no image was set, or the network was put in training mode meanwhile.
            ValueError: when the click lies outside the image, is the first and negative although no mask was set, or
                exceeds ``max_clicks``. The session stays as it was.
        """
        question: Question | None = self.ask(Click(row, column, positive))
        while question is not None:
            frame = question.frame
            points = points_tensor([question.moved], dtype=frame.dtype, device=frame.device)
            prediction = self.answer(question, *self.predictor(frame[:, :3], frame[:, 3:], points))
            question = self.ask_again(question)
        return prediction

    def sibling(self, *, keep_image: bool = False) -> InteractiveSession:
        """Return a session with the same network and options, for another object; it has no clicks.

        Args:
            keep_image: whether it starts with this session's image, which the two then share.
        """
        twin = copy(self)
        twin._image = self._image if keep_image else None
        twin._history = deque(maxlen=self._history.maxlen)
        twin._state = SessionState(Clicks())
        return twin

    def ask(self, click: Click) -> Question:
        """Check a click and prepare the network's input; the session stays as it is until :meth:`answer`.

        Args:
            click: in image pixels.

        Raises:
            ValueError: as :meth:`click`.
            RuntimeError: when no image was set.
        """
        image, (height, width) = self._require_image(), self.size
        self._require_inside(click)
        old = self._state
        if len(old.clicks) >= self.max_clicks:
            raise ValueError(f"There are already max_clicks = {self.max_clicks} clicks on this object.")
        if not click.positive and not old.clicks.positive and (old.start or old).probability is None:
            raise ValueError(
                "There is no positive click: the first click must be on the object, unless a mask was set."
            )
        clicks = Clicks([*old.clicks, click])
        box = CropBox.whole((height, width))
        if self.zoom_in is not None:
            box = self.zoom_in.choose((height, width), clicks, old.probability, old.box)
        return self._question(image, clicks, box, old.probability)

    def ask_again(self, answered: Question) -> Question | None:
        """Prepare the second look at a click; ``None`` where there is none, see ``second_look``.

        Args:
            answered: the last question, which was answered with :meth:`answer`.
        """
        probability = self._state.probability
        if not (self.second_look and answered.first) or self.zoom_in is None or probability is None:
            return None
        box = self.zoom_in.choose_second(self.size, answered.clicks, probability)
        return None if box is None else self._question(self._require_image(), answered.clicks, box, None, again=True)

    def _question(
        self, image: Tensor, clicks: Clicks, box: CropBox, probability: Tensor | None, *, again: bool = False
    ) -> Question:
        """Return what the network is shown: the part of the image in a box, and that of the previous mask if any."""
        moved, previous = clicks, None if probability is None else probability[None, None]
        if self.zoom_in is not None:
            image, moved = self.zoom_in.crop(image, box), self.zoom_in.crop_clicks(clicks, box)
            previous = None if previous is None else self.zoom_in.crop(previous, box)
        frame = torch.cat([image, torch.zeros_like(image[:, :1]) if previous is None else previous], dim=1)
        return Question(clicks, box, frame, moved, first=probability is None and not again, again=again)

    def answer(self, question: Question, logits: Tensor, candidates: AdaptiveClickOutput | None) -> Prediction:
        """Go on with the network's answer to a question of :meth:`ask` or :meth:`ask_again`.

        The answer to a second look takes the place of the first, unless it is empty.

        Args:
            question: the last one asked.
            logits: [1, 1, h, w].
            candidates: of the frame, batch size 1; ``None`` without candidates.
        """
        probability = _to_image(self.zoom_in, logits.sigmoid(), question.box, self.size)[0, 0]
        prediction = self._prediction(probability, candidates, question.box)
        state = SessionState(question.clicks, question.box, probability, prediction)
        if not question.again:
            self._step(state)
        elif self._state.prediction is not None and not prediction.mask.any():
            return self._state.prediction
        else:
            self._state = replace(state, start=self._state.start)
        return prediction

    def choose(self, rank: int) -> Prediction:
        """Take one of the newest prediction's candidates in the place of its mask; later clicks go on from it.

        Args:
            rank: place among ``prediction.candidates``, 0 is the most confident.

        Returns:
            The candidate as a prediction, with the same candidates. :meth:`undo` takes the choice back.

        Raises:
            ValueError: when there is no such candidate.
        """
        newest = self._state.prediction
        ranked = [] if newest is None else newest.candidates
        if not isinstance(rank, Integral) or not 0 <= rank < len(ranked):
            allowed = f"a number from 0 to {len(ranked) - 1}" if ranked else "left out: there are no candidates"
            raise ValueError(f"rank must be {allowed}, got {rank!r}.")
        chosen = ranked[int(rank)]
        prediction = Prediction(chosen.mask.copy(), chosen.probability.copy(), lambda: ranked)
        probability = torch.tensor(chosen.probability, device=self.predictor.device)
        self._step(SessionState(self._state.clicks, self._state.box, probability, prediction))
        return prediction

    def undo(self) -> Prediction | None:
        """Take the newest click, or the newest choice of a candidate, back.

        Returns:
            The prediction before that click, ``None`` when it was the first.

        Raises:
            IndexError: when there is no click to undo, or ``undo_limit`` is reached.
        """
        if not self._history:
            raise IndexError("There is no click to undo." if not self.clicks else "No more clicks can be undone.")
        self._state = self._history.pop()
        return self._state.prediction

    def reset(self) -> None:
        """Forget all clicks; the image, and a mask that was set, stay."""
        self._history.clear()
        self._state = self._state.start or self._state

    def _begin(self, probability: Tensor | None, clicks: Clicks | None = None) -> None:
        prediction = None if probability is None else self._prediction(probability, None, None)
        self._history.clear()
        self._state = SessionState(clicks or Clicks(), None, probability, prediction)

    def _step(self, state: SessionState) -> None:
        self._history.append(self._state)
        self._state = replace(state, start=self._state.start or self._state)

    def _require_image(self) -> Tensor:
        if self._image is None:
            raise RuntimeError("No image was set; call set_image first.")
        return self._image

    def _require_inside(self, click: Click) -> None:
        height, width = self.size
        if not (0 <= click.row <= height - 1 and 0 <= click.column <= width - 1):
            raise ValueError(
                f"The click ({click.row}, {click.column}) lies outside the image: rows go from 0 to {height - 1}, "
                f"columns from 0 to {width - 1}."
            )

    def _prediction(
        self, probability: Tensor, candidates: AdaptiveClickOutput | None, box: CropBox | None
    ) -> Prediction:
        values, mask = np.zeros(self.size, dtype=np.float32), np.zeros(self.size, dtype=bool)
        part = (box or CropBox.whole(self.size)).part  # there is nothing outside
        values[part] = probability[part].numpy(force=True)
        mask[part] = values[part] > self.threshold
        # A prediction does not hold its session, so that the session goes as soon as nobody uses it.
        size, zoom_in, predictor, threshold = self.size, self.zoom_in, self.predictor, self.threshold

        def make_candidates() -> list[Candidate]:
            if candidates is None or candidates.mask_logits is None or candidates.click_logits is None or box is None:
                return []
            confidence = candidates.click_logits[0, :, 1].sigmoid()
            order = confidence.argsort(descending=True)
            shape = size if zoom_in is None else zoom_in.input_size(box)
            crops = predictor.resized_masks(candidates, shape)[:, order].sigmoid()
            maps = _to_image(zoom_in, crops, box, size)[0].cpu().numpy()
            return [
                Candidate(each > threshold, each, float(confidence[index]))
                for each, index in zip(maps, order.tolist(), strict=True)
            ]

        return Prediction(mask, values, make_candidates)


def _to_image(zoom_in: ZoomIn | None, crops: Tensor, box: CropBox, size: tuple[int, int]) -> Tensor:
    """Paste crops [B, C, h, w] into the image."""
    return crops if zoom_in is None else zoom_in.paste(crops, box, size)


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array that PyTorch can take: native byte order, positive strides, a type that it knows."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"image must be of an integer or floating type, got {array.dtype}.")
    if array.dtype in (np.uint16, np.uint32, np.uint64) or array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))
