"""Is a data set complete and readable? Every file is read, and the numbers are held against the published ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from adaptiveclick_med.data import DataSetError, msd, oaizib
from adaptiveclick_med.data.files import UnreadableFileError
from adaptiveclick_med.data.problems import Problems
from adaptiveclick_med.data.registry import Benchmark, Item, Source, get_source
from adaptiveclick_med.data.splits import SECTIONS, split_items
from adaptiveclick_med.evaluation.protocol import objects_of
from adaptiveclick_med.transforms import LoadSampled

__all__ = ["DatasetCheck", "SectionCheck", "check_dataset"]

_SHOWN = 100
_SPLIT: dict[str, Any] = {"val_fraction": 0.3}
_DECLARED: dict[str, Callable[[str | Path | None], tuple[Benchmark, list[Path]]]] = {
    "msd": msd.declared,
    "oaizib": oaizib.declared,
}
"""Sources whose folders tell themselves how much they should hold, and which files."""


@dataclass
class SectionCheck:
    """What was found in one section of a data set.

    Args:
        section: ``"training"``, ``"validation"`` or ``"all"``.
        expected_images: published number, ``None`` where there is none.
        expected_objects: likewise.
        items: samples that could be read.
        images: the same, or cases or volumes where the publisher counts those.
        objects: objects of at least the benchmark's ``min_area``.
        small_objects: smaller ones, not counted in ``objects``.
        without_object: names of samples without any object.
    """

    section: str
    expected_images: int | None = None
    expected_objects: int | None = None
    items: int = 0
    images: int = 0
    objects: int = 0
    small_objects: int = 0
    without_object: list[str] = field(default_factory=list)

    @property
    def prefix(self) -> str:
        """Start of a line of the report."""
        return "" if self.section == "all" else f"{self.section}: "

    def differences(self, unit: str) -> list[str]:
        """Return a sentence for each number that is not the published one, for images counted in ``unit``."""
        objects = self.objects + self.small_objects  # publishers count all
        pairs = ((f"{unit}s", self.images, self.expected_images), ("objects", objects, self.expected_objects))
        return [
            f"{self.prefix}{what}: {found} found, {expected} published"
            for what, found, expected in pairs
            if expected is not None and found != expected
        ]


@dataclass
class DatasetCheck:
    """What :func:`check_dataset` found.

    Args:
        title: name of the data set.
        dataset_dir: its folder.
        benchmark: how it is evaluated and how large it should be.
        sections: one entry for each section that was read.
        problems: (file, reason) for everything that is missing or cannot be read.
        notes: what is worth knowing but not wrong.
        default_options: whether the source was used with its default options; published numbers hold for those.
    """

    title: str
    dataset_dir: str
    benchmark: Benchmark
    sections: list[SectionCheck] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    default_options: bool = True

    @property
    def items(self) -> int:
        """Samples that could be read, in all sections."""
        return sum(section.items for section in self.sections)

    @property
    def images(self) -> int:
        """Images (cases or volumes where the publisher counts those) that could be read, in all sections."""
        return sum(section.images for section in self.sections)

    @property
    def objects(self) -> int:
        """Objects of at least the benchmark's ``min_area``, in all sections."""
        return sum(section.objects for section in self.sections)

    @property
    def differences(self) -> list[str]:
        """A sentence for each number that is not the published one."""
        return [line for section in self.sections for line in section.differences(self.benchmark.unit)]

    @property
    def ok(self) -> bool:
        """Whether something could be read, nothing is missing and no published number differs."""
        return bool(self.items) and not self.problems and not (self.default_options and self.differences)

    def report(self) -> str:
        """Return everything as text; of many problems the first 100."""
        lines = [f"{self.title} in {self.dataset_dir}" if self.dataset_dir else self.title]
        lines += [f"  {line}" for section in self.sections for line in self._counts(section)]
        lines += [f"  {note}." for note in self.notes]
        options = "" if self.default_options else " for the default options"
        lines += [f"  {line}{options}." for line in self.differences]
        if self.problems:
            lines.append(f"  {_number(len(self.problems), 'problem')}:")
            lines += [f"    - {file}: {reason}." for file, reason in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"    ... and {len(self.problems) - _SHOWN} more.")
        lines.append("  All is well." if self.ok else "  This copy of the data set is not as it should be.")
        return "\n".join(lines)

    def _counts(self, section: SectionCheck) -> Iterator[str]:
        """Give the lines of one section."""
        unit, area, start = self.benchmark.unit, self.benchmark.min_area, section.prefix
        slices = "" if section.items == section.images else f" ({_number(section.items, 'slice')})"
        size = f" of at least {area} pixels" if area > 1 else ""
        left_out = f"; {section.small_objects} smaller" if section.small_objects else ""
        yield f"{start}{_number(section.images, unit)}{slices}, {_number(section.objects, 'object')}{size}{left_out}."
        if section.expected_images is None and section.expected_objects is None:
            yield f"{start}there are no published numbers to compare with."
        elif not section.differences(unit):
            yield f"{start}as published: {self.benchmark.reference}."
        if section.without_object:
            more = f" and {len(section.without_object) - 5} more" if len(section.without_object) > 5 else ""
            names = ", ".join(section.without_object[:5])
            yield f"{start}{_number(len(section.without_object), 'image')} without an object: {names}{more}."


