"""Progress of an evaluation on disk, so that one that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from filelock import FileLock, Timeout

from adaptiveclick_med.evaluation.results import RESULT_FILES, EvaluationResult, ObjectResult

__all__ = ["Journal", "SampleNotes", "digest"]

_PROGRESS, _LOCK = "progress.jsonl", ".running.lock"


@dataclass(frozen=True)
class SampleNotes:
    """What is to be said of one sample beside its objects.

    Attributes:
        name: of the sample.
        problem: why it could not be used; empty when it could.
        notes: anything else worth knowing.
    """

    name: str
    problem: str = ""
    notes: list[str] = field(default_factory=list)


class Journal:
    """The folder of one evaluation: a lock, the objects done so far, and at the end the results.

    Use it as a context. ``progress.jsonl`` gets a line for each object and each sample as soon as it is done. A line
    that was cut off when the run was stopped is dropped. When all is done, :meth:`complete` writes the results and
    removes it.

    Args:
        folder: where the results go; made when missing.
        run: what is evaluated and how, plain JSON values. Only a run that is the same goes on.
        overwrite: whether results and progress of another or a finished run are thrown away.

    Raises:
        ValueError: in ``__enter__``, when another run is at work in the folder, or the folder holds another run's
            results or progress, or damaged ones, and ``overwrite`` is not set.
        NotADirectoryError: in ``__enter__``, when the folder is a file.
        OSError: when a file cannot be written, for example because the disk is full; the message names the file.
    """

    def __init__(self, folder: str | Path, run: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.folder = Path(folder)
        self.run = json.loads(json.dumps(dict(run), default=str))
        self.overwrite = overwrite
        self.objects: dict[str, ObjectResult] = {}
        self.samples: dict[str, SampleNotes] = {}
        self.finished: EvaluationResult | None = None
        self._file: TextIO | None = None
        self._made: list[Path] = []
        self._lock = FileLock(self.folder / _LOCK, timeout=0)

    def __enter__(self) -> Journal:
        """Lock the folder and read what is there."""
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"output_dir is not a folder: {self.folder}.")
        self._made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise ValueError(
                f"another evaluation is writing to {self.folder}: wait for it, or pass another output_dir."
            ) from error
        try:
            self._open()
        except BaseException:
            self._close()
            self._unlock()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close and unlock; what was done stays, and a folder made for nothing goes."""
        self._close()
        nothing_done = self.finished is None and not self.objects and not self.samples
        if nothing_done:
            (self.folder / _PROGRESS).unlink(missing_ok=True)
        self._unlock()
        for path in self._made if nothing_done else []:
            if any(path.iterdir()):
                break
            path.rmdir()

    def _close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # what could not be written, which was raised already, cannot be written now either
                self._file.close()
            self._file = None

    def _unlock(self) -> None:
        with suppress(PermissionError):  # some systems keep a file that is open
            (self.folder / _LOCK).unlink(missing_ok=True)
        self._lock.release()

    @property
    def result(self) -> EvaluationResult:
        """The finished result.

        Raises:
            RuntimeError: when the evaluation is not finished.
        """
        if self.finished is None:
            raise RuntimeError("The evaluation is not finished.")
        return self.finished

    def _open(self) -> None:
        progress, results = self.folder / _PROGRESS, self.folder / RESULT_FILES[0]
        if self.overwrite:
            for name in (_PROGRESS, *RESULT_FILES):
                (self.folder / name).unlink(missing_ok=True)
        elif results.exists():
            found = EvaluationResult.load(results)
            self._check(found.run, results)
            self.finished = found
            progress.unlink(missing_ok=True)
            return
        elif progress.exists():
            self._read(progress)
        fresh = not progress.exists()
        self._file = progress.open("a", encoding="utf-8")
        if fresh:
            self._write({"run": self.run})

    def _check(self, found: Any, file: Path) -> None:
        if found != self.run:
            found = found if isinstance(found, dict) else {}
            differ = [key for key in {**self.run, **found} if found.get(key) != self.run.get(key)]
            raise ValueError(
                f"{file} belongs to another evaluation ({', '.join(differ)} differ): pass another output_dir, or "
                "overwrite it (--overwrite)."
            )

    def _read(self, progress: Path) -> None:
        """Read the lines that are whole, and cut the file after them."""
        whole = 0
        with progress.open("rb") as file:
            for number, line in enumerate(file):
                try:
                    entry = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    entry = None
                if not isinstance(entry, dict):
                    break
                whole += len(line)
                if number == 0:
                    self._check(entry.get("run"), progress)
                    continue
                try:
                    self._take(entry)
                except (KeyError, TypeError, ValueError) as error:
                    raise ValueError(
                        f"{progress}, line {number + 1} is no progress of an evaluation: {error}. Remove the line, or "
                        "overwrite the file (--overwrite)."
                    ) from error
        if whole == 0:
            progress.unlink()
        else:
            with progress.open("r+b") as file:
                file.truncate(whole)

    def _take(self, entry: Mapping[str, Any]) -> None:
        """Take a line of the progress."""
        if "object" in entry:
            item = ObjectResult.from_dict(entry["object"])
            self.objects[item.name] = item
        elif "sample" in entry:
            notes = SampleNotes(**entry["sample"])
            self.samples[notes.name] = notes

    def _write(self, entry: Mapping[str, Any]) -> None:
        if self._file is None:
            raise RuntimeError("The journal is closed: use it as a context.")
        with _naming(self.folder / _PROGRESS):
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()

    def add_object(self, item: ObjectResult) -> None:
        """Note an object that is done."""
        self.objects[item.name] = item
        self._write({"object": asdict(item)})

    def add_sample(self, notes: SampleNotes) -> None:
        """Note that a sample is done: all its objects, or it cannot be used."""
        self.samples[notes.name] = notes
        self._write({"sample": asdict(notes)})

    def complete(self, result: EvaluationResult) -> None:
        """Write the results and remove the progress."""
        with _naming(self.folder):
            result.save(self.folder)
        self._close()
        (self.folder / _PROGRESS).unlink(missing_ok=True)
        self.finished = result


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name a file or folder in the error of a write that failed, which does not tell it."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def digest(lines: list[str]) -> str:
    """Return a short hash of a list of names, by which two lists are told apart.

    Raises:
        ValueError: when a name cannot be written as UTF-8; the message shows it.
    """
    encoded = []
    for line in lines:
        try:
            encoded.append(line.encode())
        except UnicodeEncodeError as error:
            raise ValueError(f"the file name {line!r} is not UTF-8: rename the file.") from error
    return hashlib.sha256(b"\n".join(encoded)).hexdigest()[:16]
