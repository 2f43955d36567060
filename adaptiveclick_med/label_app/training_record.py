"""What the last training did, on the disk: for viewers, while it runs in another process and after that."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from adaptiveclick_med._files import replacing

__all__ = ["TrainingRecord"]

_PATIENCE = 10.0


class TrainingRecord:
    """A JSON file about the last training, and the lock that lets only one run at a time.

    The system gives the lock back when a process ends in whatever way. So a record that says ``"running"`` while
    nobody holds the lock is of a training that was stopped.

    Args:
        folder: where ``train_stats.json`` and the lock are; it is made when something is written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "train_stats.json"
        self._lock_path = self.path.with_name(".train.lock")

    def read(self) -> dict[str, Any]:
        """Return what is known of the last training; nothing when there was none, or the file is damaged."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(found, dict):
            return {}
        if found.get("status") == "running" and not self._is_running():
            found["status"] = "stopped"
        return found

    def write(self, content: Mapping[str, Any]) -> None:
        """Write the record; the file appears whole or not at all."""
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock.

        Raises:
            RuntimeError: when another training holds it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._lock_path)
        try:
            lock.acquire(timeout=_PATIENCE)
        except Timeout as error:
            raise RuntimeError("another training of these weights is running.") from error
        try:
            yield
        finally:
            lock.release()

    def _is_running(self) -> bool:
        try:
            with FileLock(self._lock_path, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # a folder that cannot be written to: nobody trains there
            return False
