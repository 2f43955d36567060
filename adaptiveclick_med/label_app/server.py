"""Starting MONAI Label with this app, without its habits of writing into the package and the home folder."""

from __future__ import annotations

import json
import logging
import logging.config
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from monailabel.config import settings

from adaptiveclick_med import _torchvision  # noqa: F401
from adaptiveclick_med.label_app.serving_options import ServingOptions, is_remote

__all__ = ["serve"]

_FORMAT = "[%(asctime)s] [%(process)s] [%(threadName)s] [%(levelname)s] (%(name)s:%(lineno)d) - %(message)s"


def serve(studies: str, conf: Mapping[str, str], *, host: str, port: int, level: str = "INFO") -> None:
    """Serve until the process is stopped.

    Args:
        studies: folder of the studies, or address of a PACS (DICOMweb).
        conf: see :class:`ServingOptions`.
        host: address to listen on.
        port: to listen on.
        level: of the log.

    Raises:
        ValueError: when an option is unknown or cannot be used.
        FileNotFoundError: when there is no such folder.
    """
    import uvicorn

    known = [field.name for field in fields(ServingOptions)]
    unknown = [key for key in conf if key not in known]
    if unknown:
        raise ValueError(f"There is no option {unknown[0]!r}; known ones are {', '.join(known)}.")
    if not is_remote(studies):
        studies = os.path.realpath(Path(studies).expanduser())
        if not os.path.isdir(studies):
            raise FileNotFoundError(f"There is no folder of studies {studies}.")
    options = ServingOptions.from_conf(conf, studies)
    conf = {**conf, "work_dir": str(options.work_dir)}
    (options.work_dir / "logs").mkdir(parents=True, exist_ok=True)
    log = _logging(options.work_dir / "logs" / "app.log", level)
    logging.config.dictConfig(log)

    settings.MONAI_LABEL_SERVER_PORT = port
    settings.MONAI_LABEL_APP_DIR = str(Path(__file__).parent)
    settings.MONAI_LABEL_STUDIES = studies
    settings.MONAI_LABEL_APP_CONF = dict(conf)
    for key, value in settings.model_dump().items():  # trainings run in processes of their own
        if value is not None:
            os.environ[key] = json.dumps(value, default=str) if isinstance(value, (dict, list)) else str(value)
    os.environ.setdefault("PYTHONPATH", "")
    os.environ.setdefault("MPLCONFIGDIR", str(options.work_dir / "matplotlib"))
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

    import monailabel.app
    from monailabel.interfaces.utils.app import app_instance

    app_instance()
    uvicorn.run(monailabel.app.app, host=host, port=port, log_config=log, access_log=False)


def _logging(file: Path, level: str) -> dict[str, Any]:
    """Return a logging configuration: to the terminal and to a file that is rotated."""
    rotating = {
        "class": "logging.handlers.RotatingFileHandler",
        "formatter": "plain",
        "filename": str(file),
        "maxBytes": 10 * 2**20,
        "backupCount": 5,
        "encoding": "utf-8",
        "delay": True,
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": _FORMAT}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}, "file": rotating},
        "root": {"level": level, "handlers": ["console", "file"]},
        "loggers": {name: {"level": "WARNING"} for name in ("urllib3", "PIL", "matplotlib", "filelock", "timeloop")},
    }
