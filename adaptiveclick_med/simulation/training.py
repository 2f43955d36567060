"""The simulated user of the training: first clicks on an object, then clicks on the errors of a prediction.

First clicks are drawn for one sample with NumPy, where the data are loaded. Later clicks are placed for a whole batch
on the device of the prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from torch import Tensor

from adaptiveclick_med.clicks import Click, Clicks
from adaptiveclick_med.distance import squared_distance_to_background

__all__ = [
    "click_count_probabilities",
    "inner_region",
    "next_click_candidates",
    "next_training_clicks",
    "outer_border",
    "sample_initial_clicks",
]

_SQUARE = np.ones((3, 3), dtype=bool)
_FEWEST_INNER_PIXELS = 10
_LARGE = 1 << 62


def click_count_probabilities(maximum: int, decay: float = 0.8) -> NDArray[np.float64]:
    """Return how probable 0, 1, ..., ``maximum`` clicks are: proportional to decay ** count.

    Args:
        maximum: the largest count, at least 0.
        decay: the ratio of neighbouring probabilities, above 0.

    Returns:
        float64 [maximum + 1], summing to 1.

    Raises:
        ValueError: when ``maximum`` is negative or ``decay`` is not a positive finite number.
    """
    if maximum < 0:
        raise ValueError(f"maximum must be at least 0, got {maximum}.")
    if not (math.isfinite(decay) and decay > 0):
        raise ValueError(f"decay must be a positive finite number, got {decay}.")
    weights = np.float64(decay) ** np.arange(maximum + 1)
    return weights / weights.sum()


def inner_region(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where first positive clicks go: the object eroded three times by a 3×3 square.

    Everything outside the image counts as object. When no more than 10 pixels would be left, the object stays whole.

    Args:
        mask: the object, boolean [H, W].

    Returns:
        boolean [H, W].
    """
    inner = ndimage.binary_erosion(mask, _SQUARE, iterations=3, border_value=1)
    return inner if np.count_nonzero(inner) > _FEWEST_INNER_PIXELS else mask


def outer_border(mask: NDArray[np.bool_], ratio: float = 0.1) -> NDArray[np.bool_]:
    """Return the ring around an object: dilated ceil(ratio · sqrt(area)) times by a 3×3 square, without the object.

    Args:
        mask: the object, boolean [H, W].
        ratio: width of the ring in units of the square root of the object's area.

    Returns:
        boolean [H, W], empty for an empty object.
    """
    width = math.ceil(ratio * math.sqrt(np.count_nonzero(mask)))
    if width == 0:
        return np.zeros_like(mask)
    return ndimage.binary_dilation(mask, _SQUARE, iterations=width) & ~mask


