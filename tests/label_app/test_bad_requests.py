from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.label_app.conftest import Server

CLICK: dict[str, Any] = {"foreground": [[16, 14, 2]], "background": []}


@pytest.mark.parametrize(
    ("image", "model", "params", "status", "words"),
    [
        ("head", "adaptiveclick_2d", {}, 422, "foreground"),
        ("head", "adaptiveclick_2d", {"foreground": [[16, 14]]}, 400, "three numbers"),
        ("head", "adaptiveclick_2d", {"foreground": [16, 14, 2]}, 400, "three numbers"),
        ("head", "adaptiveclick_2d", {"foreground": [[16, "x", 2]]}, 400, "three numbers"),
        ("head", "adaptiveclick_2d", {"foreground": [[True, 1, 2]]}, 400, "three numbers"),
        ("head", "adaptiveclick_2d", {"foreground": {"a": 1}}, 400, "list of voxels"),
        ("head", "adaptiveclick_2d", {"foreground": "[[1, 2"}, 400, "list of voxels"),
        ("head", "adaptiveclick_2d", {"foreground": [[float("nan"), 14, 2]]}, 400, "finite"),
        ("head", "adaptiveclick_2d", {"foreground": [[float("inf"), 14, 2]]}, 400, "finite"),
        ("head", "adaptiveclick_2d", {"foreground": [[10**400, 14, 2]]}, 400, "finite"),
        ("head", "adaptiveclick_2d", {"foreground": [[48, 14, 2]]}, 422, "48 x 40 x 6"),
        ("head", "adaptiveclick_2d", {"foreground": [[16, 14, -1]]}, 422, "another series"),
        ("head", "adaptiveclick_2d", {**CLICK, "background": [[400, 300, 90]]}, 422, "(400, 300, 90)"),
        ("head", "adaptiveclick_2d", {"foreground": [], "background": [[16, 14, 2]]}, 422, "first must be"),
        ("head", "adaptiveclick_3d", {"foreground": [], "background": [[16, 14, 2]]}, 422, "first must be"),
        ("head", "adaptiveclick_2d", {**CLICK, "slice": 6}, 422, "from 0 to 5"),
        ("head", "adaptiveclick_2d", {**CLICK, "slice": 1.5}, 400, "whole number"),
        ("head", "adaptiveclick_2d", {**CLICK, "label": "spleen"}, 422, "liver, tumor"),
        ("head", "adaptiveclick_2d", {**CLICK, "candidate": 10}, 422, "0 to 9"),
        ("head", "adaptiveclick_2d", {**CLICK, "candidate": -1}, 400, "from 0"),
        ("head", "adaptiveclick_2d", {**CLICK, "roi": [1, 2, 3]}, 400, "six"),
        ("head", "adaptiveclick_2d", {**CLICK, "result_extension": ".exe"}, 422, ".seg.nrrd"),
        ("head", "adaptiveclick_2d", {**CLICK, "result_dtype": "float32"}, 422, "uint16"),
        ("head", "adaptiveclick_3d", {**CLICK, "direction": "left"}, 422, "both, up, down"),
        ("head", "adaptiveclick_3d", {**CLICK, "until": 0}, 400, "from 1"),
        ("head", "adaptiveclick_2d", {"foreground": [[1, 1, 1]] * 101}, 422, "100"),
        ("head", "adaptiveclick_2d", {**CLICK, "image": "/etc/passwd"}, 400, "image"),
        ("head", "adaptiveclick_2d", {**CLICK, "model": "other"}, 400, "model"),
        ("head", "segmentation", CLICK, 404, "adaptiveclick_2d"),
        ("nobody", "adaptiveclick_2d", CLICK, 404, "nobody"),
        ("", "adaptiveclick_2d", CLICK, 400, "image"),
        ("/etc/passwd", "adaptiveclick_2d", CLICK, 400, "plain name"),
        ("../studies/head.nii.gz", "adaptiveclick_2d", CLICK, 400, "plain name"),
        ("head\x00", "adaptiveclick_2d", CLICK, 400, "plain name"),
        ("cut_off", "adaptiveclick_2d", CLICK, 422, "cut_off"),
    ],
)
def test_what_is_wrong_is_said(
    server: Server, image: str, model: str, params: dict[str, Any], status: int, words: str
) -> None:
    answer = server.post(image, model, **params)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000, '"x"', "\x00"])
