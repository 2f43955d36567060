"""The app: models, training and studies put together for MONAI Label."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.random import Random
from monailabel.utils.sessions import Sessions

from adaptiveclick_med import __version__
from adaptiveclick_med.label_app.click_tasks import ClickTask
from adaptiveclick_med.label_app.decoded_volumes import DecodedVolumes
from adaptiveclick_med.label_app.pacs_client import Pacs, open_pacs
from adaptiveclick_med.label_app.pacs_store import PacsStore
from adaptiveclick_med.label_app.problems import problem
from adaptiveclick_med.label_app.scoring import ClickScore
from adaptiveclick_med.label_app.served_network import ServedNetwork
from adaptiveclick_med.label_app.serving_options import ServingOptions, is_remote
from adaptiveclick_med.label_app.strategies import LeastConfident, NeverSeen
from adaptiveclick_med.label_app.study_folder import StudyFolder
from adaptiveclick_med.label_app.tasks_training import FineTune

__all__ = ["AdaptiveClickApp"]

logger = logging.getLogger(__name__)


class AdaptiveClickApp(MONAILabelApp):
    """MONAI Label's app for AdaptiveClick.

    Args:
        app_dir: folder of ``main.py``; nothing is written there.
        studies: folder of the studies, or address of a PACS.
        conf: see :class:`ServingOptions`.

    Raises:
        FileNotFoundError: when the weight file of the options does not exist.
        ValueError: when an option cannot be used.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.options = ServingOptions.from_conf(conf or {}, studies)
        _choose_folders(self.options.work_dir)
        self.network = ServedNetwork(self.options)
        self.volumes = DecodedVolumes(self.options)
        super().__init__(
            app_dir,
            studies,
            conf,
            name="AdaptiveClick",
            description="Click on an object, get its mask; click again where it is wrong",
            version=__version__,
            labels=list(self.options.labels),
        )
        self._auto_update_scoring = self.options.auto_scoring
        serving = sys.modules.get("monailabel.app")
        if serving is not None:  # not in the processes that train
            from adaptiveclick_med.label_app.server_routes import install

            self.network.check()
            install(serving.app, self, self.options)

    def init_datastore(self) -> Datastore:
        """Open the studies."""
        if is_remote(self.studies):
            self.studies: str = self.studies.rstrip("/").strip()
            return self.init_remote_datastore()
        return StudyFolder(
            self.studies,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
            series_dir=self.options.work_dir / "series",
        )

    def init_remote_datastore(self) -> Datastore:
        """Open a PACS, or what else MONAI Label's settings name."""
        if settings.MONAI_LABEL_DATASTORE.lower() in ("xnat", "dsa"):
            return super().init_remote_datastore()
        filters: list[dict[str, Any]] = [{"Modality": modality} for modality in self.options.modalities]
        if settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER != {"Modality": "CT"}:  # which is MONAI Label's default
            filters = [settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER]
        pacs = Pacs(open_pacs(self.studies), filters)
        return PacsStore(pacs, settings.MONAI_LABEL_DICOMWEB_CACHE_PATH, self.options.labels)

    def init_infers(self) -> dict[str, InferTask]:
        """Make the models that viewers show."""
        return {
            f"adaptiveclick_{dimension}d": ClickTask(self.network, self.volumes, self.options, dimension)
            for dimension in (2, 3)
        }

    def init_trainers(self) -> dict[str, TrainTask]:
        """Make the training."""
        return {
            "adaptiveclick": FineTune(
                self.network.path,
                self.options.work_dir,
                self.options.bundle,
                window=self.options.window,
                channels=self.options.channels,
            )
        }

    def init_strategies(self) -> dict[str, Strategy]:
        """Make the rules by which the next image is chosen."""
        scaling: dict[str, Any] = {"window": self.options.window, "channels": self.options.channels}
        least = LeastConfident(self.network.path, lambda: self.network.current().network, **scaling)
        return {"never_seen": NeverSeen(), "least_confident": least, "random": Random()}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """Make what measures the weights in use."""
        return {"clicks": ClickScore(self.network.path, window=self.options.window, channels=self.options.channels)}

    def image_path(self, image_id: str) -> str:
        """Return the file of an image of the studies.

        Raises:
            HTTPException: 404 when there is none (any more).
        """
        path = str(self.datastore().get_image_uri(image_id) or "")
        if not path or not os.path.exists(path):
            raise problem(404, f"There is no image {image_id!r} in the studies (any more).")
        return path

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Answer to clicks.

        Args:
            request: ``model``, ``image`` (an id, or the absolute path of an upload) and the parameters.
            datastore: not used; images are the app's.

        Raises:
            HTTPException: when the request cannot be answered.
        """
        task = self._infers.get(request.get("model"))
        if task is None:
            raise problem(404, f"model must be one of {', '.join(self._infers)}, got {request.get('model')!r}.")
        image = str(request["image"])
        upload = os.path.isabs(image)
        path = image if upload else self.image_path(image)
        file, answer = task({**request, "image": path, "image_name": "" if upload else image})
        return {"label": file, "tag": DefaultLabelTag.ORIGINAL, "file": file, "params": answer}

    def _load_sessions(self, load: bool = False) -> Sessions | None:
        return _Sessions(settings.MONAI_LABEL_SESSION_PATH, settings.MONAI_LABEL_SESSION_EXPIRY) if load else None


class _Sessions(Sessions):
    """Sessions of which a half-made one does no harm."""

    def remove_expired(self) -> int:
        """Remove what is too old; what has no description yet is an upload on its way, until it is that old."""
        folder, now, count = Path(self.store_path), time.time(), 0
        for path in folder.iterdir() if folder.is_dir() else ():
            if not path.is_dir():
                continue
            try:
                found = self.get_session(path.name, update_ts=False, fetch_cache=False)
                last, most = (
                    (path.stat().st_mtime, self.expiry) if found is None else (found.last_access_ts, found.expiry)
                )
            except FileNotFoundError:  # its image was gone, so it was removed
                continue
            except ValueError:  # the description is being written, or only half of it was
                last, most = path.stat().st_mtime, self.expiry
            if most > 0 and last + most < now:
                self.remove_session(path.name)
                count += 1
        return count


def _choose_folders(work_dir: Path) -> None:
    """Let MONAI Label keep its files in our folder instead of the user's home.

    Raises:
        ValueError: when the folder cannot be made.
    """
    try:
        for name in ("model", "sessions", "logs"):
            (work_dir / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"work_dir {work_dir} cannot be made: {error.strerror}; choose another.") from error
    settings.MONAI_LABEL_SESSION_PATH = settings.MONAI_LABEL_SESSION_PATH or str(work_dir / "sessions")
    settings.MONAI_LABEL_DICOMWEB_CACHE_PATH = settings.MONAI_LABEL_DICOMWEB_CACHE_PATH or str(work_dir / "pacs")
