"""Studies in a folder of the server: MONAI Label's own store, made safe for damaged files and several users."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore, LocalDatastoreModel
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException

from adaptiveclick_med._files import replacing
from adaptiveclick_med.data.files import VOLUME_SUFFIXES, file_suffix, is_volume, read_volume, volume_header
from adaptiveclick_med.label_app.problems import problem
from adaptiveclick_med.label_app.series_folders import SeriesFolders, holds_dicom

__all__ = ["StudyFolder", "check_label"]

logger = logging.getLogger(__name__)


def check_label(label: str | Path, image: str | Path) -> None:
    """Check that a label can be read and lies on its image's grid.

    Args:
        label: file of the label.
        image: file of the image, or folder of its DICOM series.

    Raises:
        HTTPException: 415 when it is no volume by its name, 422 when its grid is another.
        ValueError: when it cannot be read.
    """
    if not is_volume(label):
        raise problem(415, f"A label must be {', '.join(VOLUME_SUFFIXES)}, got {file_suffix(label) or 'no suffix'!r}.")
    shape, affine = volume_header(image)
    found = read_volume(label)
    if found.array.shape[:3] != shape:
        raise problem(
            422,
            f"The label has {' x '.join(map(str, found.array.shape[:3]))} voxels, its image "
            f"{' x '.join(map(str, shape))}: was it made for another image?",
        )
    corners = np.array([[i, j, k, 1.0] for i in (0, shape[0]) for j in (0, shape[1]) for k in (0, shape[2])])
    apart = np.linalg.norm((corners @ (found.affine - affine).T)[:, :3], axis=1).max()
    if apart > 0.1 * float(np.linalg.norm(affine[:3, :3], axis=0).min()):
        raise problem(422, f"The label lies elsewhere than its image: corners are up to {apart:.3g} mm apart.")


def _one_at_a_time(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method run while no other of its object does."""

    @wraps(method)
    def guarded(self: Any, *args: Any, **options: Any) -> Any:
        with self._turn:
            return method(self, *args, **options)

    return guarded


