"""Orthanc, our server and studies in the PACS, made once for all viewer tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from programs import Program, start_orthanc, start_server
from viewer_network import train_quickly

from adaptiveclick_med.data.dicom import DicomSeries, read_dicom_series
from adaptiveclick_med.data.dicom_writing import write_dicom_series
from adaptiveclick_med.data.files import Volume
from adaptiveclick_med.data.phantoms import make_phantom

LABELS = ("liver", "spleen")
"""What the server is told to segment."""


@dataclass(frozen=True)
class Study:
    """A study in the PACS that consists of one series.

    Attributes:
        series: as it was written, on the disk.
        image: [I, J, K] int16 on the grid of the series.
        body: [I, J, K] bool, what the network learned to segment.
        patient: name of the patient.
    """

    series: DicomSeries
    image: NDArray[np.int16]
    body: NDArray[np.bool_]
    patient: str

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID."""
        return str(self.series.headers[0].StudyInstanceUID)

    def middle(self, k: int) -> tuple[int, int, int]:
        """Return the voxel of the body in slice k that is nearest to its centre there."""
        inside = np.argwhere(self.body[..., k])
        nearest = ((inside - inside.mean(0)) ** 2).sum(1).argmin()
        return int(inside[nearest, 0]), int(inside[nearest, 1]), k


@pytest.fixture(scope="session", autouse=True)
def alone() -> None:
    """Nothing but this machine can be reached: whatever a program tries, no data leave."""
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    assert not others, f"`make test-viewer` starts these tests without a network; here are {', '.join(others)}."


def _volume(number: int, upright: bool) -> tuple[Volume, NDArray[np.bool_]]:
    """A phantom off the middle of its volume in every direction, so that a flipped axis would be seen."""
    phantom = make_phantom(number, size=(12, 80, 64))
    margins = ((26, 6), (4, 16), (2, 5))
    image = np.pad(phantom.image, margins)
    affine = np.diag([-0.9, -0.9, 3.0, 1.0]) if upright else phantom.affine
    return Volume(image, affine), np.pad(phantom.label[..., 0] > 0, margins)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that knows the bodies of the phantoms."""
    path = tmp_path_factory.mktemp("weights") / "body.safetensors"
    volume, body = _volume(0, True)
    losses = train_quickly(path, volume.array, body.astype(np.uint8))
    assert losses[-1] < 0.3
    return path


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A PACS, empty at first."""
    program = start_orthanc(tmp_path_factory.mktemp("orthanc"))
    yield program
    program.stop()


@pytest.fixture(scope="session")
def store(orthanc: Program):
    """Send DICOM files to the PACS (STOW-RS): files -> None."""
    import pydicom
    from dicomweb_client.api import DICOMwebClient

    def send(files: list[Path] | tuple[Path, ...]) -> None:
        DICOMwebClient(f"{orthanc.url}/dicom-web").store_instances([pydicom.dcmread(file) for file in files])

    return send


def _study(folder: Path, store, number: int, *, upright: bool, modality: str, patient: str) -> Study:
    volume, body = _volume(number, upright)
    files = write_dicom_series(
        folder / "series", volume, modality=modality, patient_name=patient, patient_id=patient, window=(0, 700)
    )
    store(files)
    return Study(read_dicom_series(folder / "series"), volume.array, body, patient)


@pytest.fixture(scope="session")
def upright(store, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """CT, its slices axial."""
    folder = tmp_path_factory.mktemp("upright")
    return _study(folder, store, 0, upright=True, modality="CT", patient="Upright")


@pytest.fixture(scope="session")
def tilted(store, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """MR, tilted in every direction."""
    folder = tmp_path_factory.mktemp("tilted")
    return _study(folder, store, 0, upright=False, modality="MR", patient="Tilted")


@pytest.fixture(scope="session")
def server(orthanc: Program, upright: Study, tilted: Study, weights: Path, tmp_path_factory: pytest.TempPathFactory):
    """Our server on the studies of the PACS; at the end it must have left nothing in the folder for temporary files.

    Both studies are stored before it starts: it believes its list of the PACS for half a minute.
    """
    folder = tmp_path_factory.mktemp("server")
    program = start_server(f"{orthanc.url}/dicom-web", folder, weights, LABELS)
    yield program
    program.stop()
    assert [path.name for path in (folder / "temporary").rglob("*") if path.is_file()] == []
