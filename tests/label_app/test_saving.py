from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import requests
from monailabel.client import MONAILabelClient

from adaptiveclick_med.data.files import read_volume
from tests.label_app.conftest import AFFINE, Server


def _label(folder: Path, name: str, array: Any, affine: Any = AFFINE) -> str:
    folder.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), folder / name)
    return str(folder / name)


def test_a_label_is_saved_and_read_back(client: MONAILabelClient, server: Server, tmp_path: Path) -> None:
    mask = np.zeros((48, 40, 6), np.uint8)
    mask[10:20, 10:20, 2] = 1
    mask[12:14, 10:14, 2] = 2
    names = [{"name": "liver", "idx": 1}, {"name": "tumor", "idx": 2}]
    client.save_label("head", _label(tmp_path, "a.nii.gz", mask), params={"label_info": names})
    saved = client.datastore()["objects"]["head"]["labels"]["final"]
    assert saved["info"]["label_info"] == names
    np.testing.assert_array_equal(read_volume(client.download_label("head", "final")).array, mask)
    assert (server.studies / "labels" / "final" / "head.nii.gz").is_file()


def test_a_label_that_does_not_fit_leaves_the_old_one(client: MONAILabelClient, server: Server, tmp_path: Path) -> None:
    mask = np.ones((40, 48, 5), np.uint8)
    plain = np.diag([1.0, 1.0, 4.0, 1.0])
    client.save_label("hip", _label(tmp_path, "good.nii.gz", mask, plain))
    moved = plain.copy()
    moved[0, 3] = 30
    whole = Path(_label(tmp_path, "good.nii.gz", mask, plain)).read_bytes()
    bad = {
        "grid.nii.gz": (Path(_label(tmp_path, "grid.nii.gz", mask[:, :, 1:], plain)).read_bytes(), 422),
        "place.nii.gz": (Path(_label(tmp_path, "place.nii.gz", mask, moved)).read_bytes(), 422),
        "half.nii.gz": (whole[: len(whole) // 2], 422),
        "text.nii.gz": (b"no label", 422),
        "label.txt": (b"no label", 415),
    }
    for name, (content, status) in bad.items():
        answer = requests.put(
            f"{server.url}/datastore/label", params={"image": "hip"}, files={"label": (name, content)}, timeout=60
        )
        assert answer.status_code == status, (name, answer.text)
        assert answer.json()["detail"]
    answer = requests.put(
        f"{server.url}/datastore/label", params={"image": "nobody"}, files={"label": ("a.nii.gz", whole)}, timeout=60
    )
    assert answer.status_code == 404
    np.testing.assert_array_equal(read_volume(client.download_label("hip", "final")).array, mask)
    assert server.lives()


def test_another_format_replaces_the_old_file(client: MONAILabelClient, server: Server, tmp_path: Path) -> None:
    client.save_label("knee", str(server.studies / "knee.nrrd"), tag="test")
    file, _ = client.infer(
        "adaptiveclick_2d", "knee", {"foreground": [[12, 12, 1]], "background": [], "result_extension": ".nii.gz"}
    )
    client.save_label("knee", file, tag="test")
    assert [path.name for path in (server.studies / "labels" / "test").iterdir()] == ["knee.nii.gz"]


def test_images_are_added_and_never_replaced_by_others(
    client: MONAILabelClient, server: Server, tmp_path: Path
) -> None:
    first = _label(tmp_path, "first.nii.gz", np.arange(32 * 36 * 3, dtype=np.int16).reshape(32, 36, 3))
    other = _label(tmp_path, "other.nii.gz", np.ones((32, 36, 3), np.int16))
    assert client.upload_image(first, "added")["image"] == "added"
    assert client.upload_image(first, "added")["image"] == "added"
    answer = requests.put(
        f"{server.url}/datastore/image",
        params={"image": "added"},
        files={"file": ("x.nii.gz", Path(other).read_bytes())},
        timeout=60,
    )
    assert answer.status_code == 409
    assert read_volume(server.studies / "added.nii.gz").array.max() == 32 * 36 * 3 - 1
    answer = requests.put(f"{server.url}/datastore/image", files={"file": ("x.png", b"png")}, timeout=60)
    assert answer.status_code == 415
    answer = requests.put(
        f"{server.url}/datastore/image",
        params={"image": "../outside"},
        files={"file": ("x.nii.gz", Path(other).read_bytes())},
        timeout=60,
    )
    assert answer.status_code == 400
    assert not (server.studies.parent / "outside.nii.gz").exists()


def test_the_next_image_is_chosen(client: MONAILabelClient) -> None:
    first = client.next_sample("never_seen", {})
    second = client.next_sample("never_seen", {})
    assert {first["id"], second["id"]} <= set(client.datastore()["objects"])
    assert first["id"] != second["id"]


def test_a_dicom_series_in_the_folder_is_downloaded_as_a_volume(server: Server) -> None:
    answer = requests.get(f"{server.url}/datastore/image", params={"image": "ct_series"}, timeout=60)
    assert answer.status_code == 200
    file = server.work_dir.parent / "downloaded.nii.gz"
    file.write_bytes(answer.content)
    assert read_volume(file).array.shape == read_volume(server.studies / "ct_series").array.shape


def test_a_restart_changes_no_answer_and_loses_no_label(start_server: Callable[..., Server], tmp_path: Path) -> None:
    server = start_server()
    client = server.client(tmp_path / "client")
    assert requests.get(f"{server.url}/datastore/dataset", timeout=60).status_code == 404
    params = {"foreground": [[16, 14, 2], [20, 18, 2]], "background": [[40, 30, 2]], "slice": 2}
    before, _ = client.infer("adaptiveclick_2d", "head", dict(params))
    content = Path(before).read_bytes()
    client.save_label("head", before, params={"label_info": [{"name": "liver", "idx": 1}]})
    server.stop()
    (server.work_dir / "sessions" / "half-made").mkdir()
    server.start()
    after, _ = client.infer("adaptiveclick_2d", "head", dict(params))
    assert Path(after).read_bytes() == content
    saved = client.datastore()["objects"]["head"]["labels"]["final"]["info"]
    assert saved["label_info"] == [{"name": "liver", "idx": 1}]
    assert requests.get(f"{server.url}/datastore/dataset", timeout=60).status_code == 200
    index = json.loads((server.studies / "datastore_v2.json").read_text())
    assert index["objects"]["head"]["labels"]["final"]["info"]["label_info"]
    server.stop()
