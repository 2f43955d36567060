"""The command ``export``, and what it wrote in the place of weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from adaptiveclick_med import cli
from adaptiveclick_med.evaluation import DataSetChoice, Method
from adaptiveclick_med.export import load_exported, load_model
from adaptiveclick_med.weights import default_path, save_weights, start_network


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arguments = {"depth": 2, "click_decoder_layers": 3, "pixel_decoder_layers": 1}
    network = start_network("AdaptiveClick", "nano", image_size=64, network_arguments=arguments)
    with torch.no_grad():
        network.click_decoder.click_head.bias[1] += 1.0
    return save_weights(tmp_path_factory.mktemp("weights") / "w.safetensors", network)


@pytest.fixture(scope="module")
def exported(weights: Path) -> Path:
    target = weights.with_name("m.xml")
    output = run("export", weights, target)
    assert output.splitlines()[0] == "AdaptiveClick for 64 x 64 pixels, format openvino."
    assert "logits: differs from the network by at most" in output and f"Written to {target}." in output
    return target


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_size_and_format(weights: Path, tmp_path: Path) -> None:
    run("export", weights, tmp_path / "m", "--format", "torchscript", "--image_size", 72)
    assert load_exported(tmp_path / "m.ts").image_size == (72, 72)


def test_the_default_weights(tmp_path: Path) -> None:
    output = run("export", "default", tmp_path / "m.ts", "--image_size", 64)
    assert f"Written to {tmp_path / 'm.ts'}." in output
    exported, network = load_exported(tmp_path / "m.ts"), load_model(default_path())
    x = torch.rand((1, 6, 64, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.predict(x, auxiliary=False).logits
        torch.testing.assert_close(exported.predict(x, auxiliary=False).logits, expected, atol=1e-3, rtol=1e-3)


def test_evaluation_gives_the_same(weights: Path, exported: Path, tmp_path: Path) -> None:
    results = []
    for file in (weights, exported):
        folder = tmp_path / file.suffix[1:]
        run(
            *("evaluate", "--dataset", "phantoms", "--weights", file, "--output_dir", folder),
            *("--max_samples", 1, "--max_clicks", 2, "--device", "cpu", "--batch_size", 2),
        )
        results.append(json.loads((folder / "results.json").read_text()))
    mine, other = ([item["ious"] for item in result["objects"]] for result in results)
    assert len(mine) > 0
    np.testing.assert_allclose(np.concatenate(other), np.concatenate(mine), atol=0.01)
    assert [result["facts"]["network"] for result in results] == ["AdaptiveClick", "AdaptiveClick"]
    assert results[1]["facts"]["exported"] == "openvino" and "exported" not in results[0]["facts"]
    assert results[1]["facts"]["sha256"] != results[0]["facts"]["sha256"]


def test_segmenting_gives_the_same(weights: Path, exported: Path, tmp_path: Path) -> None:
    image = np.random.RandomState(0).randint(0, 256, (90, 100)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "image.png")
    masks = []
    for file in (weights, exported):
        target = tmp_path / f"{file.suffix[1:]}.png"
        run("segment", tmp_path / "image.png", target, "--weights", file, "--click", "40,50", "--device", "cpu")
        masks.append(np.asarray(Image.open(target)))
    assert np.mean(masks[0] != masks[1]) < 0.001


def test_weights_beside_the_file_count_in_its_digest(exported: Path, tmp_path: Path) -> None:
    for suffix in (".xml", ".bin"):
        (tmp_path / f"m{suffix}").write_bytes(exported.with_suffix(suffix).read_bytes())
    before = Method.create(weights=tmp_path / "m.xml").facts["sha256"]
    changed = bytearray((tmp_path / "m.bin").read_bytes())
    changed[len(changed) // 2] ^= 1  # the last bit of a weight
    (tmp_path / "m.bin").write_bytes(changed)
    assert Method.create(weights=tmp_path / "m.xml").facts["sha256"] != before


def test_another_crop_size_is_refused_at_once(exported: Path) -> None:
    method = Method.create(weights=exported)
    with pytest.raises(
        ValueError, match=r"crop_size must be 64 x 64, the size that m\.xml was exported for, got 448 x 448"
    ):
        method.session(DataSetChoice("phantoms", crop_size=448))
    assert method.session(DataSetChoice("phantoms", crop_size=64)).crop_size == (64, 64)


def test_errors(weights: Path, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.ts").mkdir()
    cases = [
        (
            (weights, tmp_path / "m.pt"),
            "must end in one of .ts (torchscript), .onnx (onnx), .xml (openvino), got 'm.pt'",
        ),
        ((weights, tmp_path / "folder.ts"), "this is a folder"),
        ((tmp_path / "none.pth", tmp_path / "m.ts"), "none.pth"),
        (
            (weights, tmp_path / "m.ts", "--image_size", "60"),
            "multiple of the network's patch of 8 pixels, got 60 x 60",
        ),
        ((weights, tmp_path / "m.ts", "--format", "onnx"), "format onnx must end in .onnx, got 'm.ts'"),
        ((exported, tmp_path / "m.ts"), "m.xml is an exported network already"),
    ]
    for arguments, message in cases:
        result = CliRunner().invoke(cli.app, ["export", *map(str, arguments)])
        assert isinstance(result.exception, (ValueError, OSError)) and message in str(result.exception)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder.ts"]
