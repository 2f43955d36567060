"""The answer of a session to a click."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Candidate", "Prediction"]


@dataclass(frozen=True)
class Candidate:
    """One of the alternative masks of an ambiguous click.

    Attributes:
        mask: [H, W] boolean.
        probability: [H, W] float32 in [0, 1].
        confidence: how sure the network is that this is the clicked object, in [0, 1].
    """

    mask: NDArray[np.bool_]
    probability: NDArray[np.float32]
    confidence: float


@dataclass(frozen=True)
class Prediction:
    """A mask and its alternatives.

    Attributes:
        mask: [H, W] boolean, the object.
        probability: [H, W] float32 in [0, 1].
    """

    mask: NDArray[np.bool_]
    probability: NDArray[np.float32]
    _make_candidates: Callable[[], list[Candidate]] = field(default=list, repr=False, compare=False)

    @cached_property
    def candidates(self) -> list[Candidate]:
        """The candidate masks at the size of the image, the most confident first; empty without candidates."""
        return self._make_candidates()