def sample_initial_clicks(
    target: ArrayLike,
    others: ArrayLike | None,
    R: np.random.RandomState,
    *,
    required: ArrayLike | None = None,
    max_clicks: int = 24,
    decay: float = 0.8,
    inner_probability: float = 0.9,
    negative_probabilities: Sequence[float] = (0.1, 0.4, 0.5),
) -> Clicks:
    """Draw the first clicks on one object (training, as in the paper).

    Positive clicks: 1 + k with k drawn in proportion to ``decay ** k``, at random pixels of :func:`inner_region` (with
    ``inner_probability``) or of the whole object. Negative clicks: k drawn likewise from 0; each goes to a random pixel
    of everything outside the target, of the other objects or of :func:`outer_border`, chosen by
    ``negative_probabilities``. A region without pixels is replaced by everything outside the target. Pixels are drawn
    with replacement. Pixels to ignore are never clicked.

    Args:
        target: [H, W]: 1 object (a fraction above 0.5), 0 background, below 0 ignore.
        others: the other objects of the image, boolean [H, W], or ``None`` when there are none.
        R: the source of randomness.
        required: boolean [H, W], a region that the user would certainly rule out, for example the rest of an object
            whose part is the target. When it has background pixels there is at least one negative click, and the first
            negative click goes into it; the others are drawn as usual.
        max_clicks: the largest number of clicks of each sign.
        decay: the ratio of neighbouring count probabilities.
        inner_probability: how often positive clicks keep away from the object's border.
        negative_probabilities: of (everything outside the target, other objects, outer border).

    Returns:
        The clicks, positive ones first, with whole coordinates. An empty target gets negative clicks only, and a target
        that leaves no background gets positive clicks only.

    Raises:
        ValueError: when a shape, a count or a probability is not as described.
    """
    if max_clicks < 1:
        raise ValueError(f"max_clicks must be at least 1, got {max_clicks}.")
    shares = np.asarray(negative_probabilities, dtype=np.float64)
    if shares.shape != (3,) or (shares < 0).any() or not math.isclose(shares.sum(), 1.0, abs_tol=1e-6):
        raise ValueError(f"negative_probabilities must be three probabilities of sum 1, got {negative_probabilities}.")
    if not 0.0 <= inner_probability <= 1.0:
        raise ValueError(f"inner_probability must be between 0 and 1, got {inner_probability}.")
    values = np.asarray(target)
    if values.ndim != 2:
        raise ValueError(f"target must be of shape [H, W], got {list(values.shape)}.")
    wanted = values > 0.5
    outside = ~wanted & (values >= 0) if values.dtype != bool else ~wanted
    other = _mask_like(others, "others", wanted)
    demanded = _mask_like(required, "required", wanted)

    clicks = Clicks()
    if wanted.any():
        count = 1 + int(R.choice(max_clicks, p=click_count_probabilities(max_clicks - 1, decay)))
        region = inner_region(wanted) if R.random_sample() < inner_probability else wanted
        for click in _draw(region, count, positive=True, R=R):
            clicks.add(click)
    if not outside.any():
        return clicks
    count = int(R.choice(max_clicks + 1, p=click_count_probabilities(max_clicks, decay)))
    if demanded is not None and (demanded & outside).any():
        for click in _draw(demanded & outside, 1, positive=False, R=R):
            clicks.add(click)
        count = max(count - 1, 0)
    choices = R.choice(3, size=count, p=shares / shares.sum())
    regions = {0: outside}
    if (choices == 1).any() and other is not None and (other & outside).any():
        regions[1] = other & outside
    if (choices == 2).any() and (border := outer_border(wanted) & outside).any():
        regions[2] = border
    for choice in choices.tolist():
        for click in _draw(regions.get(choice, outside), 1, positive=False, R=R):
            clicks.add(click)
    return clicks


