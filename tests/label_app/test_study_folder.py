from __future__ import annotations

import json
import threading
from pathlib import Path

import nibabel
import numpy as np
import pytest
from fastapi import HTTPException
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException

from adaptiveclick_med.data.files import read_volume
from adaptiveclick_med.label_app import study_folder
from adaptiveclick_med.label_app.study_folder import StudyFolder
from tests.label_app.conftest import AFFINE, make_studies


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    return make_studies(tmp_path / "studies")


def _label(folder: Path, value: int = 1) -> str:
    path = folder / f"label{value}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.full((48, 40, 6), value, np.uint8), AFFINE), path)
    return str(path)


def test_two_processes_lose_no_entry(studies: Path, tmp_path: Path) -> None:
    server = StudyFolder(studies, auto_reload=False)
    training = StudyFolder(studies, auto_reload=False)
    server.save_label("head", _label(tmp_path), "final", {"label_info": [{"name": "liver", "idx": 1}]})
    training.update_image_info("hip", {"click_confidence": 0.5})
    training.update_label_info("head", "final", {"score": 0.75})
    server.update_image_info("head", {"seen": True})
    for store in (server, training, StudyFolder(studies, auto_reload=False)):
        store.refresh()
        assert store.get_label_info("head", "final")["label_info"] == [{"name": "liver", "idx": 1}]
        assert store.get_label_info("head", "final")["score"] == 0.75
        assert store.get_image_info("hip")["click_confidence"] == 0.5
        assert store.get_image_info("head")["seen"]


def test_many_threads_at_once(studies: Path, tmp_path: Path) -> None:
    store = StudyFolder(studies, auto_reload=False)
    labels = [_label(tmp_path, value) for value in range(1, 5)]

    def work(number: int) -> None:
        for _ in range(5):
            store.save_label("head", labels[number], f"user{number}", {"number": number})
            store.update_image_info("hip", {f"user{number}": number})
            store.status()
            store.refresh()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    index = json.loads((studies / "datastore_v2.json").read_text())["objects"]
    for number in range(4):
        assert index["head"]["labels"][f"user{number}"]["info"]["number"] == number
        assert index["hip"]["image"]["info"][f"user{number}"] == number
        assert read_volume(store.get_label_uri("head", f"user{number}")).array.max() == number + 1


def test_a_damaged_index_is_named(studies: Path) -> None:
    (studies / "datastore_v2.json").write_text("{")
    with pytest.raises(ValueError, match=r"datastore_v2\.json is damaged"):
        StudyFolder(studies, auto_reload=False)


def test_names_that_are_not_there(studies: Path, tmp_path: Path) -> None:
    store = StudyFolder(studies, auto_reload=False)
    assert store.get_image_uri("nobody") == ""
    with pytest.raises(ImageNotFoundException):
        store.save_label("nobody", _label(tmp_path), "final", {})
    with pytest.raises(ImageNotFoundException):
        store.update_image_info("nobody", {})
    with pytest.raises(LabelNotFoundException):
        store.update_label_info("head", "final", {})


def test_a_dicom_folder_becomes_a_file_again_when_it_changes(studies: Path, tmp_path: Path) -> None:
    store = StudyFolder(studies, auto_reload=False, series_dir=tmp_path / "series")
    assert "ct_series" in store.list_images()
    file = store.get_image_uri("ct_series")
    assert file == store.get_image_uri("ct_series")
    np.testing.assert_array_equal(read_volume(file).array, read_volume(studies / "ct_series").array)
    max((studies / "ct_series").iterdir()).unlink()
    assert read_volume(store.get_image_uri("ct_series")).array.shape[2] == read_volume(file).array.shape[2] - 1


def test_a_link_to_nothing_spoils_no_list(studies: Path) -> None:
    (studies / "gone.nii.gz").symlink_to(studies / "nothing.nii.gz")
    store = StudyFolder(studies, auto_reload=False)
    assert "head" in store.list_images()
    assert "gone" not in store.list_images()


def test_removing_an_image_that_is_a_link_leaves_what_it_points_to(studies: Path, tmp_path: Path) -> None:
    original = tmp_path / "original.nii.gz"
    (studies / "head.nii.gz").rename(original)
    (studies / "linked.nii.gz").symlink_to(original)
    store = StudyFolder(studies, auto_reload=False)
    store.save_label("linked", _label(tmp_path), "final", {})
    label = Path(store.get_label_uri("linked", "final"))
    store.remove_image("linked")
    store.remove_image("hip")
    assert original.is_file()
    assert not label.exists()
    assert not (studies / "linked.nii.gz").is_symlink()
    assert not (studies / "hip.nii").exists()
    assert not {"linked", "hip"} & set(store.list_images())
    with pytest.raises(ImageNotFoundException):
        store.remove_image("linked")


def test_of_two_images_of_one_name_the_first_stays(
    studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, faster = (StudyFolder(studies, auto_reload=False) for _ in range(2))

    def read(path: str) -> object:  # the other upload is complete after this one was found to be new
        monkeypatch.undo()
        volume = read_volume(path)
        faster.add_image("new", str(studies / "hip.nii"), {})
        return volume

    monkeypatch.setattr(study_folder, "read_volume", read)
    monkeypatch.setattr(StudyFolder, "get_image_uri", lambda self, name: "")
    with pytest.raises(HTTPException, match="another image named 'new'"):
        store.add_image("new", _label(tmp_path), {})
    assert (studies / "new.nii").read_bytes() == (studies / "hip.nii").read_bytes()
    assert not (studies / "new.nii.gz").exists()
