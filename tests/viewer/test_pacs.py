"""A PACS: Orthanc holds the images, our server answers to clicks on them and sends the masks back."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException

from adaptiveclick_med import __version__
from adaptiveclick_med.data.dicom import read_dicom_series
from adaptiveclick_med.data.dicom_writing import write_dicom_series
from adaptiveclick_med.data.files import read_volume
from adaptiveclick_med.data.masks import read_dicom_seg, write_volume

SPLEEN, LIVER = 1, 5
"""In the label map of the real CT."""


@pytest.fixture
def pacs(orthanc) -> DICOMwebClient:
    return DICOMwebClient(f"{orthanc.url}/dicom-web")


@pytest.fixture
def client(server, tmp_path) -> MONAILabelClient:
    """What 3D Slicer's module uses."""
    return MONAILabelClient(server.url, tmpdir=str(tmp_path))


def dice(mask, truth) -> float:
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def modality(series) -> str:
    return str(series["00080060"]["Value"][0])


def saved_segmentations(pacs, study) -> list[pydicom.Dataset]:
    """The segmentations that the PACS has of a study, as data sets with their pixels."""
    found = pacs.search_for_series(study.study_uid, search_filters={"Modality": "SEG"})
    uids = [series["0020000E"]["Value"][0] for series in found]
    return [instance for uid in uids for instance in pacs.retrieve_series(study.study_uid, uid)]


@pytest.mark.parametrize("name", ["upright", "tilted"])
def test_a_series_comes_back_as_it_was_stored(name, pacs, request, tmp_path):
    study = request.getfixturevalue(name)
    (found,) = pacs.search_for_series(search_filters={"SeriesInstanceUID": study.series.uid})
    assert found["00080060"]["Value"] == [study.series.modality]
    assert found["00201209"]["Value"] == [study.image.shape[2]]
    for number, instance in enumerate(pacs.retrieve_series(study.study_uid, study.series.uid)):
        instance.save_as(tmp_path / f"{number}.dcm", write_like_original=False)
    series = read_dicom_series(tmp_path)
    np.testing.assert_allclose(series.affine, study.series.affine, atol=1e-6)
    np.testing.assert_array_equal(series.read().array, study.image)


def test_the_server_counts_and_offers_what_the_pacs_has(client, pacs, upright, tilted):
    images = {series["0020000E"]["Value"][0] for series in pacs.search_for_series() if modality(series) != "SEG"}
    assert {upright.series.uid, tilted.series.uid} <= images
    assert client.info()["datastore"]["total"] == len(images)
    assert client.next_sample("random", {})["id"] in images


@pytest.mark.parametrize("name", ["upright", "tilted"])
def test_a_click_is_answered_by_series_uid(name, client, request):
    study = request.getfixturevalue(name)
    k = 7
    params = {"foreground": [list(study.middle(k))], "background": [], "result_extension": ".nrrd"}
    file, answer = client.infer("adaptiveclick_2d", study.series.uid, params)
    found = read_volume(file)
    assert found.array.shape == study.image.shape
    np.testing.assert_allclose(found.affine, study.series.affine, atol=1e-4)
    assert np.flatnonzero(found.array.any((0, 1))).tolist() == [k]
    assert dice(found.array[..., k] > 0, study.body[..., k]) > 0.95
    assert answer["clicks"] == 1


def test_a_click_is_carried_through_the_series(client, tilted):
    first, last = np.flatnonzero(tilted.body.any((0, 1)))[[0, -1]]
    k = int(first + last) // 2
    params = {"foreground": [list(tilted.middle(k))], "background": []}
    file, answer = client.infer("adaptiveclick_3d", tilted.series.uid, params)
    mask = read_volume(file).array > 0
    assert dice(mask, tilted.body) > 0.9
    assert {stop["direction"] for stop in answer["stops"]} == {"up", "down"}