def _mask_like(value: ArrayLike | None, name: str, like: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Return an optional argument as a boolean array, after a check of its shape."""
    if value is None:
        return None
    array: NDArray[Any] = np.asarray(value)
    if array.shape != like.shape:
        raise ValueError(f"{name} must have the shape of target, {list(like.shape)}, got {list(array.shape)}.")
    return array.astype(bool)


def _draw(region: NDArray[np.bool_], count: int, *, positive: bool, R: np.random.RandomState) -> list[Click]:
    """Draw ``count`` clicks from the pixels of a region [H, W] that is not empty, with replacement."""
    places = np.flatnonzero(region)
    chosen = places[R.randint(places.size, size=count)]
    width = region.shape[1]
    return [Click(place // width, place % width, positive=positive) for place in chosen.tolist()]


@torch.no_grad()
def next_click_candidates(prediction: Tensor, target: Tensor, threshold: float = 0.49) -> tuple[Tensor, Tensor, Tensor]:
    """Return where the next training click on each sample may go.

    An object pixel is a false negative when its probability is below the threshold, a background pixel is a false
    positive when it is above. (A probability that equals the threshold in float32 is no error.) The region of the
    larger maximum depth is taken, the false positive one on a tie, and in it the pixels deeper than half that maximum.
    Depth is the exact Euclidean distance to the nearest pixel outside the region; the image border counts as outside.

    Args:
        prediction: probabilities [B, 1, H, W].
        target: [B, 1, H, W]: 1 object (a fraction above 0.5), 0 background, below 0 ignore.
        threshold: the probability above which a pixel is foreground.

    Returns:
        ``candidates`` boolean [B, H, W]; ``positive`` boolean [B], whether the click is on the object; ``any_error``
        boolean [B], whether the sample has candidates.

    Raises:
        ValueError: when a shape is not as described.
    """
    if prediction.ndim != 4 or prediction.shape[1] != 1:
        raise ValueError(f"prediction must be of shape [B, 1, H, W], got {list(prediction.shape)}.")
    if target.shape != prediction.shape:
        raise ValueError(
            f"target must have the shape of prediction, {list(prediction.shape)}, got {list(target.shape)}."
        )
    probability = prediction.as_subclass(Tensor)[:, 0].float()
    values = target.as_subclass(Tensor)[:, 0].float()
    wanted = values > 0.5
    missed = wanted & (probability < threshold)
    added = ~wanted & (values >= 0) & (probability > threshold)
    batch = wanted.shape[0]
    squares = squared_distance_to_background(torch.cat([missed, added]))
    deepest = squares.flatten(1).amax(1).reshape(2, batch)
    positive = deepest[0] > deepest[1]
    square = torch.where(positive[:, None, None], squares[:batch], squares[batch:])
    limit = deepest.amax(0)
    return 4 * square > limit[:, None, None], positive, limit > 0


@torch.no_grad()
def next_training_clicks(
    prediction: Tensor, target: Tensor, points: Tensor, generator: torch.Generator | None, threshold: float = 0.49
) -> Tensor:
    """Add one click to every sample of a batch where its prediction is wrong.

    The click goes to a random pixel of :func:`next_click_candidates`, all equally probable, and into the first empty
    place of its sign; its order is one more than the largest order of the sample. A sample without an error gets no
    click, and neither does a sample without an empty place of that sign. Nothing is read back to the host on an
    accelerator.

    Args:
        prediction: probabilities [B, 1, H, W].
        target: [B, 1, H, W]: 1 object, 0 background, below 0 ignore.
        points: floating [B, 2N, 3] of (row, column, order), the first N positive, the last N negative; empty places are
            negative.
        generator: the source of randomness, on any device (one on the CPU gives the same clicks on every device);
            ``None`` for the default one of PyTorch.
        threshold: the probability above which a pixel is foreground.

    Returns:
        A new plain tensor [B, 2N, 3] of the dtype and on the device of ``points``.

    Raises:
        ValueError: when a shape or the dtype of ``points`` is not as described.
    """
    candidates, positive, any_error = next_click_candidates(prediction, target, threshold)
    batch, _, width = candidates.shape
    if points.ndim != 3 or points.shape[0] != batch or points.shape[1] % 2 or points.shape[2] != 3:
        raise ValueError(f"points must be of shape [{batch}, 2N, 3], got {list(points.shape)}.")
    if not points.is_floating_point():
        raise ValueError(f"points must be of a floating dtype, got {points.dtype}.")
    points = points.as_subclass(Tensor)
    places = points.shape[1] // 2

    counts = candidates.flatten(1).cumsum(1, dtype=torch.int32)
    source = generator.device if generator is not None else torch.device("cpu")
    draws = torch.randint(_LARGE, (batch, 1), generator=generator, device=source).to(counts.device)
    rank = draws % counts[:, -1:].clamp_min(1) + 1
    pixel = torch.searchsorted(counts, rank.to(torch.int32)).squeeze(1)

    empty = points[..., :2].amax(-1) < 0
    order = points[..., 2].masked_fill(empty, -1.0).amax(1) + 1
    half = empty.reshape(batch, 2, places)
    empty_of_sign = torch.where(positive[:, None], half[:, 0], half[:, 1])
    place = empty_of_sign.int().argmax(1) + torch.where(positive, 0, places)
    click = torch.stack([(pixel // width).to(order), (pixel % width).to(order), order], dim=-1)
    write = any_error & empty_of_sign.any(1)
    here = torch.arange(2 * places, device=points.device) == place[:, None]
    return torch.where((here & write[:, None])[..., None], click[:, None], points)
