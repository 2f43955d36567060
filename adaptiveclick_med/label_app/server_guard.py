"""What stands before every request: sizes, places, and how many at once."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers

from adaptiveclick_med.label_app.serving_options import MIB, ServingOptions

__all__ = ["Guard", "refusal_of"]

logger = logging.getLogger(__name__)

_NAMES = ("image", "id", "label", "tag", "session_id", "model", "strategy", "method")
_SAFE = ("GET", "HEAD", "OPTIONS")
_PLAIN = re.compile(r"(?!\.)[^/\\\x00-\x1f\x7f]{1,255}")
_UPLOADS = ("/datastore", "/session", "/model")
_DRAINED = 256 * MIB


@dataclass(frozen=True)
class Refusal:
    """Why a request is not let in.

    Attributes:
        status: HTTP status.
        detail: the reason.
        retry_after: seconds.
    """

    status: int
    detail: str
    retry_after: int | None = None


def refusal_of(
    method: str, path: str, query: str, headers: Headers, options: ServingOptions, origins: Iterable[str]
) -> Refusal | None:
    """Decide by a request's first lines alone.

    Args:
        method: of the request.
        path: decoded, without the prefix of the API.
        query: not decoded.
        headers: of the request.
        options: of the server.
        origins: other sites whose pages may send requests.
    """
    if any(part in ("..", ".") or "\\" in part or "\x00" in part for part in _plain(path).split("/")):
        return Refusal(400, "The path must not leave the server's own.")
    values = parse_qsl(query, keep_blank_values=True)
    for key, value in values:
        if key in _NAMES and value and not _PLAIN.fullmatch(value):
            return Refusal(400, f"{key} must be a plain name without separators, got {value[:80]!r}.")
    chosen = dict(values)
    if any(chosen.get(key, "false").lower() not in ("false", "0", "off", "no") for key in ("run_sync", "uncompress")):
        return Refusal(400, "run_sync and uncompress are not supported.")
    origin = headers.get("origin")
    if method not in _SAFE and origin and urlsplit(origin).netloc != headers.get("host") and origin not in origins:
        return Refusal(403, f"Pages of {origin} may not send requests here; see MONAI_LABEL_CORS_ORIGINS.")
    return _refused_place(method, path, options)


def _plain(path: str) -> str:
    """Return a path without escapes; one that is escaped twice would leave the PACS's own path only there."""
    while (plain := unquote(path)) != path:
        path = plain
    return path


def _refused_place(method: str, path: str, options: ServingOptions) -> Refusal | None:
    if path.startswith("/model/") and method not in _SAFE and not options.allow_model_upload:
        return Refusal(403, "Weights cannot be replaced or removed through the server (allow_model_upload is false).")
    if path == "/proxy" or path.startswith("/proxy/"):
        if not options.allow_proxy:
            return Refusal(403, "The PACS cannot be reached through the server (allow_proxy is false).")
        if method not in _SAFE:
            return Refusal(403, "The PACS can only be read through the server.")
    if path == "/reload":
        return Refusal(403, "Restart the server instead.")
    if path.startswith(("/infer/wsi/", "/infer/wsi_v2/", "/batch/")):
        return Refusal(404, "Every answer here needs clicks: use /infer/adaptiveclick_2d or /infer/adaptiveclick_3d.")
    return None


class Guard:
    """An ASGI application around another.

    Args:
        app: what answers to the requests that are let in.
        options: of the server.
        prefix: of the API's paths.
        origins: other sites whose pages may send requests.
    """

    def __init__(self, app: Callable[..., Any], options: ServingOptions, prefix: str, origins: Iterable[str]) -> None:
        self.app = app
        self._options = options
        self._prefix = prefix
        self._origins = tuple(origins)
        self._running = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer to one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, headers = scope["path"].removeprefix(self._prefix), Headers(scope=scope)
        query = scope.get("query_string", b"").decode("latin-1")
        refusal = refusal_of(scope["method"], path, query, headers, self._options, self._origins)
        upload = scope["method"] == "PUT" and path.startswith(_UPLOADS)
        limit = (self._options.max_upload_mb if upload else self._options.max_body_mb) * MIB
        refusal = refusal or _too_large(headers, limit)
        clicking = scope["method"] == "POST" and path.startswith("/infer/")
        if refusal is None and clicking and self._running >= self._options.max_requests:
            refusal = Refusal(503, f"The server answers {self._running} requests already; try again in a moment.", 2)
        if refusal is not None:
            logger.warning("%s %s: %d, %s", scope["method"], path, refusal.status, refusal.detail)
            await _refuse(refusal, receive, send)
            return
        self._running += clicking
        try:
            await self.app(scope, _limited(receive, limit), send)
        finally:
            self._running -= clicking


def _too_large(headers: Headers, limit: int) -> Refusal | None:
    length = headers.get("content-length", "0")
    if not length.isdecimal():
        return Refusal(400, "content-length must be a number.")
    if int(length) > limit:
        return Refusal(413, f"The request of {int(length)} bytes is too large: at most {limit} are read.")
    return None


def _limited(receive: Any, limit: int) -> Any:
    """Count what is read, for requests that do not tell their length."""
    read = 0

    async def counted() -> Any:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > limit:
            raise HTTPException(413, f"The request is too large: at most {limit} bytes are read.")
        return message

    return counted


async def _refuse(refusal: Refusal, receive: Any, send: Any) -> None:
    """Answer at once; then let go what the client still sends, so that it comes to read the answer."""
    body = json.dumps({"detail": refusal.detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers.append((b"connection", b"close"))
    if refusal.retry_after is not None:
        headers.append((b"retry-after", str(refusal.retry_after).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    dropped, more = 0, True
    while more and dropped <= _DRAINED:
        message = await receive()
        if message["type"] != "http.request":
            break
        dropped += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.body", "body": b""})
