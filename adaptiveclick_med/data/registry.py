"""The list of data sources. A source is one module that defines ``SOURCE``; to add one, add a line to ``_MODULES``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptiveclick_med.data.splits import shuffled_groups

__all__ = ["Item", "Source", "existing_folder", "get_source", "register_source", "source_names"]

Item = dict[str, Any]
"""One sample to be read later.

Keys: ``image`` (path or array), ``label`` (path, array or annotation), ``name`` (unique), ``group`` (what a split keeps
together: case, section, picture), ``source``, and ``reader``: hints for ``LoadSampled`` (see there)."""


@dataclass(frozen=True)
class Source:
    """One data source.

    Args:
        name: lower-case name for :func:`adaptiveclick_med.data.get_items`.
        list_items: ``list_items(dataset_dir, *, seed, problems, **options)`` returns all items in a fixed order. It
            adds what it cannot use to ``problems`` and reads as little as it can. Its other keyword arguments are the
            options of the source.
        validation_groups: ``validation_groups(items, val_fraction, seed)`` returns the groups that validate.
    """

    name: str
    list_items: Callable[..., list[Item]]
    validation_groups: Callable[[list[Item], float, int], set[str]] = shuffled_groups

    @property
    def options(self) -> list[str]:
        """The names of the source's own options."""
        names = inspect.signature(self.list_items).parameters
        return [name for name in names if name not in ("dataset_dir", "seed", "problems")]


_MODULES = {
    "phantoms": "adaptiveclick_med.data.phantoms",
    "sstem": "adaptiveclick_med.data.sstem",
    "folder": "adaptiveclick_med.data.folder",
    "coco": "adaptiveclick_med.data.coco",
}
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
    """Return the source of that name, in upper or lower case.

    Raises:
        ValueError: when there is none; the message lists the valid names.
    """
    key = str(name).lower()
    if key in _REGISTERED:
        return _REGISTERED[key]
    if key not in _MODULES:
        raise ValueError(f"unknown dataset {name!r}; valid names are {', '.join(source_names())}.")
    source: Source = importlib.import_module(_MODULES[key]).SOURCE
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
