"""The list of data sources. A source is one module that defines ``SOURCE``; to add one, add a line to ``_MODULES``."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptiveclick_med.data.splits import shuffled_groups

__all__ = ["Benchmark", "Item", "Source", "existing_folder", "get_source", "register_source", "source_names"]

Item = dict[str, Any]
"""One sample to be read later.

Keys: ``image`` (path or array), ``label`` (path, array or annotation), ``name`` (unique), ``group`` (what a split keeps
together: case, section, picture), ``source``, and ``reader``: hints for ``LoadSampled`` (see there). Some sources add
``weight`` (how often training draws the item, in proportion) or ``hierarchy`` (see
:mod:`adaptiveclick_med.data.coco_lvis`)."""


@dataclass(frozen=True)
class Benchmark:
    """How a data set is evaluated where a user does not say otherwise, and how large its publication says it is.

    Args:
        section: ``"all"``, ``"training"`` or ``"validation"``.
        min_area: smaller objects are left out, in pixels.
        crop_size: side in pixels to which crops are resized; ``None``: what the network was built for.
        images: published number of images (slices of volumes, volumes or cases where ``unit`` says so), by section.
        objects: published number of objects, by section.
        unit: what ``images`` counts.
        reference: where the numbers are from.
    """

    section: str = "all"
    min_area: int = 20
    crop_size: int | None = None
    images: Mapping[str, int] = field(default_factory=dict)
    objects: Mapping[str, int] = field(default_factory=dict)
    unit: str = "image"
    reference: str = ""


@dataclass(frozen=True)
class Source:
    """One data source.

    Args:
        name: lower-case name for :func:`adaptiveclick_med.data.get_items`.
        list_items: ``list_items(dataset_dir, *, seed, problems, **options)`` returns all items in a fixed order. It
            adds what it cannot use to ``problems`` and reads as little as it can. Its other keyword arguments are the
            options of the source.
            A source whose publisher fixed the sections takes ``section`` (and ``val_fraction`` where it needs that) and
            returns the items of that section.
        validation_groups: ``validation_groups(items, val_fraction, seed)`` returns the groups that validate; not used
            where ``list_items`` takes ``section``.
        benchmark: how it is evaluated.
        title: the name as it is published.
    """

    name: str
    list_items: Callable[..., list[Item]]
    validation_groups: Callable[[list[Item], float, int], set[str]] = shuffled_groups
    benchmark: Benchmark = field(default_factory=Benchmark)
    title: str = ""

    @property
    def options(self) -> list[str]:
        """The names of the source's own options."""
        return [name for name in self._parameters if name not in ("dataset_dir", "seed", "problems", *_SPLIT)]

    @property
    def split_arguments(self) -> list[str]:
        """Those of ``section`` and ``val_fraction`` that ``list_items`` takes."""
        return [name for name in self._parameters if name in _SPLIT]

    @property
    def _parameters(self) -> list[str]:
        return list(inspect.signature(self.list_items).parameters)


_SPLIT = ("section", "val_fraction")
_MODULES = {
    name: f"adaptiveclick_med.data.{name}"
    for name in (
        *("phantoms", "scenes", "folder", "mixed", "coco", "dsb2018", "msd"),
        *("grabcut", "berkeley", "davis", "sbd", "pascal_voc", "coco_lvis", "sstem", "brats", "oaizib"),
    )
}
_OTHER_NAMES = {"voc": "pascalvoc", "decathlon": "msd", "oai": "oaizib", "mixture": "mixed"}
_REGISTERED: dict[str, Source] = {}


def source_names() -> list[str]:
    """Return the names of all sources, sorted."""
    return sorted({*_MODULES, *_REGISTERED})


def register_source(source: Source) -> None:
    """Add a source of your own, so that :func:`adaptiveclick_med.data.get_items` finds it by name.

    Raises:
        ValueError: when the name is taken by another source, or is not in lower case.
    """
    if source.name != source.name.lower():
        raise ValueError(f"the name of a data source must be in lower case, got {source.name!r}.")
    if source.name in _MODULES or _REGISTERED.get(source.name, source) != source:
        raise ValueError(f"there is already a data source named {source.name!r}.")
    _REGISTERED[source.name] = source


def get_source(name: str) -> Source:
    """Return the source of that name, in upper or lower case, with or without ``_``, ``-`` and spaces.

    Raises:
        ValueError: when there is none; the message lists the valid names.
    """
    key = str(name).lower()
    if key in _REGISTERED:
        return _REGISTERED[key]
    plain = re.sub(r"[-_ ]", "", key)
    known = {module.replace("_", ""): module for module in _MODULES}
    plain = _OTHER_NAMES.get(plain, plain)
    if plain not in known:
        raise ValueError(f"unknown dataset {name!r}; valid names are {', '.join(source_names())}.")
    source: Source = importlib.import_module(_MODULES[known[plain]]).SOURCE
    return source


def existing_folder(folder: str | Path | None, what: str) -> Path:
    """Return ``folder`` as a path, after a check that it is a folder.

    Args:
        folder: a path; ``~`` is the home folder.
        what: what the folder is, for the message.

    Raises:
        ValueError: when it is ``None``.
        FileNotFoundError: when there is no such folder.
        NotADirectoryError: when it is a file.
    """
    if folder is None or str(folder) == "":
        raise ValueError(f"{what} is missing: pass the folder that holds the data.")
    path = Path(folder).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{what} does not exist: {path}.")
    if not path.is_dir():
        raise NotADirectoryError(f"{what} is not a folder: {path}.")
    return path
