"""``adaptiveclick-med profile``: what it prints and writes, and that an expected error is one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from adaptiveclick_med import cli
from adaptiveclick_med.networks import build_network
from adaptiveclick_med.profiling import count_flops, count_parameters, profile_network, profile_training
from adaptiveclick_med.weights import default, default_path, save_weights, start_network


def run(*arguments: object) -> str:
    given = ["profile", "--device", "cpu", "--threads", "1", *map(str, arguments)]
    result = CliRunner().invoke(cli.app, given, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    monkeypatch.setattr(sys, "argv", ["adaptiveclick-med", "profile", *map(str, arguments)])
    with pytest.raises(SystemExit) as error:
        cli.main()
    assert error.value.code == 1
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1, err
    return err


def test_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cost.json"
    output = run("--preset", "nano", "--image_size", 64, "--clicks", 3, "--json", path)
    content = json.loads(path.read_text())
    network = build_network("AdaptiveClick", "nano")
    assert {name: part["parameters"] for name, part in content["parts"].items()} == count_parameters(network)
    flops = count_flops(network.eval(), (1, 6, 64, 64))
    assert {name: part["flops"] for name, part in content["parts"].items()} == flops
    assert content["total"]["multiply_adds"] == sum(flops.values()) // 2
    assert content["total"]["seconds_per_click"] > 0
    facts = content["facts"]
    assert (facts["preset"], facts["network"], facts["image_size"]) == ("nano", "AdaptiveClick", [64, 64])
    assert (facts["clicks"], facts["threads"]) == (3, 1)
    lines = output.splitlines()
    rows = [line.rsplit(maxsplit=5)[0].strip() for line in lines[1:7]]
    assert rows == ["encoder", "pyramid", "pixel decoder", "click decoder", "rest", "total"]
    assert lines[6].split()[1:4] == [
        f"{content['total'][key] / scale:.3f}" for key, scale in (("parameters", 1e6), ("flops", 2e9), ("flops", 1e9))
    ]
    assert lines[-1] == f"Written to {path}."


def test_another_network_and_no_time() -> None:
    output = run("--preset", "nano", "--network", "SimpleClick", "--no-time")
    cost = profile_network(start_network("SimpleClick", "nano").eval(), timed=False, threads=1)
    assert output == cost.table() + "\n"
    assert "SimpleClick, 128 x 128 pixels" in output and "SPC" not in output


def test_network_arguments(tmp_path: Path) -> None:
    arguments = '{"pixel_decoder_layers": 1}'
    run("--preset", "nano", "--network_arguments", arguments, "--no-time", "--json", tmp_path / "cost.json")
    content = json.loads((tmp_path / "cost.json").read_text())
    network = build_network("AdaptiveClick", "nano", pixel_decoder_layers=1)
    assert content["total"]["parameters"] == sum(parameter.numel() for parameter in network.parameters())


def test_weights(tmp_path: Path) -> None:
    network = start_network("SimpleClick", "nano", image_size=64)
    path = save_weights(tmp_path / "w.safetensors", network)
    output = run("--weights", path, "--no-time", "--json", tmp_path / "cost.json")
    content = json.loads((tmp_path / "cost.json").read_text())
    assert content["facts"]["weights"] == str(path) and "preset" not in content["facts"]
    assert content["facts"]["image_size"] == [64, 64]
    assert content["total"]["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert "SimpleClick, 64 x 64 pixels" in output


def test_the_default_weights(tmp_path: Path) -> None:
    run("--weights", "default", "--no-time", "--image_size", 64, "--json", tmp_path / "cost.json")
    content = json.loads((tmp_path / "cost.json").read_text())
    assert content["total"]["parameters"] == sum(parameter.numel() for parameter in default().parameters())
    assert content["facts"]["weights"] == str(default_path())


def test_the_default_is_the_paper_s_network(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    class Cost:
        def table(self) -> str:
            return "TABLE"

    def fake(network: Any, image_size: Any, **options: Any) -> Cost:
        seen.update(options, network=network, image_size=image_size)
        return Cost()

    def start(name: str, preset: str, **options: Any) -> torch.nn.Module:
        seen.update(options, name=name, preset=preset)
        return torch.nn.Identity()

    monkeypatch.setattr("adaptiveclick_med.profiling.profile_network", fake)
    monkeypatch.setattr("adaptiveclick_med.weights.start_network", start)
    result = CliRunner().invoke(cli.app, ["profile", "--device", "cpu"], catch_exceptions=False)
    assert result.output == "TABLE\n"
    assert not seen.pop("network").training
    assert seen == {
        "name": "AdaptiveClick",
        "preset": "base",
        "network_arguments": {},
        "image_size": None,
        "clicks": 20,
        "timed": True,
        "threads": None,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "bas"], "preset must be one of nano, tiny"),
        (["--preset", "nano", "--image_size", "60"], "patch_size is 8, the image is 60 x 60 pixels"),
        (["--preset", "nano", "--clicks", "1"], "clicks must be at least 2"),
        (["--preset", "nano", "--batch_size", "2"], "batch_size is that of a training step; give --training"),
        (["--preset", "nano", "--training", "--batch_size", "0"], "batch_size must be at least 1, got 0"),
        (["--preset", "nano", "--threads", "0"], "threads must be at least 1, got 0"),
        (["--preset", "nano", "--device", "gpu"], "device 'gpu' cannot be used"),
        (["--preset", "nano", "--network_arguments", "4"], "network_arguments must be a JSON object"),
        (["--preset", "nano", "--network_arguments", '{"layers": 4}'], "got 'layers'"),
        (["--weights", "{tmp}/none.pth"], "There is no weight file {tmp}/none.pth"),
        (["--weights", "w.pth", "--preset", "nano", "--network", "SimpleClick"], "so preset, network cannot be given"),
        (["--preset", "nano", "--json", "{tmp}"], "json must name a file, but this is a folder: {tmp}"),
    ],
)
def test_errors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    found = fail(monkeypatch, capsys, *(argument.replace("{tmp}", str(tmp_path)) for argument in arguments))
    assert message.replace("{tmp}", str(tmp_path)) in found


def test_the_memory_of_a_training(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    output = run("--preset", "nano", "--image_size", 64, "--training", "--batch_size", 1, "--json", path)
    content = json.loads(path.read_text())
    network = build_network("AdaptiveClick", "nano")
    expected = profile_training(network, 64, batch_size=1)
    assert content["memory"] == expected.as_dict()["memory"]
    assert content["facts"] == {"preset": "nano", **expected.facts}
    assert output == f"{expected.table()}\n\nWritten to {path}.\n"


def test_the_memory_of_a_training_from_weights(tmp_path: Path) -> None:
    path = save_weights(tmp_path / "w.safetensors", start_network("SimpleClick", "nano", image_size=32))
    output = run("--weights", path, "--training")
    assert "SimpleClick, 32 x 32 pixels, batch 2, one training step." in output
