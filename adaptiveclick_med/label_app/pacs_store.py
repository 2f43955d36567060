"""Studies in a PACS: images come as exact volumes, labels go back as DICOM segmentations."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import DataModel, ImageLabelModel
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.exception import ImageNotFoundException
from numpy.typing import NDArray

from adaptiveclick_med.data.dicom import DicomSeries, read_dicom_series
from adaptiveclick_med.data.files import read_volume
from adaptiveclick_med.data.masks import Segment, read_dicom_seg, write_dicom_seg, write_volume
from adaptiveclick_med.label_app.pacs_client import FoundSeries, Pacs
from adaptiveclick_med.label_app.problems import problem
from adaptiveclick_med.label_app.study_folder import StudyFolder, check_label

__all__ = ["PacsStore", "segments_of"]

logger = logging.getLogger(__name__)

_UID = re.compile(r"[0-9][0-9.]{0,63}")
_FINAL = DefaultLabelTag.FINAL.value


class PacsStore(DICOMWebDatastore, StudyFolder):
    """A PACS. An image's name is its SeriesInstanceUID.

    Series are fetched when they are asked for, checked (see :func:`read_dicom_series`), and kept as NIfTI in a cache.
    Final labels become DICOM segmentations in the PACS, other labels stay in the cache.

    Args:
        pacs: the PACS.
        cache: folder.
        labels: names of what users segment, for labels that do not tell.
    """

    def __init__(self, pacs: Pacs, cache: str | Path, labels: Sequence[str]) -> None:
        self.pacs = pacs
        self._names = list(labels)
        self._fetching: dict[str, threading.Lock] = {}
        DICOMWebDatastore.__init__(self, pacs.client, {}, str(cache), False, True)
        folder = Path(self._datastore_path)  # which is watched; DICOM files lie beside it
        self._dicom = folder.with_name(f"{folder.name}-dicom")

    def _to_id(self, file: str) -> tuple[str, str]:
        return StudyFolder._to_id(self, file)

    def list_images(self) -> list[str]:
        """Return the SeriesInstanceUIDs of all images."""
        return list(self.pacs.images())

    def get_labeled_images(self, label_tag: str | None = None, labels: Sequence[str] | None = None) -> list[str]:
        """Return the images that have a segmentation in the PACS."""
        images, segmented = self.pacs.images(), self.pacs.segmentations()
        return [uid for uid in images if uid in segmented]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: Sequence[str] | None = None) -> list[str]:
        """Return the images that have no segmentation in the PACS."""
        images, segmented = self.pacs.images(), self.pacs.segmentations()
        return [uid for uid in images if uid not in segmented]

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """Return what is known of an image."""
        known = self.pacs.images().get(image_id)
        return {**({} if known is None else known.info), **StudyFolder.get_image_info(self, image_id)}

    def get_image_uri(self, image_id: str) -> str:
        """Return the file of an image, fetched from the PACS when it is not here; empty when that is no UID.

        Raises:
            HTTPException: 404 when the PACS does not have it, 502 when it sends only a part.
            ValueError: when the series is no regular volume.
            requests.RequestException: when the PACS cannot be reached.
        """
        if not _UID.fullmatch(image_id):
            return ""
        file = Path(self._datastore.image_path()) / f"{image_id}.nii.gz"
        with self._alone(image_id):
            if not (file.is_file() and self._folder(image_id).is_dir()):
                found = self.pacs.find(image_id)
                if not self._folder(image_id).is_dir():
                    self.pacs.fetch(found, self._folder(image_id))
                volume = read_dicom_series(self._folder(image_id)).read()
                write_volume(file, volume.array, volume.affine)
        if image_id not in self._datastore.objects:
            self._add(image_id, self.pacs.find(image_id))
        return os.path.realpath(file)

    def get_label_uri(self, label_id: str, label_tag: str, image_id: str = "") -> str:
        """Return the file of a label; a final one comes from the PACS when that has a newer one.

        Args:
            label_id: name of the image.
            label_tag: ``"final"`` or another tag.
            image_id: not used.
        """
        if str(getattr(label_tag, "value", label_tag)) == _FINAL and _UID.fullmatch(label_id):
            newest = self.pacs.segmentations().get(label_id)
            info = StudyFolder.get_label_info(self, label_id, _FINAL)
            if newest is not None and info.get("SeriesInstanceUID") != newest.uid:
                self._fetch_label(label_id, newest)
        return str(StudyFolder.get_label_uri(self, label_id, label_tag))

    def save_label(
        self,
        image_id: str,
        label_filename: str,
        label_tag: str,
        label_info: dict[str, Any] | None,
        label_id: str = "",
    ) -> str:
        """Save a label; a final one goes to the PACS as DICOM SEG.

        Args:
            image_id: SeriesInstanceUID of the image.
            label_filename: a volume on the image's grid, or ``.bin``: its bare bytes, as OHIF sends them.
            label_tag: ``"final"`` or another tag.
            label_info: ``label_info`` in it names the label's numbers, see :func:`segments_of`.
            label_id: not used.

        Raises:
            ImageNotFoundException: when there is no such image.
            HTTPException: when the label does not belong to the image, or the PACS does not take it.
            ValueError: when it cannot be read, or is empty.
        """
        image = self.get_image_uri(image_id)
        if not image:
            raise ImageNotFoundException(f"There is no image {image_id!r} (any more).")
        info = dict(label_info or {})
        series = read_dicom_series(self._folder(image_id))
        if label_filename.endswith(".bin"):
            labels = _from_bytes(Path(label_filename), series.shape)
        else:
            check_label(label_filename, image)
            labels = np.asarray(read_volume(label_filename).array)
        inside = labels.min(initial=0) >= 0 and labels.max(initial=0) <= 65535
        if labels.ndim != 3 or not inside or not np.array_equal(labels, np.round(labels)):
            raise problem(422, "A label for the PACS must hold whole numbers from 0 to 65535, one a voxel.")
        labels = labels.astype(np.uint16 if labels.max(initial=0) > 255 else np.uint8)
        if str(getattr(label_tag, "value", label_tag)) == _FINAL:
            info["SeriesInstanceUID"] = self._send(labels, series, segments_of(labels, info, self._names))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "label.nii.gz"
            write_volume(file, labels, series.affine)
            return self._put_label(image_id, str(file), label_tag, info)

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Return images and final labels as files, those in the PACS fetched."""
        for uid in self.get_labeled_images():
            try:
                self.get_image_uri(uid)
                self.get_label_uri(uid, _FINAL)
            except Exception:  # one series that cannot be used does not spoil the others
                logger.warning("The label of the series %s is left out.", uid, exc_info=True)
        return list(StudyFolder.datalist(self, full_path))

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any] | None) -> str:
        """Refuse: images come into a PACS by other ways.

        Raises:
            HTTPException: always.
        """
        raise problem(405, "Images cannot be added to the PACS from here.")

    def remove_image(self, image_id: str) -> None:
        """Refuse: images leave a PACS by other ways.

        Raises:
            HTTPException: always.
        """
        raise problem(405, "Images cannot be removed from the PACS from here.")

    def _folder(self, uid: str) -> Path:
        return self._dicom / "series" / uid

    def _alone(self, uid: str) -> threading.Lock:
        with self._turn:
            return self._fetching.setdefault(uid, threading.Lock())

    def _add(self, uid: str, found: FoundSeries) -> None:
        info = {**found.info, "SeriesInstanceUID": uid, "ts": int(time.time()), "name": f"{uid}.nii.gz"}
        with self._changing():
            self._datastore.objects.setdefault(uid, ImageLabelModel(image=DataModel(info=info, ext=".nii.gz")))

    def _send(self, labels: NDArray[Any], series: DicomSeries, segments: Sequence[Segment]) -> str:
        import pydicom

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "label.dcm"
            write_dicom_seg(file, labels, series, segments)
            dataset: Any = pydicom.dcmread(file)
            self.pacs.store(dataset)
        return str(dataset.SeriesInstanceUID)

    def _fetch_label(self, image_id: str, found: FoundSeries) -> None:
        self.get_image_uri(image_id)
        folder = self._dicom / "segmentations" / found.uid
        with self._alone(found.uid):
            if not folder.is_dir():
                self.pacs.fetch(found, folder)
        series = read_dicom_series(self._folder(image_id))
        labels, segments = read_dicom_seg(min(folder.iterdir()), series)
        file = Path(self._datastore.label_path(_FINAL)) / f"{image_id}.nii.gz"
        names = [{"name": segment.name, "idx": segment.number} for segment in segments]
        info = {"SeriesInstanceUID": found.uid, "label_info": names, "ts": int(time.time()), "name": file.name}
        write_volume(file, labels, series.affine)
        with self._changing():
            self._datastore.objects[image_id].labels[_FINAL] = DataModel(info=info, ext=".nii.gz")


