"""A real server in a process of its own, driven by the client that 3D Slicer's module uses."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import requests
import SimpleITK
from monailabel.client import MONAILabelClient
from numpy.typing import NDArray

from adaptiveclick_med.data.dicom_writing import write_dicom_series
from adaptiveclick_med.data.files import Volume, read_volume

LABELS = ("liver", "tumor")
AFFINE = np.array([[-0.75, 0, 0, 30.25], [0, 0.8125, 0.125, -12.5], [0, -0.0625, 3.0, 7.75], [0, 0, 0, 1]])


def scan(shape: tuple[int, int, int], seed: int = 0) -> NDArray[np.int16]:
    """A bright block in noise."""
    image = np.random.RandomState(seed).normal(0, 20, shape)
    i, j, _ = shape
    image[i // 4 : i // 2, j // 4 : j // 2] += 400
    return image.astype(np.int16)


def make_studies(folder: Path) -> Path:
    """Volumes of several formats, a DICOM series, a file that is being written and one that is cut off."""
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Image(scan((48, 40, 6)), AFFINE), folder / "head.nii.gz")
    nibabel.save(nibabel.Nifti1Image(scan((40, 48, 5), 1), np.diag([1.0, 1.0, 4.0, 1.0])), folder / "hip.nii")
    for name, seed in (("knee.nrrd", 2), ("wrist.mha", 3)):
        image = SimpleITK.GetImageFromArray(scan((32, 36, 4), seed).transpose())
        image.SetSpacing((0.5, 0.625, 2.5))
        image.SetOrigin((10.0, -20.0, 30.0))
        SimpleITK.WriteImage(image, str(folder / name))
    write_dicom_series(folder / "ct_series", Volume(scan((40, 44, 7), 4), AFFINE))
    whole = (folder / "head.nii.gz").read_bytes()
    (folder / "cut_off.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / ".writing-0123-later.nii.gz").write_bytes(whole)
    (folder / "notes.txt").write_text("no image")
    return folder


@dataclass
class Server:
    """A server that a test started."""

    studies: Path
    work_dir: Path
    port: int
    options: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.work_dir.parent / f"{self.work_dir.name}.log").read_text()

    def start(self) -> Server:
        command = [sys.executable, "-m", "adaptiveclick_med.cli", "serve", "--studies", str(self.studies)]
        command += ["--port", str(self.port), "--work_dir", str(self.work_dir), "--labels", ",".join(LABELS)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(self.work_dir.parent)}
        log = (self.work_dir.parent / f"{self.work_dir.name}.log").open("ab")
        self.process = subprocess.Popen([*command, *self.options], stdout=log, stderr=log, env=environment)
        for _ in range(600):
            if self.process.poll() is not None:
                raise RuntimeError(f"The server ended with {self.process.returncode}:\n{self.log}")
            try:
                if requests.get(f"{self.url}/info/", timeout=5).ok:
                    return self
            except requests.ConnectionError:
                time.sleep(0.2)
        raise RuntimeError(f"The server does not answer:\n{self.log}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def client(self, folder: Path) -> MONAILabelClient:
        folder.mkdir(parents=True, exist_ok=True)
        return MONAILabelClient(self.url, str(folder))

    def post(self, image: str = "head", model: str = "adaptiveclick_2d", /, **params: Any) -> requests.Response:
        """Send clicks without a client; ``NaN`` and the like go through."""
        form = {"params": (None, json.dumps(params))}
        return requests.post(f"{self.url}/infer/{model}", params={"image": image}, files=form, timeout=120)

    def lives(self) -> bool:
        """Whether a click is still answered."""
        return self.post(foreground=[[15, 12, 2]], background=[], slice=2).status_code == 200


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start servers; all are stopped at the end."""
    started: list[Server] = []

    def start(*options: str, studies: Path | None = None, preset: str | None = "nano") -> Server:
        folder = tmp_path_factory.mktemp("server")
        with socket.socket() as place:
            place.bind(("127.0.0.1", 0))
            port = int(place.getsockname()[1])
        given = options if "--weights" in options or preset is None else ("--preset", preset, *options)
        server = Server(studies or make_studies(folder / "studies"), folder / "work", port, given)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def server(start_server: Callable[..., Server]) -> Server:
    """A server that many tests share."""
    return start_server()


@pytest.fixture
def client(server: Server, tmp_path: Path) -> MONAILabelClient:
    return server.client(tmp_path / "client")


@pytest.fixture
def ask(client: MONAILabelClient) -> Callable[..., tuple[Volume, dict[str, Any]]]:
    """Click through the client: (answer, what is known of it)."""

    def infer(image: str, model: str = "adaptiveclick_2d", **params: Any) -> tuple[Volume, dict[str, Any]]:
        file, known = client.infer(model, image, params)
        return read_volume(file), known

    return infer
