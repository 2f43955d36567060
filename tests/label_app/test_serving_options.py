from __future__ import annotations

import re
from pathlib import Path

import pytest

from adaptiveclick_med.label_app.serving_options import ServingOptions


def test_defaults_lie_beside_the_studies(tmp_path: Path) -> None:
    options = ServingOptions.from_conf({}, str(tmp_path / "studies"))
    assert options.work_dir == tmp_path / "studies-server"
    assert options.weight_file == tmp_path / "studies-server" / "model" / "model.safetensors"
    assert options.labels == ("object",)
    assert (options.precision, options.quantize, options.compile) == ("float32", None, False)
    assert not options.allow_model_upload
    assert not options.allow_proxy
    assert ServingOptions.from_conf({}, "http://pacs.example/dicom-web").allow_proxy


def test_everything_comes_as_text(tmp_path: Path) -> None:
    conf = {
        "weights": str(tmp_path / "w.safetensors"),
        "labels": "liver, left kidney",
        "window": "-150,250",
        "channels": "0,2,1",
        "modalities": "CT,MR",
        "max_requests": "3",
        "precision": "bfloat16",
        "quantize": "int8",
        "compile": "true",
        "allow_model_upload": "True",
        "models": "of MONAI Label",
    }
    options = ServingOptions.from_conf(conf, str(tmp_path))
    assert options.weight_file == tmp_path / "w.safetensors"
    assert options.labels == ("liver", "left kidney")
    assert options.window == (-150.0, 250.0)
    assert options.channels == (0, 2, 1)
    assert options.modalities == ("CT", "MR")
    assert options.max_requests == 3
    assert (options.precision, options.quantize, options.compile) == ("bfloat16", "int8", True)
    assert options.allow_model_upload
    assert ServingOptions.from_conf({"channels": "2", "window": "bone"}, str(tmp_path)).channels == 2


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("preset", "giant", "nano"),
        ("labels", "a,a", "different names"),
        ("labels", "background", "background"),
        ("window", "1,2,3", "LOW,HIGH"),
        ("channels", "red", "0,1,2"),
        ("max_requests", "0", "at least 1"),
        ("cache_mb", "-1", "at least 0"),
        ("max_body_mb", "many", "whole number"),
        ("allow_proxy", "maybe", "true or false"),
    ],
)
def test_what_cannot_be_used_is_named(key: str, value: str, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"{key}.*{re.escape(allowed)}"):
        ServingOptions.from_conf({key: value}, "studies")


def test_an_unknown_option_is_named(tmp_path: Path) -> None:
    from adaptiveclick_med.label_app.server import serve

    with pytest.raises(ValueError, match=r"no option 'max_click'; known ones are work_dir, weights, .*max_clicks"):
        serve(str(tmp_path), {"max_click": "5"}, host="127.0.0.1", port=8000)
