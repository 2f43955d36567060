"""MONAI Label's endpoints, answered in threads and with an error that says why."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Optional

from fastapi import APIRouter, Depends, FastAPI, File, Form, Request, UploadFile
from fastapi.background import BackgroundTasks
from monailabel.config import settings
from monailabel.endpoints import activelearning, datastore, info, logs, model, scoring, session, train
from monailabel.endpoints.infer import ResultType, send_response
from monailabel.endpoints.proxy import proxy_dicom
from monailabel.endpoints.user.auth import RBAC, User
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, Response

from adaptiveclick_med.data.files import VOLUME_SUFFIXES, file_suffix
from adaptiveclick_med.label_app.click_request import read_json
from adaptiveclick_med.label_app.problems import answered, problem
from adaptiveclick_med.label_app.server_guard import Guard
from adaptiveclick_med.label_app.serving_options import MIB, ServingOptions

__all__ = ["install"]

logger = logging.getLogger(__name__)

_RESERVED = ("image", "model", "session", "session_id", "file", "image_name")
_NO_FILE, _NO_LABEL = File(None), File(None)
_USER = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))
_MODULES = (info, model, train, activelearning, scoring, datastore, logs, session)


def install(app: FastAPI, instance: Any, options: ServingOptions) -> None:
    """Put our routes before MONAI Label's, and the guard before all.

    MONAI Label answers in coroutines that never wait, so one request would hold up all others. Here every endpoint
    runs in a thread.

    Args:
        app: MONAI Label's.
        instance: our ``MONAILabelApp``.
        options: of the server.
    """
    prefix = settings.MONAI_LABEL_API_STR
    before = len(app.router.routes)
    app.include_router(_click_router(instance), prefix=prefix)
    app.include_router(_pacs_router(), prefix=prefix)
    for module in _MODULES:
        app.include_router(_threaded(module.router, instance), prefix=prefix)
    ours = app.router.routes[before:]
    del app.router.routes[before:]
    app.router.routes[:0] = ours
    origins = [str(origin).rstrip("/") for origin in settings.MONAI_LABEL_CORS_ORIGINS]
    stack = app.middleware_stack or app.build_middleware_stack()
    app.middleware_stack = Guard(_with_origins(stack, origins), options, prefix, origins)


def _with_origins(stack: Any, origins: list[str]) -> Any:
    """Let pages of these sites only read answers; MONAI Label lets all, with their cookies."""
    outer = stack
    while getattr(outer, "app", None) is not None:
        if isinstance(outer.app, CORSMiddleware):
            outer.app = CORSMiddleware(
                outer.app.app, allow_origins=origins, allow_credentials=True, allow_methods=["*"], allow_headers=["*"]
            )
            break
        outer = outer.app
    return stack


def _threaded(router: APIRouter, instance: Any) -> APIRouter:
    """Return the same routes with endpoints that run in threads."""
    twin = APIRouter()
    for route in router.routes:
        options = {"methods": route.methods, "include_in_schema": False, "status_code": route.status_code}
        twin.add_api_route(route.path, _in_thread(route.endpoint, instance), **options)
    return twin


def _in_thread(endpoint: Callable[..., Any], instance: Any) -> Callable[..., Any]:
    """Return an endpoint that is no coroutine and tells why it cannot answer."""
    if not inspect.iscoroutinefunction(endpoint):
        return endpoint

    def run(**arguments: Any) -> Any:
        with answered():
            _check_names(instance, endpoint, arguments)
            waiting = endpoint(**arguments)
            try:
                waiting.send(None)
            except StopIteration as end:
                return end.value
            except BaseException:
                _tidy(arguments.get("background_tasks"))
                raise
            finally:
                waiting.close()
            raise RuntimeError(f"{endpoint.__name__} waits for something.")

    run.__name__ = endpoint.__name__
    run.__signature__ = inspect.signature(endpoint)  # type: ignore[attr-defined]
    return run


def _tidy(tasks: BackgroundTasks | None) -> None:
    """Remove uploads that were set aside: after an error, FastAPI does not do what was left for later."""
    for task in [] if tasks is None else tasks.tasks:
        task.func(*task.args, **task.kwargs)


def _check_names(instance: Any, endpoint: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Check what MONAI Label would find out later, in another process."""
    known = {
        "api_run_model": ("model", instance._trainers),
        "api_run_method": ("method", instance._scoring_methods),
        "api_sample": ("strategy", instance._strategies),
    }.get(endpoint.__name__)
    if known is not None and arguments.get(known[0]) not in known[1]:
        raise problem(404, f"{known[0]} must be one of {', '.join(known[1])}, got {arguments.get(known[0])!r}.")
    if endpoint.__name__ == "api_download_dataset" and not instance.datastore().get_labeled_images():
        raise problem(404, "There is no final label yet, so there is no data set to download.")
    if endpoint.__name__ == "api_add_image":
        _check_upload(arguments["file"], VOLUME_SUFFIXES)
    elif endpoint.__name__ == "api_save_label":
        _check_upload(arguments["label"], (*VOLUME_SUFFIXES, ".bin"))
    for key in ("params", "info"):
        if isinstance(arguments.get(key), str):
            read_json(arguments[key])


