"""Programs that a test starts, waits for and stops: Orthanc and our server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Program", "free_port", "get", "start_orthanc", "start_server"]

PATIENCE = 180
"""Seconds after which a program that does not answer is given up."""

_DICOMWEB = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def get(url: str, accept: str = "application/json") -> bytes:
    """Return the body of an answer."""
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return bytes(answer.read())


class Program:
    """A running program with its own group, so that stopping it stops what it started.

    Args:
        command: program and arguments.
        log: file for all that it says.
        url: where it answers when it is ready.
        ready: address that answers when it is ready.
        environment: added to this process's environment.
    """

    def __init__(
        self, command: Sequence[str], log: Path, *, url: str, ready: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.url = url
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        end = time.monotonic() + PATIENCE
        while True:
            try:
                get(ready)
                return
            except (urllib.error.URLError, OSError):
                if self._process.poll() is None and time.monotonic() < end:
                    time.sleep(0.2)
                    continue
                self.stop()
                raise RuntimeError(f"{command[0]} does not answer at {ready}:\n{self.said()}") from None

    def said(self) -> str:
        """Return what the program wrote."""
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        """Ask the program to end and wait; after a while, end it."""
        for signum in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            os.killpg(self._process.pid, signum)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                continue

    @property
    def exit_code(self) -> int | None:
        """Exit code; ``None`` while the program runs."""
        return self._process.poll()


def start_orthanc(folder: Path) -> Program:
    """Start an empty Orthanc with DICOMweb.

    Args:
        folder: for its configuration, its files and its log; must exist.

    Returns:
        The program; ``url`` is the address of its REST interface, DICOMweb is at ``url`` + ``/dicom-web``.
    """
    port = free_port()
    configuration: dict[str, Any] = {
        "Name": "viewer tests",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "Plugins": [_DICOMWEB],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "storage").mkdir()
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    url = f"http://127.0.0.1:{port}"
    return Program(["Orthanc", str(folder / "orthanc.json")], folder / "orthanc.log", url=url, ready=f"{url}/system")


def start_server(
    studies: str, folder: Path, weights: Path, labels: Sequence[str], *, port: int | None = None
) -> Program:
    """Start ``adaptiveclick-med serve``.

    Args:
        studies: address of a DICOMweb service, or a folder.
        folder: for its files and its log; must exist. Temporary files go to ``folder / "temporary"``.
        weights: the weight file.
        labels: what is segmented.
        port: to listen on; by default a free one.
    """
    port = port or free_port()
    temporary = folder / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "adaptiveclick_med.cli", "serve", "--studies", studies]
    command += ["--weights", str(weights), "--labels", ",".join(labels), "--port", str(port)]
    command += ["--work_dir", str(folder / "work"), "--device", "cpu"]
    url = f"http://127.0.0.1:{port}"
    environment = {"TMPDIR": str(temporary), "HOME": str(folder)}
    return Program(command, folder / "server.log", url=url, ready=f"{url}/info/", environment=environment)
