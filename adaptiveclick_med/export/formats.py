"""The formats, and which one a file has."""

from __future__ import annotations

from pathlib import Path

__all__ = ["FORMATS", "files_of", "format_of", "is_exported", "target_of"]

FORMATS = {"torchscript": ".ts", "onnx": ".onnx", "openvino": ".xml"}
"""Suffix of each format's file by the format's name."""


def is_exported(path: str | Path) -> bool:
    """Tell by the suffix whether a file is an exported network."""
    return Path(path).suffix in FORMATS.values()


def format_of(path: str | Path) -> str:
    """Return the name of a file's format, told by its suffix.

    Raises:
        ValueError: when it is none of :data:`FORMATS`.
    """
    suffix = Path(path).suffix
    for name, ending in FORMATS.items():
        if suffix == ending:
            return name
    allowed = ", ".join(f"{ending} ({name})" for name, ending in FORMATS.items())
    raise ValueError(f"An exported network must end in one of {allowed}, got {Path(path).name!r}.")


def files_of(path: str | Path) -> tuple[Path, ...]:
    """Return a file and those that hold its weights beside it: OpenVINO's ``.bin``, a large ONNX file's ``.data``."""
    path = Path(path)
    beside = {".xml": path.with_suffix(".bin"), ".onnx": path.with_name(path.name + ".data")}.get(path.suffix)
    return (path, beside) if beside is not None and beside.is_file() else (path,)


def target_of(path: str | Path, format_name: str | None = None) -> tuple[Path, str]:
    """Return the file to write and the name of its format.

    Args:
        path: the file; a name without suffix gets that of ``format_name``.
        format_name: one of :data:`FORMATS`; ``None``: told by the suffix.

    Raises:
        IsADirectoryError: when the file is a folder.
        ValueError: when the format is unknown, or the suffix is that of no or of another format.
    """
    path = Path(path)
    if format_name is not None and format_name not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format_name!r}.")
    if format_name is not None and not path.suffix:
        path = path.with_name(path.name + FORMATS[format_name])
    if path.is_dir():
        raise IsADirectoryError(f"The exported network must be a file, but this is a folder: {path}.")
    found = format_of(path)
    if format_name not in (None, found):
        raise ValueError(f"A file of format {format_name} must end in {FORMATS[str(format_name)]}, got {path.name!r}.")
    return path, found
