"""Scenes: seeded pictures of five kinds, made when they are loaded: as many as a training wants, and no download.

Boundaries, contrasts, textures and scales vary widely, so that a network learns to follow clicks rather than to know a
modality. Things may touch, hide each other and lie inside each other; each of them is an object.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.problems import Problems
from adaptiveclick_med.data.registry import Benchmark, Item, Source
from adaptiveclick_med.data.scenes.canvas import Scene
from adaptiveclick_med.data.splits import SECTIONS, validation_count

__all__ = ["KINDS", "SIZE", "SOURCE", "Scene", "decode_annotation", "list_items", "make_scene"]

KINDS = ("abdomen", "head", "cells", "vessels", "shapes")
"""What a scene can show; each is a module that defines ``paint``."""
SIZE = (256, 256)
"""Default (rows, columns)."""
_SMALLEST = 64
_STREAMS = {"training": 0, "validation": 1}


def list_items(
    dataset_dir: str | Path | None,
    *,
    seed: int,
    problems: Problems,
    section: str = "all",
    val_fraction: float = 0.3,
    num_images: int = 1000,
    size: Sequence[int] = SIZE,
    kinds: Sequence[str] = KINDS,
    weights: Sequence[float] | None = None,
) -> list[Item]:
    """List scenes; nothing is painted yet.

    The two sections are two series of scenes, so that one of the validation is never trained on, whatever the number of
    images. Scene n of a series depends on ``seed``, the section, ``size``, ``kinds`` and ``weights`` only.

    Args:
        dataset_dir: without effect.
        seed: seed of both series, 0 or above.
        problems: without effect.
        section: ``"training"``, ``"validation"`` or ``"all"``.
        val_fraction: share of ``num_images`` that validates.
        num_images: scenes of both sections together.
        size: (rows, columns), at least 64 each.
        kinds: names out of :data:`KINDS`.
        weights: how often each of ``kinds`` comes, in proportion; by default equally often.

    Raises:
        ValueError: when a kind or the section is unknown, or a number is out of range.
    """
    if section not in SECTIONS:
        raise ValueError(f"section must be one of {', '.join(SECTIONS)}, got {section!r}.")
    if num_images < 1:
        raise ValueError(f"num_images must be at least 1, got {num_images}.")
    _check_seed(seed)
    shape = _checked_size(size)
    names, shares = _checked_kinds(kinds, weights)
    validating = validation_count(num_images, val_fraction)
    counts = {"training": num_images - validating, "validation": validating}
    return [
        _item(kind, series, number, seed, shape)
        for series, count in counts.items()
        if section in (series, "all")
        for number, kind in enumerate(_drawn_kinds(names, shares, seed, series, count))
    ]


def _item(kind: str, series: str, number: int, seed: int, size: tuple[int, int]) -> Item:
    recipe = {"format": "scenes", "kind": kind, "series": series, "number": number, "seed": seed, "size": size}
    name = f"{series}_{number:06d}_{kind}"
    return {
        "image": {**recipe, "part": "image"},
        "label": {**recipe, "part": "label"},
        "name": name,
        "group": name,
        "source": "scenes",
        "reader": {"label_type": "instances"},
    }


def _drawn_kinds(names: Sequence[str], shares: NDArray[np.float64], seed: int, series: str, count: int) -> list[str]:
    """Draw the kinds of the first ``count`` scenes of a series."""
    draws = np.random.default_rng([seed, _STREAMS[series]]).random(count)
    places = np.searchsorted(np.cumsum(shares)[:-1], draws, side="right")
    return [names[place] for place in places]


def make_scene(
    kind: str, number: int = 0, *, size: Sequence[int] = SIZE, seed: int = 0, section: str = "training"
) -> Scene:
    """Make one scene.

    Args:
        kind: one of :data:`KINDS`.
        number: which scene of the series, 0 or above.
        size: (rows, columns), at least 64 each.
        seed: seed of the series.
        section: ``"training"`` or ``"validation"``: which series.

    Raises:
        ValueError: when a name is unknown or a number out of range.

    Example:
        >>> scene = make_scene("cells", 3, size=(64, 96))
        >>> scene.image.shape[1:], scene.label.dtype
        ((64, 96), dtype('int32'))
    """
    _checked_kinds((kind,), None)
    if section not in _STREAMS:
        raise ValueError(f"section must be one of {', '.join(_STREAMS)}, got {section!r}.")
    if number < 0:
        raise ValueError(f"number must be 0 or above, got {number}.")
    _check_seed(seed)
    random = np.random.default_rng([seed, _STREAMS[section], number, KINDS.index(kind)])
    scene: Scene = importlib.import_module(f"{__name__}.{kind}").paint(random, _checked_size(size))
    return scene


@lru_cache(maxsize=2)
def _kept_scene(kind: str, number: int, size: tuple[int, int], seed: int, section: str) -> Scene:
    """Make a scene and keep it for its other part."""
    scene = make_scene(kind, number, size=size, seed=seed, section=section)
    for part in (scene.image, scene.label):
        part.flags.writeable = False
    return scene


def decode_annotation(label: Mapping[str, Any]) -> NDArray[Any]:
    """Paint one part of a scene.

    Args:
        label: ``part``: ``"image"`` or ``"label"``; ``kind``, ``number``, ``size``, ``seed`` as for :func:`make_scene`,
            ``series`` as its section.

    Returns:
        image [C, H, W] uint8, C 1 or 3; or label [L, H, W] int32: object numbers above 0, 0 background, -1 ignore.
        Neither can be written to.
    """
    size = (int(label["size"][0]), int(label["size"][1]))
    scene = _kept_scene(label["kind"], int(label["number"]), size, int(label["seed"]), label["series"])
    return scene.image if label["part"] == "image" else scene.label


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"seed must be 0 or above, got {seed}.")


def _checked_size(size: Sequence[int]) -> tuple[int, int]:
    shape = tuple(int(length) for length in size)
    if len(shape) != 2 or min(shape) < _SMALLEST:
        raise ValueError(f"size must be (rows, columns), at least {_SMALLEST} each, got {tuple(size)}.")
    return shape[0], shape[1]


def _checked_kinds(
    kinds: Sequence[str], weights: Sequence[float] | None
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return the kinds and their shares, which sum to 1."""
    names = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    unknown = [name for name in names if name not in KINDS]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(f"kinds must be different names out of {', '.join(KINDS)}, got {', '.join(map(str, names))}.")
    shares = np.ones(len(names)) if weights is None else np.asarray(weights, dtype=np.float64)
    if shares.shape != (len(names),) or not np.isfinite(shares).all() or (shares < 0).any() or shares.sum() <= 0:
        raise ValueError(
            f"weights must be one number for each of the {len(names)} kinds, at least 0 and not all 0, got {weights!r}."
        )
    return names, shares / shares.sum()


SOURCE = Source("scenes", list_items, benchmark=Benchmark(section="validation", min_area=30), title="Procedural scenes")
