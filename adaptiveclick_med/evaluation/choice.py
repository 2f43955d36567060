"""What is evaluated: a data set, which of its images and objects, and how; several of them from a YAML file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import yaml
from monai.data import Dataset
from monai.transforms import Compose

from adaptiveclick_med.data import get_items, get_source
from adaptiveclick_med.data.problems import Problems
from adaptiveclick_med.data.splits import SECTIONS
from adaptiveclick_med.transforms import LoadSampled, ScaleToUnitRGBd

__all__ = ["DataSetChoice", "open_source", "read_choices"]

_WHOLE_NUMBERS = {"split_seed": 0, "max_samples": 1, "max_clicks": 1, "min_area": 0, "crop_size": 1}
_MAY_BE_OPEN = ("max_samples", "min_area", "crop_size")


def open_source(
    dataset: str,
    dataset_dir: str | Path | None = None,
    *,
    window: str | Sequence[float] | None = None,
    channels: int | Sequence[int] | None = None,
    **options: Any,
) -> Any:
    """Return a MONAI ``Dataset`` of samples ready for a session: ``image`` [3, H, W] in [0, 1], ``label`` [L, H, W].

    Args:
        dataset: name of a source.
        dataset_dir: its folder.
        window: see :func:`adaptiveclick_med.transforms.to_unit_rgb`.
        channels: see there.
        options: further arguments of :func:`adaptiveclick_med.data.get_items`.

    Raises:
        ValueError: when the source cannot be read.
    """
    scale = ScaleToUnitRGBd("image", window=window, channels=channels)
    return Dataset(get_items(dataset, dataset_dir, **options), Compose([LoadSampled(), scale]))


@dataclass(frozen=True)
class DataSetChoice:
    """A data set to evaluate.

    Args:
        dataset: name of a source.
        dataset_dir: its folder.
        name: of the results and of their folder; by default the name of the source.
        section: ``"training"``, ``"validation"`` or ``"all"``; ``None``: what the paper evaluates.
        options: options of the source.
        val_fraction: share of the groups that validate.
        split_seed: seed of the split and of the phantoms.
        max_samples: evaluate at most so many images.
        max_clicks: clicks after which the user gives up.
        min_area: smaller objects are left out, in pixels; ``None``: as the paper.
        crop_size: side of the network's input in pixels; ``None``: as the paper, else what the network was built for.
        intensity_window: see :func:`adaptiveclick_med.transforms.to_unit_rgb`.
        channels: see there.

    Raises:
        ValueError: when the source or an option of it is unknown, or an argument is of another type or out of range.
    """

    dataset: str
    dataset_dir: str | None = None
    name: str | None = None
    section: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    val_fraction: float = 0.3
    split_seed: int = 0
    max_samples: int | None = None
    max_clicks: int = 20
    min_area: int | None = None
    crop_size: int | None = None
    intensity_window: str | Sequence[float] | None = None
    channels: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        source = get_source(self.dataset)
        for argument, least in _WHOLE_NUMBERS.items():
            value = getattr(self, argument)
            if value is None and argument in _MAY_BE_OPEN:
                continue
            if not isinstance(value, Integral) or value < least:
                raise ValueError(f"{argument} must be a whole number of at least {least}, got {value!r}.")
        if not isinstance(self.val_fraction, Real) or not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction must be above 0 and below 1, got {self.val_fraction!r}.")
        if self.section is not None and self.section not in SECTIONS:
            raise ValueError(f"section must be one of {', '.join(SECTIONS)}, got {self.section!r}.")
        if self.dataset_dir is not None and not isinstance(self.dataset_dir, (str, os.PathLike)):
            raise ValueError(f"dataset_dir must be a folder, got {self.dataset_dir!r}.")
        if self.name is not None and (str(self.name) in (".", "..") or set(str(self.name)) & set("/\\")):
            raise ValueError(f"name must be the name of a folder, without / and \\, got {self.name!r}.")
        if not isinstance(self.options, Mapping):
            raise ValueError(f"options must be a dictionary, got {self.options!r}.")
        unknown = sorted(set(map(str, self.options)) - set(source.options))
        if unknown:
            valid = ", ".join(source.options) or "none"
            raise ValueError(
                f"unknown option {', '.join(unknown)} for dataset {source.name!r}; its options are: {valid}."
            )
        try:
            ScaleToUnitRGBd("image", window=self.intensity_window)
        except (TypeError, ValueError) as error:
            raise ValueError(f"intensity_window cannot be {self.intensity_window!r}: {error}") from error
        indices = self.channels if isinstance(self.channels, (list, tuple)) else [self.channels or 0]
        if not all(isinstance(index, Integral) for index in indices):
            raise ValueError(f"channels must be whole numbers, got {self.channels!r}.")

    def complete(self) -> DataSetChoice:
        """Return the choice with what was left open filled in: the paper's way for its data sets."""
        source = get_source(self.dataset)
        usual = source.benchmark
        return replace(
            self,
            dataset=source.name,
            name=self.name or source.name,
            section=self.section or usual.section,
            min_area=usual.min_area if self.min_area is None else self.min_area,
            crop_size=usual.crop_size if self.crop_size is None else self.crop_size,
        )

    @property
    def title(self) -> str:
        """The data set's name as published, or the name given."""
        source = get_source(self.dataset)
        return source.title or source.name if self.name in (None, source.name) else str(self.name)

    def samples(self, problems: Problems | None = None, *, section: str | None = None) -> Any:
        """Open the data set, see :func:`open_source`.

        Args:
            problems: takes the files that cannot be used.
            section: in place of the choice's own; all its samples.
        """
        return open_source(
            self.dataset,
            self.dataset_dir,
            window=self.intensity_window,
            channels=self.channels,
            section=section or self.section or get_source(self.dataset).benchmark.section,
            val_fraction=self.val_fraction,
            seed=self.split_seed,
            max_samples=self.max_samples if section is None else None,
            problems=problems,
            **self.options,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the choice as plain JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return values


def read_choices(path: str | Path) -> list[DataSetChoice]:
    """Read the data sets of a YAML file.

    Args:
        path: a file with ``datasets``: a list of dictionaries with the arguments of :class:`DataSetChoice`. Folders are
            relative to where the command runs.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not as above; the message names the entry.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of data sets {path}.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    entries = content.get("datasets") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path} must hold datasets: a list of at least one data set.")
    known = [each.name for each in fields(DataSetChoice)]
    choices: list[DataSetChoice] = []
    for number, entry in enumerate(entries, start=1):
        where = f"{path}, data set {number}"
        if not isinstance(entry, dict) or "dataset" not in entry:
            raise ValueError(f"{where} must be a dictionary with dataset, got {entry!r}.")
        unknown = sorted(set(map(str, entry)) - set(known))
        if unknown:
            raise ValueError(f"{where} has unknown keys {', '.join(unknown)}; valid ones are {', '.join(known)}.")
        try:
            choices.append(DataSetChoice(**entry).complete())
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    names = [choice.name for choice in choices]
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path} has {', '.join(twice)} more than once: give each a name of its own.")
    return choices