class StudyFolder(LocalDatastore):
    """A folder of volumes, and of folders with one DICOM series each.

    What it does beyond MONAI Label's store: it lists every format that is read here and passes over files that are
    being written; files and its own index appear whole or not at all; labels are checked before they take the place of
    older ones; threads and processes (a training is one) take turns, so that no entry of the index is lost.

    Args:
        datastore_path: the folder.
        auto_reload: notice files that come and go.
        read_only: do not look for new files at the start.
        series_dir: where DICOM series of the folder are kept as NIfTI files; ``None``: they are not listed.

    Raises:
        ValueError: when the index in the folder is damaged.
    """

    _config_ts: float

    def __init__(
        self,
        datastore_path: str | Path,
        *,
        auto_reload: bool = True,
        read_only: bool = False,
        series_dir: str | Path | None = None,
    ) -> None:
        self._turn = threading.RLock()
        self._index_lock: FileLock | None = None
        self._series = None if series_dir is None else SeriesFolders(series_dir)
        try:
            super().__init__(
                str(datastore_path),
                extensions=[f"*{suffix}" for suffix in VOLUME_SUFFIXES],
                auto_reload=auto_reload,
                read_only=read_only,
            )
        except ValueError as error:
            index = Path(datastore_path) / "datastore_v2.json"
            raise ValueError(f"{index} is damaged; restore it, or remove it to make it anew: {error}") from error
        if auto_reload:
            self._handler.on_moved = self._on_any_event
            self._handler.on_closed = self._on_any_event  # when a file was made, nothing was written to it yet

    def _to_id(self, file: str) -> tuple[str, str]:
        suffix = file_suffix(file)
        if suffix not in VOLUME_SUFFIXES:
            return file, ""
        return file[: len(file) - len(suffix)], file[len(file) - len(suffix) :]

    def _list_files(self, path: str, patterns: Sequence[str]) -> dict[str, str]:
        found = {}
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                try:
                    if self._is_image(path, entry):
                        found[entry.name] = entry.name
                except OSError as error:  # a link to nothing, a file that is gone or may not be read
                    logger.debug("%s is passed over: %s", entry.path, error)
        return found

    def _is_image(self, path: str, entry: os.DirEntry[str]) -> bool:
        if entry.is_dir():
            images = self._series is not None and os.path.samefile(path, self._datastore.image_path())
            return images and entry.name != self._datastore.labels_dir and holds_dicom(entry.path)
        return file_suffix(entry.name) in VOLUME_SUFFIXES and entry.stat().st_size > 0

    def list_images(self) -> list[str]:
        """Return the names of all images."""
        if self._series is not None and self._auto_reload:  # MONAI Label notices new files, and no new folders
            listed = set(self._list_files(self._datastore.image_path(), self._extensions))
            if any(self._to_id(name)[0] not in self._datastore.objects for name in listed):
                self.refresh()
        return list(super().list_images())

    def get_image_uri(self, image_id: str) -> str:
        """Return the file of an image, also of one that is a DICOM series; empty when there is no such image.

        Raises:
            ValueError: when the DICOM series is no regular volume.
        """
        if image_id not in self._datastore.objects and self._auto_reload:
            self.refresh()  # notice of a new file comes a moment later
        path = str(super().get_image_uri(image_id))
        return path if self._series is None or not os.path.isdir(path) else str(self._series.file(image_id, path))

    def _index(self) -> FileLock:
        """Return the lock of the index in the folder, for all threads and processes."""
        if self._index_lock is None:
            self._index_lock = FileLock(self._lock_file)
        return self._index_lock

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the index while it is changed, as it is on the disk now; write it at the end."""
        with self._turn, self._index():
            self._config_ts = 0.0
            self._init_from_datastore_file()
            yield
            self._update_datastore_file()

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        with self._turn, self._index():
            path = Path(self._datastore_config_path)
            if not path.exists() or path.stat().st_mtime == self._config_ts:
                return
            try:
                found = LocalDatastoreModel.model_validate_json(path.read_text())
            except ValueError:
                if throw_exception:
                    raise
                logger.exception("The index %s is damaged; what is known already is used.", path)
                return
            found.base_path = self._datastore_path
            self._datastore, self._config_ts = found, path.stat().st_mtime

    def _update_datastore_file(self, lock: bool = True) -> None:
        with self._turn, self._index():
            content = json.dumps(self._datastore.model_dump(exclude={"base_path"}), indent=2, default=str)
            with replacing(self._datastore_config_path) as temporary:
                temporary.write_text(content)
            self._config_ts = os.stat(self._datastore_config_path).st_mtime

    def _reconcile_datastore(self) -> None:
        with self._turn, self._index():
            super()._reconcile_datastore()

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Keep more information about an image.

        Raises:
            ImageNotFoundException: when there is no such image.
        """
        with self._changing():
            if image_id not in self._datastore.objects:
                raise ImageNotFoundException(f"There is no image {image_id!r} (any more).")
            self._datastore.objects[image_id].image.info.update(info)

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Keep more information about a label.

        Raises:
            LabelNotFoundException: when there is no such label.
        """
        with self._changing():
            label = self._datastore.label(label_id, str(getattr(label_tag, "value", label_tag)))
            if label is None:
                raise LabelNotFoundException(f"There is no label {label_tag!r} of {label_id!r} (any more).")
            label.info.update(info)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any] | None) -> str:
        """Add an image.

        Args:
            image_id: its name; empty: that of the file.
            image_filename: the file, which is copied.
            image_info: what else is known of it.

        Raises:
            HTTPException: 415 when it is no volume by its name; 409 when another image has that name.
            ValueError: when it cannot be read.
        """
        name, suffix = self._to_id(os.path.basename(image_filename))
        image_id = image_id or name
        if not is_volume(image_filename):
            raise problem(415, f"An image must be {', '.join(VOLUME_SUFFIXES)}, got {suffix or 'no suffix'!r}.")
        new = read_volume(image_filename)
        known = self.get_image_uri(image_id)
        if known and os.path.exists(known):
            old = read_volume(known)
            if not (np.array_equal(old.array, new.array) and np.allclose(old.affine, new.affine, atol=1e-4)):
                raise problem(409, f"There is another image named {image_id!r}; choose another name.")
            return image_id
        target = Path(self._datastore.image_path()) / self._filename(image_id, suffix)
        with self._changing():
            path = super().get_image_uri(image_id)
            if path and os.path.exists(path):  # somebody else was faster
                raise problem(409, f"There is another image named {image_id!r}; choose another name.")
            with replacing(target) as temporary:
                copyfile(image_filename, temporary)
            info = {**(image_info or {}), "ts": int(time.time()), "name": target.name}
            self._datastore.objects[image_id] = ImageLabelModel(image=DataModel(info=info, ext=suffix))
        return image_id

    def remove_image(self, image_id: str) -> None:
        """Remove an image and its labels; of an image that is a link, only the link.

        Raises:
            ImageNotFoundException: when there is no such image.
        """
        known = self._datastore.objects.get(image_id)
        if known is not None:
            path = Path(self._datastore.image_path()) / self._filename(image_id, known.image.ext)
            if path.is_symlink():
                path.unlink()  # what is left for MONAI Label, which would follow the link, is nothing
        super().remove_image(image_id)

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any] | None) -> str:
        """Save a label in the place of an older one with the same tag.

        Args:
            image_id: the image.
            label_filename: the file, which is copied.
            label_tag: ``"final"``, ``"original"`` or another tag.
            label_info: what else is known of it.

        Returns:
            The label's name.

        Raises:
            ImageNotFoundException: when there is no such image.
            HTTPException: when the label does not belong to the image; the old one stays.
            ValueError: when it cannot be read; the old one stays.
        """
        path = self.get_image_uri(image_id)
        if not path or not os.path.exists(path):
            raise ImageNotFoundException(f"There is no image {image_id!r} (any more).")
        check_label(label_filename, path)
        return self._put_label(image_id, label_filename, label_tag, label_info)

    def _put_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any] | None) -> str:
        """Let a label that was checked take the place of an older one."""
        tag = str(getattr(label_tag, "value", label_tag))
        _, suffix = self._to_id(os.path.basename(label_filename))
        target = Path(self._datastore.label_path(tag)) / self._filename(image_id, suffix)
        with self._changing():
            image = self._datastore.objects.get(image_id)
            if image is None:
                raise ImageNotFoundException(f"There is no image {image_id!r} (any more).")
            with replacing(target) as temporary:
                copyfile(label_filename, temporary)
            old = image.labels.get(tag)
            info = {**(label_info or {}), "ts": int(time.time()), "name": target.name}
            image.labels[tag] = DataModel(info=info, ext=suffix)
            if old is not None and old.ext != suffix:
                target.with_name(self._filename(image_id, old.ext)).unlink(missing_ok=True)
        logger.info("Saved the label %s of %s.", tag, image_id)
        return image_id


for _name in (
    *("datalist", "get_image_info", "get_label_uri", "get_labels_by_image_id", "get_label_info"),
    *("get_labeled_images", "get_unlabeled_images", "list_images", "remove_image", "remove_label", "status", "json"),
):
    setattr(StudyFolder, _name, _one_at_a_time(getattr(StudyFolder, _name)))