def segments_of(labels: NDArray[Any], info: Mapping[str, Any], names: Sequence[str]) -> list[Segment]:
    """Return what the numbers in a label map stand for.

    Args:
        labels: [I, J, K].
        info: ``label_info``: a list of ``name`` and ``idx`` (of 3D Slicer) or ``name`` alone in the order of the
            numbers (of OHIF); also ``color``, (red, green, blue) from 0 to 255.
        names: of the app's labels, in the order of the numbers, where ``info`` does not tell.

    Raises:
        HTTPException: 400 when ``label_info`` is no list, 422 when the label is empty.
    """
    told: dict[int, dict[str, Any]] = {}
    entries = info.get("label_info") or []
    if not isinstance(entries, list):
        raise problem(400, f"label_info must be a list of names and numbers, got {type(entries).__name__}.")
    for place, entry in enumerate(entries):
        if isinstance(entry, dict):
            numbered = [entry[key] for key in ("idx", "id", "labelValue") if isinstance(entry.get(key), int)]
            told[numbered[0] if numbered else place + 1] = entry
    numbers = [int(number) for number in np.unique(labels) if number]
    if not numbers:
        raise problem(422, "The label is empty; an empty segmentation is not stored.")
    segments = []
    for number in numbers:
        entry = told.get(number, {})
        usual = names[number - 1] if number <= len(names) else f"segment {number}"
        color = entry.get("color")
        rgb = None
        if isinstance(color, (list, tuple)) and len(color) >= 3:
            rgb = (int(color[0]), int(color[1]), int(color[2]))
        segments.append(Segment(number, str(entry.get("name") or usual), color=rgb))
    return segments


def _from_bytes(file: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    values = np.fromfile(file, dtype=np.uint8)
    if values.size != np.prod(shape):
        raise problem(422, f"The label has {values.size} voxels, its image {' x '.join(map(str, shape))}.")
    return values.reshape(shape, order="F")
