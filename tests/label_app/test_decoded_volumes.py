from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from fastapi import HTTPException

from adaptiveclick_med.label_app.decoded_volumes import DecodedVolumes
from adaptiveclick_med.label_app.served_network import ServedNetwork
from adaptiveclick_med.label_app.serving_options import ServingOptions
from tests.label_app.conftest import make_studies, scan


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> ServedNetwork:
    return ServedNetwork(ServingOptions(tmp_path_factory.mktemp("work"), preset="nano"))


def test_a_volume_is_read_once_while_it_is_used(network: ServedNetwork, tmp_path: Path) -> None:
    studies = make_studies(tmp_path / "studies")
    now = [0.0]
    volumes = DecodedVolumes(ServingOptions(tmp_path, cache_seconds=10), clock=lambda: now[0])
    loaded = network.current()
    first, read = volumes.get(studies / "head.nii.gz", loaded)
    assert read
    assert first.shape == (48, 40, 6)
    now[0] = 9.0
    assert volumes.get(studies / "head.nii.gz", loaded) == (first, False)
    now[0] = 18.0
    assert volumes.get(studies / "head.nii.gz", loaded) == (first, False)
    now[0] = 29.0
    assert volumes.get(studies / "head.nii.gz", loaded)[1]


def test_a_changed_file_is_read_again(network: ServedNetwork, tmp_path: Path) -> None:
    volumes = DecodedVolumes(ServingOptions(tmp_path))
    file = tmp_path / "scan.nii.gz"
    for seed in (0, 1):
        nibabel.save(nibabel.Nifti1Image(scan((40, 40, 3), seed), np.eye(4)), file)
        os.utime(file, (seed, seed))
        volume, read = volumes.get(file, network.current())
        assert read
        np.testing.assert_array_equal(volume.session.image.array, scan((40, 40, 3), seed))
    assert len(volumes._kept) == 1


def test_memory_is_bounded(network: ServedNetwork, tmp_path: Path) -> None:
    studies = make_studies(tmp_path / "studies")
    volumes = DecodedVolumes(ServingOptions(tmp_path, cache_mb=4))
    for name in ("head.nii.gz", "hip.nii", "knee.nrrd", "wrist.mha"):
        volumes.get(studies / name, network.current())
    assert sum(volume.size for volume, _ in volumes._kept.values()) <= 4 * 2**20
    assert not volumes.get(studies / "wrist.mha", network.current())[1]


def test_what_is_not_decoded(network: ServedNetwork, tmp_path: Path) -> None:
    studies = make_studies(tmp_path / "studies")
    volumes = DecodedVolumes(ServingOptions(tmp_path, max_voxels=1000))
    with pytest.raises(HTTPException) as error:
        volumes.get(studies / "head.nii.gz", network.current())
    assert error.value.status_code == 422
    with pytest.raises(HTTPException) as error:
        volumes.get(studies / "notes.txt", network.current())
    assert error.value.status_code == 415
    with pytest.raises(FileNotFoundError):
        volumes.get(studies / "nothing.nii", network.current())
