from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import requests
from fastapi import HTTPException
from pydicom.dataset import Dataset

from adaptiveclick_med.data.dicom import read_dicom_series
from adaptiveclick_med.data.dicom_writing import write_dicom_series
from adaptiveclick_med.data.files import Volume, read_volume
from adaptiveclick_med.data.masks import read_dicom_seg
from adaptiveclick_med.label_app.pacs_client import Pacs
from adaptiveclick_med.label_app.pacs_store import PacsStore, segments_of
from tests.label_app.conftest import AFFINE, scan


class FakePacs:
    """What ``DICOMwebClient`` does, from files in memory."""

    base_url = "http://pacs.example/dicom-web"

    def __init__(self) -> None:
        self.files: list[Any] = []
        self.lost = 0
        self.calls: list[str] = []
        self.down = False

    def _where(self, **wanted: str) -> list[Any]:
        if self.down:
            raise requests.ConnectionError("no route")
        return [file for file in self.files if all(str(file.get(key, "")) == value for key, value in wanted.items())]

    def search_for_series(self, *, search_filters: dict[str, str], get_remaining: bool) -> list[dict[str, Any]]:
        self.calls.append("search")
        found = {file.SeriesInstanceUID: file for file in self._where(**search_filters)}
        return [_json(file) for file in found.values()]

    def search_for_instances(self, study: str, series: str) -> list[dict[str, Any]]:
        return [_json(file) for file in self._where(StudyInstanceUID=study, SeriesInstanceUID=series)]

    def iter_series(self, study: str, series: str) -> Iterator[Any]:
        self.calls.append("fetch")
        found = self._where(StudyInstanceUID=study, SeriesInstanceUID=series)
        yield from found[self.lost :]

    def retrieve_series_metadata(self, study: str, series: str) -> list[dict[str, Any]]:
        self.calls.append("metadata")
        return [_json(file) for file in self._where(StudyInstanceUID=study, SeriesInstanceUID=series)]

    def store_instances(self, datasets: list[Any]) -> Dataset:
        self._where()
        self.calls.append("store")
        self.files.extend(datasets)
        return Dataset()


def _json(file: Any) -> dict[str, Any]:
    copy = pydicom.Dataset({element.tag: element for element in file if element.VR not in ("OB", "OW", "UN")})
    return dict(copy.to_json_dict())


@pytest.fixture
def pacs(tmp_path: Path) -> FakePacs:
    fake = FakePacs()
    for number, modality in enumerate(("CT", "MR")):
        volume = Volume(scan((40, 44, 7), number), np.diag([0.8, 0.75, 2.5, 1.0]))
        for file in write_dicom_series(tmp_path / modality, volume, modality=modality):
            fake.files.append(pydicom.dcmread(file))
    return fake


@pytest.fixture
def store(pacs: FakePacs, tmp_path: Path) -> PacsStore:
    filters = [{"Modality": "CT"}, {"Modality": "MR"}]
    return PacsStore(Pacs(pacs, filters, refresh=0.0), tmp_path / "cache", ["liver", "tumor"])


def _series(pacs: FakePacs, modality: str) -> str:
    return str(next(file.SeriesInstanceUID for file in pacs.files if file.Modality == modality))


def _mask() -> np.ndarray:
    labels = np.zeros((40, 44, 7), np.uint8)
    labels[5:15, 6:20, 2:4] = 1
    labels[8:10, 6:8, 3] = 2
    return labels


def _saved(store: PacsStore, uid: str, labels: np.ndarray, folder: Path, names: Any = None) -> str:
    image = nibabel.load(store.get_image_uri(uid))
    nibabel.save(nibabel.Nifti1Image(labels, image.affine), folder / "label.nii.gz")
    return store.save_label(uid, str(folder / "label.nii.gz"), "final", {"label_info": names} if names else {})


def test_all_modalities_are_listed(store: PacsStore, pacs: FakePacs) -> None:
    assert set(store.list_images()) == {_series(pacs, "CT"), _series(pacs, "MR")}
    assert store.status() == {"total": 2, "completed": 0, "label_tags": {}}


def test_a_series_is_fetched_once_and_exact(store: PacsStore, pacs: FakePacs, tmp_path: Path) -> None:
    uid = _series(pacs, "MR")
    found, original = read_volume(store.get_image_uri(uid)), read_dicom_series(tmp_path / "MR").read()
    np.testing.assert_array_equal(found.array, original.array)
    np.testing.assert_allclose(found.affine, original.affine, atol=1e-5)
    pacs.down = True
    assert os.path.isfile(store.get_image_uri(uid))
    assert pacs.calls.count("fetch") == 1
    pacs.down = False
    assert store.get_image_info(uid)["Modality"] == "MR"


def test_a_part_of_a_series_is_not_taken_for_all(store: PacsStore, pacs: FakePacs) -> None:
    uid = _series(pacs, "CT")
    pacs.lost = 2
    with pytest.raises(HTTPException) as error:
        store.get_image_uri(uid)
    assert error.value.status_code == 502
    assert "5 of 7" in str(error.value.detail)
    pacs.lost = 0
    assert read_volume(store.get_image_uri(uid)).array.shape == (40, 44, 7)


def test_what_the_pacs_does_not_have(store: PacsStore, pacs: FakePacs) -> None:
    with pytest.raises(HTTPException) as error:
        store.get_image_uri("1.2.3")
    assert error.value.status_code == 404
    assert store.get_image_uri("../../etc/passwd") == ""
    known = store.status()
    pacs.down = True
    with pytest.raises(requests.ConnectionError):
        store.get_image_uri("1.2.3")
    assert len(store.list_images()) == 2
    assert store.status() == known