def test_params_must_be_a_json_object(server: Server, text: str) -> None:
    form = {"params": (None, text)}
    answer = requests.post(f"{server.url}/infer/adaptiveclick_2d", params={"image": "head"}, files=form, timeout=60)
    assert answer.status_code == (422 if text == "" else 400), answer.text


def test_an_image_removed_under_the_server_is_gone(server: Server) -> None:
    (server.studies / "passing.nii.gz").write_bytes((server.studies / "head.nii.gz").read_bytes())
    for _ in range(100):
        if server.post("passing", **CLICK).status_code == 200:
            break
    assert server.post("passing", **CLICK).status_code == 200
    (server.studies / "passing.nii.gz").unlink()
    assert server.post("passing", **CLICK).status_code == 404
    assert server.lives()


def test_uploads_must_be_volumes(server: Server) -> None:
    form = {"params": (None, json.dumps(CLICK)), "file": ("picture.png", b"no picture")}
    answer = requests.post(f"{server.url}/infer/adaptiveclick_2d", files=form, timeout=60)
    assert answer.status_code == 415
    form["file"] = ("scan.nii.gz", b"no scan")
    answer = requests.post(f"{server.url}/infer/adaptiveclick_2d", files=form, timeout=60)
    assert answer.status_code == 422
    assert "cannot read image.nii.gz" in answer.json()["detail"]
    assert "/" not in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/model/adaptiveclick_2d", 403),
        ("DELETE", "/model/adaptiveclick_2d", 403),
        ("GET", "/proxy/dicom/studies", 403),
        ("POST", "/reload", 403),
        ("POST", "/batch/infer/adaptiveclick_2d", 404),
        ("POST", "/infer/wsi/adaptiveclick_2d", 404),
        ("POST", "/train/nothing", 404),
        ("POST", "/train/adaptiveclick?run_sync=true", 400),
        ("PUT", "/session/?uncompress=true", 400),
        ("POST", "/activelearning/nothing", 404),
        ("POST", "/scoring/nothing", 404),
        ("GET", "/session/nothing", 404),
        ("GET", "/session/%2e%2e", 400),
        ("GET", "/datastore/image?image=nobody", 404),
        ("GET", "/datastore/image?image=..%2Fwork%2Flogs%2Fapp.log", 400),
        ("GET", "/datastore/label?label=head&tag=..%2F..", 400),
        ("DELETE", "/datastore/image?id=nobody", 404),
        ("POST", "/infer/adaptiveclick_2d?session_id=nothing", 404),
        ("POST", "/infer/adaptiveclick_2d?image=head&output=dicom_seg", 422),
    ],
)
def test_places_that_are_closed(server: Server, method: str, path: str, status: int) -> None:
    form = {"file": ("x.nii.gz", b"x"), "params": (None, json.dumps(CLICK))} if method in ("PUT",) else None
    data = {"params": json.dumps(CLICK)} if "/infer/" in path else None
    answer = requests.request(method, f"{server.url}{path}", files=form, data=data, timeout=60)
    assert answer.status_code == status, answer.text


def test_pages_of_other_sites_are_kept_out(server: Server) -> None:
    evil = {"Origin": "http://elsewhere.example"}
    form = {"params": (None, json.dumps(CLICK))}
    url = f"{server.url}/infer/adaptiveclick_2d?image=head"
    assert requests.post(url, files=form, headers=evil, timeout=60).status_code == 403
    assert requests.post(url, files=form, headers={"Origin": server.url}, timeout=60).status_code == 200
    answer = requests.get(f"{server.url}/info/", headers=evil, timeout=60)
    assert "access-control-allow-origin" not in answer.headers


def test_100_mb_of_points_are_not_read(server: Server) -> None:
    answer = requests.post(
        f"{server.url}/infer/adaptiveclick_2d?image=head", data=b"[[1,2,3]]" * 11_000_000, timeout=120
    )
    assert answer.status_code == 413
    assert server.lives()


def test_the_server_lives_after_all_that(server: Server) -> None:
    assert server.lives()
    assert "Traceback" not in server.log
