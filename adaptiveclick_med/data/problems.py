"""Problems found while listing a data set: collected, then raised together or logged."""

from __future__ import annotations

import logging
from pathlib import Path

from adaptiveclick_med.data.files import UnreadableFileError

__all__ = ["DataSetError", "Problems"]

logger = logging.getLogger(__name__)

_SHOWN = 20


class DataSetError(ValueError):
    """A data set cannot be used; the message names each file and the reason."""


class Problems:
    """Collects the problems of one listing, so that a user sees all of them at once.

    Args:
        on_error: ``"raise"``: one error names all problems. ``"skip"``: each problem is logged as a warning, and the
            files without a problem stay usable.
        quiet: no warnings are logged: somebody reports what was found.

    Raises:
        ValueError: when ``on_error`` is another word.
    """

    def __init__(self, on_error: str = "raise", *, quiet: bool = False) -> None:
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}.")
        self.on_error = on_error
        self.quiet = quiet
        self.found: list[tuple[str, str]] = []

    def add(self, file: str | Path, reason: str) -> None:
        """Note that ``file`` cannot be used because of ``reason``."""
        self.found.append((str(file), reason.strip().rstrip(".")))

    def add_error(self, file: str | Path, error: ValueError) -> None:
        """Note ``error``: for the file that it names when that could not be read, else for ``file``."""
        if isinstance(error, UnreadableFileError):
            self.add(error.path, f"cannot be read: {error.reason}")
        else:
            self.add(file, str(error))

    def settle(self, source: str) -> None:
        """Raise or log what was found, at the end of a listing.

        Args:
            source: the data set, for the message.

        Raises:
            DataSetError: when there are problems and ``on_error`` is ``"raise"``. It shows up to 20 of them.
        """
        if not self.found:
            return
        if self.on_error == "skip":
            for file, reason in [] if self.quiet else self.found:
                logger.warning("%s: left out %s: %s.", source, file, reason)
            return
        count = len(self.found)
        lines = [f"  - {file}: {reason}." for file, reason in self.found[:_SHOWN]]
        if count > _SHOWN:
            lines.append(f"  ... and {count - _SHOWN} more.")
        head = f"{count} problem{'s' if count > 1 else ''} in the data set {source}:"
        tail = "Repair these files, or pass on_error='skip' to leave them out."
        raise DataSetError("\n".join([head, *lines, tail]))
