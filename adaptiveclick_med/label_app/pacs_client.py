"""A PACS that is reached by DICOMweb: searching, fetching whole series, storing."""

from __future__ import annotations

import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests  # type: ignore[import-untyped]
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMwebClientX
from pydicom.dataset import Dataset
from requests.adapters import HTTPAdapter  # type: ignore[import-untyped]

from adaptiveclick_med.label_app.problems import problem

__all__ = ["FoundSeries", "Pacs", "open_pacs"]

logger = logging.getLogger(__name__)

_CONNECT, _READ = 5.0, 60.0
"""Seconds to wait for a connection, and for the next bytes of an answer."""

_KEPT = ("StudyDate", "StudyTime", "Modality", "PatientID", "StudyInstanceUID", "SeriesDescription")


@dataclass(frozen=True)
class FoundSeries:
    """What the PACS says of a series.

    Attributes:
        uid: SeriesInstanceUID.
        study: StudyInstanceUID.
        info: attributes by keyword, as texts.
    """

    uid: str
    study: str
    info: dict[str, str]


class _Patience(HTTPAdapter):
    """Waits, but not for ever."""

    def send(self, request: Any, **options: Any) -> Any:
        options["timeout"] = options.get("timeout") or (_CONNECT, _READ)
        return super().send(request, **options)


def open_pacs(url: str) -> Any:
    """Return a DICOMweb client with MONAI Label's settings (user, password, prefixes; Google's credentials)."""
    if "googleapis.com" in url:
        from dicomweb_client.ext.gcp.session_utils import create_session_from_gcp_credentials

        session = create_session_from_gcp_credentials()
    else:
        session = requests.Session()
        user = settings.MONAI_LABEL_DATASTORE_USERNAME or settings.MONAI_LABEL_DICOMWEB_USERNAME
        if user:
            session.auth = (user, settings.MONAI_LABEL_DATASTORE_PASSWORD or settings.MONAI_LABEL_DICOMWEB_PASSWORD)
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Patience())
    client = DICOMwebClientX(
        url=url,
        session=session,
        qido_url_prefix=settings.MONAI_LABEL_QIDO_PREFIX,
        wado_url_prefix=settings.MONAI_LABEL_WADO_PREFIX,
        stow_url_prefix=settings.MONAI_LABEL_STOW_PREFIX,
    )
    client.set_http_retry_params(max_attempts=2, wait_exponential_multiplier=250)
    return client


class Pacs:
    """What the store needs of a PACS.

    Args:
        client: a ``dicomweb_client.DICOMwebClient``.
        filters: of the series that are images, each a dictionary by keyword.
        refresh: seconds for which a list of series is believed.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        client: Any,
        filters: Sequence[dict[str, Any]],
        *,
        refresh: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self._filters = list(filters)
        self._refresh = refresh
        self._clock = clock
        self._lock = threading.RLock()
        self._lists: dict[str, tuple[float, Any]] = {}
        self._references: dict[str, tuple[str, str] | None] = {}

    def images(self) -> dict[str, FoundSeries]:
        """Return the series that are images, by SeriesInstanceUID."""

        def search() -> dict[str, FoundSeries]:
            found = [series for each in self._filters for series in self._search(each)]
            return {series.uid: series for series in found if series.info.get("Modality") != "SEG"}

        return dict(self._remembered("images", search))

    def segmentations(self) -> dict[str, FoundSeries]:
        """Return the newest segmentation of each image, by the image's SeriesInstanceUID."""

        def search() -> dict[str, FoundSeries]:
            newest: dict[str, tuple[str, FoundSeries]] = {}
            for series in self._search({"Modality": "SEG"}):
                refers = self._refers_to(series)
                if refers is not None and refers[1] >= newest.get(refers[0], ("",))[0]:
                    newest[refers[0]] = (refers[1], series)
            return {image: series for image, (_, series) in newest.items()}

        return dict(self._remembered("segmentations", search))

    def find(self, uid: str) -> FoundSeries:
        """Return one series.

        Raises:
            HTTPException: 404 when the PACS does not have it.
        """
        known = self._lists.get("images")
        if known is not None and uid in known[1]:
            found: FoundSeries = known[1][uid]
            return found
        for series in self._search({"SeriesInstanceUID": uid}):
            if series.uid == uid:
                return series
        raise problem(404, f"The PACS has no series {uid} (any more).")

    def fetch(self, series: FoundSeries, folder: Path) -> None:
        """Fetch a series; the folder appears with all of its files or not at all.

        Raises:
            HTTPException: 404 when the PACS does not have it; 502 when it sends only a part.
        """
        expected = {
            str(Dataset.from_json(each)["SOPInstanceUID"].value)
            for each in self.client.search_for_instances(series.study, series.uid)
        }
        if not expected:
            raise problem(404, f"The PACS has no images of the series {series.uid} (any more).")
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.with_name(f".fetching-{uuid.uuid4().hex}")
        partial.mkdir()
        try:
            came = set()
            for number, instance in enumerate(self.client.iter_series(series.study, series.uid)):
                came.add(str(instance.SOPInstanceUID))
                instance.save_as(partial / f"{number:06d}.dcm", write_like_original=False)
            if not expected <= came:
                raise problem(
                    502, f"The PACS sent {len(expected & came)} of {len(expected)} images of the series {series.uid}."
                )
            if folder.exists():
                shutil.rmtree(folder)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def store(self, dataset: Any) -> None:
        """Store a file.

        Raises:
            HTTPException: 502 when the PACS does not take it.
        """
        answer = self.client.store_instances([dataset])
        if len(getattr(answer, "FailedSOPSequence", None) or []) > 0:
            raise problem(502, "The PACS did not take the segmentation.")
        with self._lock:
            self._lists.pop("segmentations", None)

    def _remembered(self, name: str, search: Callable[[], Any]) -> Any:
        with self._lock:
            known = self._lists.get(name)
            if known is None or self._clock() - known[0] > self._refresh:
                try:
                    found = search()
                except requests.RequestException as error:
                    if known is None:
                        raise
                    logger.warning("The PACS cannot be asked; its last list of %s is used: %s", name, error)
                    found = known[1]
                known = (self._clock(), found)
                self._lists[name] = known
            return known[1]

    def _search(self, filters: dict[str, Any]) -> list[FoundSeries]:
        found = []
        for each in self.client.search_for_series(search_filters=filters, get_remaining=True):
            dataset = Dataset.from_json(each)
            info = {name: str(dataset[name].value) for name in _KEPT if name in dataset and dataset[name].value}
            if info.get("StudyInstanceUID"):
                found.append(FoundSeries(str(dataset.SeriesInstanceUID), info["StudyInstanceUID"], info))
        return found

    def _refers_to(self, series: FoundSeries) -> tuple[str, str] | None:
        """Return which series a segmentation was drawn on, and when it was made."""
        if series.uid not in self._references:
            found = None
            for each in self.client.retrieve_series_metadata(series.study, series.uid)[:1]:
                dataset = Dataset.from_json(each)
                referred = dataset.get("ReferencedSeriesSequence") or []
                made = f"{dataset.get('ContentDate', '')}{dataset.get('ContentTime', '')}"
                found = (str(referred[0].SeriesInstanceUID), made) if len(referred) else None
            self._references[series.uid] = found
        return self._references[series.uid]
