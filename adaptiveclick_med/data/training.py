"""The data set that training draws from: seeded by (epoch, index), with few samples that have no object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from monai.transforms import Compose

from adaptiveclick_med.data.registry import Item

__all__ = ["ClickTrainingDataset"]


class ClickTrainingDataset(Dataset):
    """Items with random transforms, in which samples without an object are rare.

    After a random crop a sample may be left without an object. Such a sample is kept with probability ``keep_empty``;
    else another item is drawn.

    The random state of the transform is set for each sample from (``seed``, epoch, index). So a sample does not depend
    on the number of workers or on the samples before it, and a run that is resumed at an epoch is the same run. That is
    why the class is no ``Randomizable``: MONAI's loader would give each worker another seed. Call :meth:`set_epoch`
    before each epoch; workers that persist see it too.

    Where loading and augmenting cost more than learning, ``reuse`` lets a sample keep what its first transforms made
    for some epochs. The others run each time, so an augmented window is seen with other objects and other clicks. In
    each epoch one of ``reuse`` samples gets a new window. Windows are kept in memory, by each worker those it has made.

    Args:
        data: items, see :func:`adaptiveclick_med.data.get_items`.
        transform: MONAI transform(s); random ones must be ``Randomizable`` and use their own state.
        keep_empty: probability in [0, 1] to keep a sample without an object (SBD 0.01, COCO-LVIS 0.05).
        seed: seed of the run, 0 or above.
        samples_per_epoch: length of an epoch, drawn with replacement. By default each item is used once.
        weights: one weight of at least 0 for each item; items are then drawn with replacement in proportion. By default
            the items' own ``weight``, where they have one.
        target_key: key of the target in the transformed sample: 1 object, 0 background, -1 ignore. ``None`` keeps every
            sample.
        retries: how many other items are drawn before a sample without an object is returned after all.
        cached: the same items behind a cache of the first transform's result, see
            :func:`adaptiveclick_med.data.cached_items`; ``transform`` then starts at its second one. Samples are the
            same with and without.
        reuse: epochs in which a sample keeps its window, at least 1.
        window_transforms: how many of the first transforms make a window; the others run each time. Only needed where
            ``reuse`` is above 1.

    Raises:
        ValueError: when there is no item or a number is out of range, or ``cached`` holds other items or the result of
            another transform than the first.
    """

    def __init__(
        self,
        data: Sequence[Item],
        transform: Sequence[Callable] | Callable | None = None,
        keep_empty: float = 0.01,
        seed: int = 0,
        *,
        samples_per_epoch: int | None = None,
        weights: Sequence[float] | None = None,
        target_key: str | None = "target",
        retries: int = 20,
        cached: Dataset | None = None,
        reuse: int = 1,
        window_transforms: int = 2,
    ) -> None:
        if len(data) == 0:
            raise ValueError("data is empty: there is no item to train on.")
        if not 0 <= keep_empty <= 1:
            raise ValueError(f"keep_empty must be in [0, 1], got {keep_empty}.")
        if seed < 0:
            raise ValueError(f"seed must be 0 or above, got {seed}.")
        if samples_per_epoch is not None and samples_per_epoch < 1:
            raise ValueError(f"samples_per_epoch must be at least 1, got {samples_per_epoch}.")
        if reuse < 1:
            raise ValueError(f"reuse must be at least 1, got {reuse}.")
        if weights is None and any("weight" in item for item in data):
            weights = [float(item.get("weight", 1.0)) for item in data]
        super().__init__(data, transform)
        if cached is not None:
            if len(cached) != len(data):
                raise ValueError(f"cached must hold the {len(data)} items of data, got {len(cached)}.")
            if not isinstance(self.transform, Compose) or cached.transform is not self.transform.transforms[0]:
                raise ValueError("cached must hold the result of the first transform, got that of another one.")
        if reuse > 1 and not (
            isinstance(self.transform, Compose) and 1 <= window_transforms < len(self.transform.transforms)
        ):
            raise ValueError(
                f"window_transforms must be at least 1 and leave a transform of a Compose, got {window_transforms}."
            )
        self.cached = cached
        self.reuse = reuse
        self.window_transforms = window_transforms
        self._windows: dict[int, tuple[int, Any]] = {}
        self.keep_empty = keep_empty
        self.seed = seed
        self.target_key = target_key
        self.retries = retries
        self._with_replacement = samples_per_epoch is not None or weights is not None
        self._length = len(data) if samples_per_epoch is None else samples_per_epoch
        self._cumulative = _cumulative(weights, len(data))
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # shared, so persistent workers see set_epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from any number of at least 0, before its samples are drawn.

        Raises:
            ValueError: when it is negative.
        """
        if epoch < 0:
            raise ValueError(f"epoch must be 0 or above, got {epoch}.")
        self._epoch.fill_(epoch)

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return int(self._epoch)

    def __len__(self) -> int:
        """Return the number of samples of an epoch."""
        return self._length

    def _transform(self, index: int) -> Any:
        """Return sample ``index`` of the current epoch."""
        position = int(index) + len(self) if index < 0 else int(index)
        if not 0 <= position < len(self):
            raise IndexError(f"index {index} is outside the {len(self)} samples of an epoch.")
        if self.reuse > 1:
            return self._reused(position)
        random = np.random.RandomState([self.seed, self.epoch, position])
        return self._drawn(position, random, self._sample)

    def _reused(self, position: int) -> Any:
        """Return a sample of the window that this position has now; make one where it has none or an old one."""
        generation = (self.epoch + position) // self.reuse
        kept = self._windows.get(position)
        if kept is None or kept[0] != generation:
            random = np.random.RandomState([self.seed, generation, position])
            made: list[Any] = []

            def window_and_rest(choice: int) -> Any:
                made[:] = [self._sample(choice, end=self.window_transforms)]
                return self._rest(made[0])

            self._drawn(position, random, window_and_rest)
            kept = self._windows[position] = generation, made[0]
        random = np.random.RandomState([self.seed, self.epoch, position])
        self.transform.set_random_state(seed=int(random.randint(2**31)))
        return self._rest(kept[1])

    def _drawn(self, position: int, random: np.random.RandomState, sample_of: Callable[[int], Any]) -> Any:
        """Make a sample, of another item where one is left without an object."""
        choice = self._draw(random) if self._with_replacement else position
        for attempt in range(self.retries + 1):
            self.transform.set_random_state(seed=int(random.randint(2**31)))
            sample = sample_of(choice)
            if not self._is_empty(sample) or random.random_sample() < self.keep_empty or attempt == self.retries:
                break
            choice = self._draw(random)
        return sample

    def _sample(self, choice: int, end: int | None = None) -> Any:
        """Transform an item, from the cache where there is one, by all transforms or those before ``end``."""
        if self.cached is not None:
            return self.transform(deepcopy(self.cached[choice]), start=1, end=end)
        return self.transform(self.data[choice]) if end is None else self.transform(self.data[choice], end=end)

    def _rest(self, window: Any) -> Any:
        """Apply the transforms that do not make the window."""
        return self.transform(deepcopy(window), start=self.window_transforms)

    def _draw(self, random: np.random.RandomState) -> int:
        """Draw an item by weight."""
        return int(np.searchsorted(self._cumulative, random.random_sample(), side="right"))

    def _is_empty(self, sample: Any) -> bool:
        """Return whether the target of a sample has no object."""
        if self.target_key is None:
            return False
        try:
            target = sample[self.target_key]
        except (KeyError, TypeError, IndexError) as error:
            found = ", ".join(map(str, sample)) if isinstance(sample, dict) else type(sample).__name__
            raise KeyError(
                f"the transformed sample has no {self.target_key!r} (it has: {found}); name the key with target_key=, "
                "or pass target_key=None to keep samples without an object."
            ) from error
        return not bool((target == 1).any())


def _cumulative(weights: Sequence[float] | None, count: int) -> np.ndarray:
    """Return the cumulative share of each item."""
    shares = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
    if shares.shape != (count,):
        raise ValueError(f"weights must be one number for each of the {count} items, got shape {list(shares.shape)}.")
    if not np.isfinite(shares).all() or (shares < 0).any() or shares.sum() <= 0:
        raise ValueError("weights must be finite, at least 0, and not all 0.")
    cumulative = np.cumsum(shares) / shares.sum()
    cumulative[np.flatnonzero(shares)[-1] :] = 1.0
    return cumulative
