"""Precision, compiling and int8 from the command line: what is run, and what the results tell of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adaptiveclick_med.cli import app
from adaptiveclick_med.evaluation import Method
from adaptiveclick_med.inference import AcceleratedNetwork
from adaptiveclick_med.networks import AdaptiveClick
from adaptiveclick_med.weights import save_weights, start_network


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = start_network("AdaptiveClick", "nano", image_size=64, intensity_window="bone")
    return save_weights(tmp_path_factory.mktemp("weights") / "w.safetensors", network)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_evaluate(picture_folder: Path, weights: Path, tmp_path: Path) -> None:
    common = ("evaluate", "--dataset", "folder", "--dataset_dir", picture_folder, "--weights", weights)
    common += ("--max_clicks", 2, "--device", "cpu", "--output_dir")
    run(*common, tmp_path / "exact")
    run(*common, tmp_path / "fast", "--precision", "bfloat16", "--quantize", "int8")
    exact, fast = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("exact", "fast"))
    changed = {"precision": "bfloat16", "quantize": "int8"}
    assert {key: value for key, value in fast["facts"].items() if key not in exact["facts"]} == changed
    assert fast["facts"]["network"] == "AdaptiveClick" and fast["facts"]["sha256"] == exact["facts"]["sha256"]
    assert len(fast["objects"]) == 6 and fast["objects"] != exact["objects"]
    with pytest.raises(ValueError, match="other"):
        run(*common, tmp_path / "fast", "--quantize", "int8")


def test_segment(picture_folder: Path, weights: Path, tmp_path: Path) -> None:
    picture = next((picture_folder / "images").iterdir())
    common = ("segment", picture, tmp_path / "mask.png", "--weights", weights, "--click", "20,20", "--device", "cpu")
    assert "Mask: " in run(*common, "--precision", "bfloat16")
    with pytest.raises(ValueError, match="precision must be one of float32, bfloat16 on a CPU, got 'float16'"):
        run(*common, "--precision", "float16")


class TestMethod:
    def test_what_it_makes(self, weights: Path) -> None:
        plain = Method.create(weights=weights, device="cpu")
        fast = Method.create(weights=weights, device="cpu", quantize="int8")
        assert isinstance(plain.network, AdaptiveClick) and isinstance(fast.network, AcceleratedNetwork)
        assert fast.facts == {**plain.facts, "quantize": "int8"}
        assert fast.network.intensity == plain.network.intensity and fast.network.intensity is not None

    def test_exported_networks_are_as_they_were_exported(self, tmp_path: Path) -> None:
        (tmp_path / "m.onnx").touch()
        with pytest.raises(ValueError, match="precision, compile cannot go with an exported network"):
            Method.create(weights=tmp_path / "m.onnx", precision="bfloat16", compile=True)