def check_dataset(
    name: str,
    dataset_dir: str | Path | None = None,
    *,
    section: str | None = None,
    progress: bool = False,
    **options: Any,
) -> DatasetCheck:
    """Read every image and label of a data set, count images and objects, and name what is missing or broken.

    Nothing stops the check but a wrong argument: every problem is collected.

    Args:
        name: name of a source.
        dataset_dir: its folder.
        section: ``"training"``, ``"validation"`` or ``"all"``. By default all; of a source whose publisher fixed
            sections, each section that is there.
        progress: show a progress bar.
        options: options of the source. Published numbers hold for the default options: with others they are shown, but
            a difference is no fault.

    Raises:
        ValueError: when a name or an option is unknown, or an option is out of range.
        FileNotFoundError: when the folder does not exist.
    """
    source = get_source(name)
    if section is not None and section not in SECTIONS:
        raise ValueError(f"section must be one of {', '.join(SECTIONS)}, got {section!r}.")
    unknown = sorted(set(options) - set(source.options))
    if unknown:
        valid = ", ".join(source.options) or "none"
        raise ValueError(f"unknown option {', '.join(unknown)} for dataset {source.name!r}; its options are: {valid}.")
    folder = "" if dataset_dir is None else str(dataset_dir)
    problems = Problems("skip")
    benchmark = _benchmark(source, dataset_dir, problems)
    check = DatasetCheck(source.title or source.name, folder, benchmark, default_options=not options)
    absent: list[tuple[str, str]] = []
    for part in [section] if section else _sections(source):
        try:
            items = _list(source, dataset_dir, part, problems, options)
        except DataSetError as error:
            absent.append((part, str(error).rstrip(".")))
            continue
        except UnreadableFileError as error:
            problems.add_error(folder, error)
            continue
        counts = SectionCheck(part, benchmark.images.get(part), benchmark.objects.get(part))
        _read(items, counts, benchmark, problems, f"{check.title} {part}" if progress else None)
        check.sections.append(counts)
    if check.sections:
        check.notes += [f"{part}: not there: {reason}" for part, reason in absent]
    else:
        problems.found += [(folder or source.name, reason.removeprefix(f"{folder} ")) for _, reason in absent]
    check.problems = list(dict.fromkeys(problems.found))
    return check


def _benchmark(source: Source, dataset_dir: str | Path | None, problems: Problems) -> Benchmark:
    """Return what the data set should hold, and note the files that it names itself but lacks."""
    if source.name not in _DECLARED:
        return source.benchmark
    try:
        benchmark, files = _DECLARED[source.name](dataset_dir)
    except DataSetError as error:
        problems.add(str(dataset_dir), str(error))
        return source.benchmark
    for file in files:
        if not file.exists():
            problems.add(file, "the data set's own list names it, but it is missing")
    return benchmark


def _sections(source: Source) -> list[str]:
    """Return the sections to read where the user names none."""
    benchmark = source.benchmark
    numbers = {*benchmark.images, *benchmark.objects}
    published = [name for name in SECTIONS if name != "all" and name in numbers]
    return published if published and "section" in source.split_arguments else ["all"]


def _list(
    source: Source, dataset_dir: str | Path | None, section: str, problems: Problems, options: Mapping[str, Any]
) -> list[Item]:
    """List the items of a section."""
    split = {name: value for name, value in {**_SPLIT, "section": section}.items() if name in source.split_arguments}
    items = source.list_items(dataset_dir, seed=0, problems=problems, **split, **options)
    if section == "all" or "section" in split or not items:
        return items
    return split_items(items, section, source.validation_groups(items, _SPLIT["val_fraction"], 0))


def _read(
    items: Sequence[Item], counts: SectionCheck, benchmark: Benchmark, problems: Problems, shown: str | None
) -> None:
    """Read all items and count what is in them."""
    load = LoadSampled()
    groups: set[str] = set()
    broken: set[str] = set()
    for item in tqdm(items, desc=shown, unit="item", disable=shown is None):
        label = item["label"].get("file") if isinstance(item["label"], Mapping) else item["label"]
        files = [value for value in (item["image"], label) if isinstance(value, str)]
        if broken.intersection(files):
            continue
        try:
            targets = objects_of(load(item)["label"])
        except Exception as error:  # decoders of foreign files raise what they like
            file = files[-1] if files else item["name"]
            if isinstance(error, UnreadableFileError):
                problems.add_error(file, error)
            else:
                kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
                problems.add(file, f"{kind}{error}".rstrip(".").removesuffix(f" ({file})"))
            broken.update(file for file in files if file == problems.found[-1][0])
            continue
        kept = sum(int(np.count_nonzero(target > 0)) >= benchmark.min_area for _, target in targets)
        counts.items += 1
        counts.objects += kept
        counts.small_objects += len(targets) - kept
        groups.add(item["group"])
        if not targets:
            counts.without_object.append(item["name"])
    counts.images = counts.items if benchmark.unit == "image" else len(groups)


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