def test_a_saved_label_becomes_a_segmentation_in_the_pacs(client, pacs, tilted, tmp_path):
    labels = np.zeros(tilted.image.shape, np.uint8)
    labels[tilted.body] = 1
    i, j, k = tilted.middle(7)
    labels[i : i + 6, j : j + 3, k : k + 2] = 2
    write_volume(tmp_path / "label.nii.gz", labels, tilted.series.affine)
    names = {"label_info": [{"name": "liver", "idx": 1}, {"name": "spleen", "idx": 2}]}
    client.save_label(tilted.series.uid, str(tmp_path / "label.nii.gz"), params=names)

    (saved,) = saved_segmentations(pacs, tilted)
    saved.save_as(tmp_path / "saved.dcm", write_like_original=False)
    back, segments = read_dicom_seg(tmp_path / "saved.dcm", tilted.series)
    np.testing.assert_array_equal(back, labels)
    assert [segment.name for segment in segments] == ["liver", "spleen"]

    assert saved.ReferencedSeriesSequence[0].SeriesInstanceUID == tilted.series.uid
    referred = saved.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    images = {str(item.ReferencedSOPInstanceUID) for item in referred}
    assert images == {str(header.SOPInstanceUID) for header in tilted.series.headers}
    assert saved.PatientName == tilted.series.headers[0].PatientName
    assert saved.FrameOfReferenceUID == tilted.series.headers[0].FrameOfReferenceUID
    liver = saved.SegmentSequence[0]
    code = liver.SegmentedPropertyTypeCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == ("10200004", "SCT", "Liver")
    assert liver.SegmentAlgorithmName == "AdaptiveClick"
    algorithm = liver.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("AdaptiveClick", __version__)


def test_a_series_that_comes_later_is_answered(client, store, upright, tmp_path):
    volume = upright.series.read()
    files = write_dicom_series(tmp_path / "later", volume, modality="MR", patient_name="Late^Phantom")
    uid = str(pydicom.dcmread(files[0]).SeriesInstanceUID)
    store(files)
    file, _ = client.infer("adaptiveclick_2d", uid, {"foreground": [list(upright.middle(6))], "background": []})
    assert dice(read_volume(file).array[..., 6] > 0, upright.body[..., 6]) > 0.95


def test_a_series_that_is_not_there_is_refused(client):
    with pytest.raises(MONAILabelClientException) as caught:
        client.infer("adaptiveclick_2d", "1.2.3.4", {"foreground": [[1, 1, 1]], "background": []})
    assert "404" in caught.value.msg and "1.2.3.4" in caught.value.msg


def test_the_proxy_reads_the_pacs_and_changes_nothing(server, pacs, upright, tilted):
    answer = requests.get(f"{server.url}/proxy/dicom/qido/studies", {"StudyInstanceUID": upright.study_uid}, timeout=60)
    assert [study["0020000D"]["Value"] for study in answer.json()] == [[upright.study_uid]]
    before = len(pacs.search_for_instances())
    for path in ("stow/studies", "wado/studies", f"studies/{tilted.study_uid}"):
        body = upright.series.files[0].read_bytes()
        refused = requests.post(
            f"{server.url}/proxy/dicom/{path}", body, headers={"Content-Type": "application/dicom"}, timeout=60
        )
        assert refused.status_code == 403
    assert len(pacs.search_for_instances()) == before


@pytest.mark.parity
def test_a_real_ct_is_clicked_on_and_its_organs_are_saved(client, pacs, store, shared, tmp_path):
    folder = shared / "data" / "CT_MR_example"
    volume, organs = read_volume(folder / "example_ct_sm.nii.gz"), read_volume(folder / "example_seg.nii.gz").array
    store(write_dicom_series(tmp_path / "ct", volume, patient_name="Real", window=(-150, 250)))
    series = read_dicom_series(tmp_path / "ct")
    np.testing.assert_allclose(series.affine, volume.affine, atol=1e-4)

    labels = np.where(organs == LIVER, 1, 0) + np.where(organs == SPLEEN, 2, 0)
    at = np.argwhere(labels == 1)[1000]
    file, _ = client.infer("adaptiveclick_2d", series.uid, {"foreground": [at.tolist()], "background": []})
    answer = read_volume(file)
    assert answer.array.shape == volume.array.shape
    np.testing.assert_allclose(answer.affine, volume.affine, atol=1e-4)

    write_volume(tmp_path / "organs.nrrd", labels.astype(np.uint8), volume.affine)
    names = {"label_info": [{"name": "liver", "idx": 1}, {"name": "spleen", "idx": 2}]}
    client.save_label(series.uid, str(tmp_path / "organs.nrrd"), params=names)
    (uid,) = {str(header.StudyInstanceUID) for header in series.headers}
    (found,) = pacs.search_for_series(uid, search_filters={"Modality": "SEG"})
    (saved,) = pacs.retrieve_series(uid, found["0020000E"]["Value"][0])
    saved.save_as(tmp_path / "saved.dcm", write_like_original=False)
    back, segments = read_dicom_seg(tmp_path / "saved.dcm", series)
    np.testing.assert_array_equal(back, labels)
    assert [(segment.name, segment.code) for segment in segments] == [
        ("liver", "10200004:SCT:Liver"),
        ("spleen", "78961009:SCT:Spleen"),
    ]