def _check_upload(upload: UploadFile, suffixes: tuple[str, ...]) -> None:
    name = upload.filename or ""
    if name and file_suffix(name) not in suffixes:
        raise problem(415, f"A file of {', '.join(suffixes)} is expected, got {os.path.basename(name)[:80]!r}.")


def _click_router(instance: Any) -> APIRouter:
    router = APIRouter()

    def infer(
        background_tasks: BackgroundTasks,
        model: str,
        image: str = "",
        session_id: str = "",
        params: str = Form("{}"),
        file: Optional[UploadFile] = _NO_FILE,
        label: Optional[UploadFile] = _NO_LABEL,
        output: Optional[ResultType] = None,
        user: User = _USER,
    ) -> Any:
        with answered():
            if model not in instance._infers:
                raise problem(404, f"model must be one of {', '.join(instance._infers)}, got {model!r}.")
            asked = read_json(params)
            taken = [key for key in _RESERVED if key in asked]
            if taken:
                raise problem(400, f"params must not hold {', '.join(taken)}: pass them in the address.")
            if label is not None:
                raise problem(422, "A label is not used for clicks.")
            if output == ResultType.dicom_seg:
                raise problem(422, "DICOM SEG is written when a label is saved; ask for image, json or all.")
            with _image_of(instance, image, session_id, file) as path:
                result = instance.infer({**asked, "model": model, "image": path})
            answer = send_response(instance.datastore(), result, output, background_tasks)
            if isinstance(answer, FileResponse):
                answer.chunk_size = 8 * MIB
            return answer

    router.add_api_route("/infer/{model}", infer, methods=["POST"], include_in_schema=False)
    return router


def _pacs_router() -> APIRouter:
    """Let OHIF read the PACS; MONAI Label's own endpoint would hold up the server until the PACS answers."""
    router = APIRouter()

    def reader(op: str) -> Callable[..., Response]:
        def read(request: Request, path: str, user: User = _USER) -> Response:
            with answered():  # MONAI Label's proxy passes only the path on, and the query would be lost
                return asyncio.run(
                    proxy_dicom(request, op, f"{path}?{request.url.query}" if request.url.query else path)
                )

        return read

    for op in ("wado", "qido", ""):
        place = f"/proxy/dicom/{op}/{{path:path}}" if op else "/proxy/dicom/{path:path}"
        router.add_api_route(place, reader(op), methods=["GET"], include_in_schema=False)
    return router


@contextmanager
def _image_of(instance: Any, image: str, session_id: str, file: UploadFile | None) -> Iterator[str]:
    """Give what to click on: the name of an image of the studies, or the path of an upload.

    Raises:
        HTTPException: when there is none.
    """
    if session_id:
        sessions = instance.sessions()
        found = None if sessions is None else sessions.get_session(session_id)
        if found is None:
            raise problem(404, f"There is no session {session_id!r} (any more); send the image again.")
        yield found.image
    elif file is not None:
        _check_upload(file, VOLUME_SUFFIXES)
        with tempfile.TemporaryDirectory(prefix="upload-") as folder:
            path = os.path.join(folder, f"image{file_suffix(file.filename or '') or '.nii.gz'}")
            with open(path, "wb") as target:
                shutil.copyfileobj(file.file, target)
            yield path
    elif not image:
        raise problem(400, "Pass image, session_id or a file.")
    else:
        yield image