def test_a_final_label_becomes_a_coded_segmentation(store: PacsStore, pacs: FakePacs, tmp_path: Path) -> None:
    uid = _series(pacs, "CT")
    names = [{"name": "liver", "idx": 1, "color": [10, 20, 30, 255]}, {"name": "tumor", "idx": 2}]
    _saved(store, uid, _mask(), tmp_path, names)
    stored = next(file for file in pacs.files if file.Modality == "SEG")
    stored.save_as(tmp_path / "stored.dcm")
    labels, segments = read_dicom_seg(tmp_path / "stored.dcm", read_dicom_series(tmp_path / "CT"))
    np.testing.assert_array_equal(labels, _mask())
    assert [(segment.number, segment.name) for segment in segments] == [(1, "liver"), (2, "tumor")]
    assert stored.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert store.get_labeled_images() == [uid]
    assert store.get_unlabeled_images() == [_series(pacs, "MR")]
    np.testing.assert_array_equal(read_volume(store.get_label_uri(uid, "final")).array, _mask())


def test_a_segmentation_of_somebody_else_is_read(pacs: FakePacs, tmp_path: Path, store: PacsStore) -> None:
    uid = _series(pacs, "CT")
    _saved(store, uid, _mask(), tmp_path)
    elsewhere = PacsStore(Pacs(pacs, [{"Modality": "CT"}], refresh=0.0), tmp_path / "other", ["liver", "tumor"])
    entries = elsewhere.datalist()
    assert len(entries) == 1
    np.testing.assert_array_equal(read_volume(entries[0]["label"]).array, _mask())
    np.testing.assert_array_equal(read_volume(entries[0]["image"]).array, read_volume(tmp_path / "CT").array)


def test_a_segmentation_that_many_ask_for_at_once_is_fetched_once(
    pacs: FakePacs, tmp_path: Path, store: PacsStore
) -> None:
    uid = _series(pacs, "CT")
    _saved(store, uid, _mask(), tmp_path)
    elsewhere = PacsStore(Pacs(pacs, [{"Modality": "CT"}], refresh=60.0), tmp_path / "other", ["liver", "tumor"])
    elsewhere.get_image_uri(uid)
    before = pacs.calls.count("fetch")
    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(lambda _: elsewhere.get_label_uri(uid, "final"), range(8)))
    assert pacs.calls.count("fetch") == before + 1
    assert len(set(files)) == 1
    np.testing.assert_array_equal(read_volume(files[0]).array, _mask())


def test_bare_bytes_of_ohif_are_a_label(store: PacsStore, pacs: FakePacs, tmp_path: Path) -> None:
    uid = _series(pacs, "MR")
    (tmp_path / "label.bin").write_bytes(_mask().tobytes("F"))
    store.save_label(uid, str(tmp_path / "label.bin"), "final", {"label_info": [{"name": "liver"}, {"name": "tumor"}]})
    np.testing.assert_array_equal(read_volume(store.get_label_uri(uid, "final")).array, _mask())
    (tmp_path / "label.bin").write_bytes(b"\1" * 10)
    with pytest.raises(HTTPException) as error:
        store.save_label(uid, str(tmp_path / "label.bin"), "final", {})
    assert error.value.status_code == 422
    np.testing.assert_array_equal(read_volume(store.get_label_uri(uid, "final")).array, _mask())


def test_an_empty_label_and_a_wrong_grid_are_refused(store: PacsStore, pacs: FakePacs, tmp_path: Path) -> None:
    uid = _series(pacs, "CT")
    for labels in (_mask() * 0, _mask()[1:]):
        with pytest.raises(HTTPException) as error:
            _saved(store, uid, labels, tmp_path)
        assert error.value.status_code == 422
    assert not any(file.Modality == "SEG" for file in pacs.files)


@pytest.mark.parametrize("value", [-1.0, 0.5, 65537.0, np.inf])
def test_a_label_of_other_numbers_is_refused(store: PacsStore, pacs: FakePacs, tmp_path: Path, value: float) -> None:
    with pytest.raises(HTTPException, match="from 0 to 65535"):
        _saved(store, _series(pacs, "CT"), np.where(_mask(), value, 0.0), tmp_path)
    assert not any(file.Modality == "SEG" for file in pacs.files)


def test_other_labels_stay_in_the_cache(store: PacsStore, pacs: FakePacs, tmp_path: Path) -> None:
    uid = _series(pacs, "CT")
    image = nibabel.load(store.get_image_uri(uid))
    nibabel.save(nibabel.Nifti1Image(_mask(), image.affine), tmp_path / "label.nii.gz")
    store.save_label(uid, str(tmp_path / "label.nii.gz"), "original", {})
    assert not any(file.Modality == "SEG" for file in pacs.files)
    np.testing.assert_array_equal(read_volume(store.get_label_uri(uid, "original")).array, _mask())


def test_names_of_segments() -> None:
    labels = np.array([0, 1, 3], np.uint8)
    found = segments_of(labels, {"label_info": [{"name": "spleen"}, {"name": "x"}, "?"]}, ["liver", "tumor"])
    assert [(each.number, each.name) for each in found] == [(1, "spleen"), (3, "segment 3")]
    assert segments_of(np.array([2]), {}, ["liver", "tumor"])[0].name == "tumor"
    with pytest.raises(HTTPException, match="label_info must be a list"):
        segments_of(labels, {"label_info": 5}, [])
    assert AFFINE.shape == (4, 4)
