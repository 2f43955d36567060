from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException

from adaptiveclick_med.label_app.server_guard import Guard
from adaptiveclick_med.label_app.serving_options import MIB, ServingOptions

ALLOWED = ServingOptions(Path("work"), max_body_mb=1, max_upload_mb=2, max_requests=1)


def _scope(method: str, path: str, query: str = "", **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": pairs}


class Wire:
    """Both ends of a request: what the client sends, and what it gets."""

    def __init__(self, *parts: bytes) -> None:
        self.left = list(parts)
        self.got: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        body = self.left.pop(0) if self.left else b""
        return {"type": "http.request", "body": body, "more_body": bool(self.left)}

    async def send(self, message: dict[str, Any]) -> None:
        self.got.append(message)

    @property
    def status(self) -> int:
        return int(self.got[0]["status"])

    @property
    def detail(self) -> str:
        return str(json.loads(self.got[1]["body"])["detail"])


async def _reads_all(scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})


def _ask(scope: dict[str, Any], *parts: bytes, options: ServingOptions = ALLOWED, prefix: str = "") -> Wire:
    wire = Wire(*parts)
    guard = Guard(_reads_all, options, prefix, ["https://viewer.example"])
    asyncio.run(guard(scope, wire.receive, wire.send))
    return wire


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_read() -> None:
    wire = _ask(_scope("POST", "/infer/m", content_length=str(MIB + 1)), b"x" * 10)
    assert wire.status == 413
    assert str(MIB) in wire.detail
    assert _ask(_scope("POST", "/infer/m", content_length=str(MIB))).status == 200
    assert _ask(_scope("PUT", "/datastore/label", content_length=str(2 * MIB))).status == 200
    assert _ask(_scope("PUT", "/datastore/label", content_length=str(2 * MIB + 1))).status == 413
    assert _ask(_scope("POST", "/infer/m", content_length="-5")).status == 400


def test_a_body_that_grows_too_large_is_not_read_on() -> None:
    with pytest.raises(HTTPException) as error:
        _ask(_scope("POST", "/infer/m"), *[b"x" * MIB] * 3)
    assert error.value.status_code == 413


def test_more_clicks_than_are_answered_at_once_are_turned_away() -> None:
    async def run() -> tuple[Wire, Wire, Wire]:
        free = asyncio.Event()

        async def waits(scope: Any, receive: Any, send: Any) -> None:
            await free.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        guard = Guard(waits, ALLOWED, "", [])
        first, second, third = Wire(), Wire(), Wire()
        scope = _scope("POST", "/infer/m")
        running = asyncio.create_task(guard(scope, first.receive, first.send))
        await asyncio.sleep(0)
        await guard(scope, second.receive, second.send)
        free.set()
        await running
        await guard(scope, third.receive, third.send)
        return first, second, third

    first, second, third = asyncio.run(run())
    assert (first.status, second.status, third.status) == (200, 503, 200)
    assert (b"retry-after", b"2") in second.got[0]["headers"]


@pytest.mark.parametrize("value", ["..", "a/b", "a\\b", "%00", ".hidden", "x" * 256, "%2e%2e%2fx"])
def test_names_stay_within_the_studies(value: str) -> None:
    for key in ("image", "id", "label", "tag", "session_id"):
        assert _ask(_scope("GET", "/datastore/image", f"{key}={value}")).status == 400
    assert _ask(_scope("GET", "/datastore/image", "image=1.2.840.10008&tag=final&label=left%20kidney")).status == 200


@pytest.mark.parametrize("step", ["..", "%2e%2e", "%252E%252e", ".%2e", "a%5c..", "%2e%2e%2fx"])
def test_a_path_stays_within_its_place_however_it_is_escaped(step: str) -> None:
    open_proxy = ServingOptions(Path("work"), allow_proxy=True)
    assert _ask(_scope("GET", f"/proxy/dicom/wado/{step}/system"), options=open_proxy).status == 400
    assert _ask(_scope("GET", "/proxy/dicom/wado/studies/1.2.3"), options=open_proxy).status == 200


def test_places_are_opened_by_options() -> None:
    upload = ServingOptions(Path("work"), allow_model_upload=True, allow_proxy=True)
    for method, path, closed, opened in (
        ("PUT", "/model/m", 403, 200),
        ("GET", "/model/info/m", 200, 200),
        ("GET", "/proxy/dicom/studies", 403, 200),
        ("POST", "/proxy/dicom/studies", 403, 403),
        ("GET", "/info/", 200, 200),
    ):
        assert _ask(_scope(method, path)).status == closed
        assert _ask(_scope(method, path), options=upload).status == opened
    assert _ask(_scope("POST", "/api/reload"), prefix="/api").status == 403


def test_other_sites() -> None:
    for origin, status in (
        ("https://viewer.example", 200),
        ("http://127.0.0.1:8000", 200),
        ("http://evil.example", 403),
        ("null", 403),
    ):
        assert _ask(_scope("POST", "/infer/m", origin=origin, host="127.0.0.1:8000")).status == status
        assert _ask(_scope("GET", "/info/", origin=origin, host="127.0.0.1:8000")).status == 200
