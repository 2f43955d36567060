"""The command line: what it writes, and that an expected error is one line."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from adaptiveclick_med import cli
from adaptiveclick_med.baselines import RandomWalkerSession
from adaptiveclick_med.evaluation import DataSetChoice, evaluate_source
from adaptiveclick_med.networks import AdaptiveClick, SimpleClick
from adaptiveclick_med.weights import default_path, load_weights, read_header, save_weights, start_network

Released = Callable[[Any], dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = start_network("AdaptiveClick", "nano", image_size=64)
    return save_weights(tmp_path_factory.mktemp("weights") / "w.safetensors", network)


@pytest.fixture(scope="module", params=["AdaptiveClick", "SimpleClick"])
def network(request: pytest.FixtureRequest) -> Any:
    return start_network(request.param, "nano", image_size=32).eval()


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


class TestEvaluate:
    def test_a_network(self, picture_folder: Path, weights: Path, tmp_path: Path) -> None:
        folder = tmp_path / "new" / "out"
        output = run(
            *("evaluate", "--dataset", "folder", "--dataset_dir", picture_folder, "--weights", weights),
            *("--output_dir", folder, "--section", "validation", "--max_clicks", 2, "--device", "cpu"),
        )
        content = json.loads((folder / "results.json").read_text())
        options: dict[str, Any] = {"section": "validation", "max_clicks": 2, "progress": False}
        direct = evaluate_source("folder", picture_folder, weights=weights, **options)
        assert [item["ious"] for item in content["objects"]] == [item.ious for item in direct.objects]
        assert content["facts"] == direct.facts
        assert content["facts"]["weights"] == str(weights)
        with (folder / "summary.csv").open() as file:
            (summary,) = csv.DictReader(file)
        assert float(summary["NoC@90"]) == direct.summary()["NoC@90"]
        with (folder / "objects.csv").open() as file:
            assert [row["name"] for row in csv.DictReader(file)] == [item.name for item in direct.objects]
        assert "NoC@85" in output and f"Written to {folder}." in output

    def test_the_default_weights(self, picture_folder: Path, tmp_path: Path) -> None:
        output = run(
            *("evaluate", "--dataset", "folder", "--dataset_dir", picture_folder, "--output_dir", tmp_path),
            *("--max_clicks", 2, "--device", "cpu"),
        )
        content = json.loads((tmp_path / "results.json").read_text())
        digest = hashlib.sha256(default_path().read_bytes()).hexdigest()
        assert (content["facts"]["weights"], content["facts"]["sha256"]) == ("default", digest)
        assert "untrained" not in content["facts"] and "untrained" not in output
        direct = evaluate_source("folder", picture_folder, weights=default_path(), max_clicks=2, progress=False)
        assert [item["ious"] for item in content["objects"]] == [item.ious for item in direct.objects]

    def test_the_trivial_baseline(self, picture_folder: Path, tmp_path: Path) -> None:
        output = run(
            *("evaluate", "--dataset", "folder", "--dataset_dir", picture_folder, "--method", "disk"),
            *("--output_dir", tmp_path, "--max_clicks", 3),
        )
        content = json.loads((tmp_path / "results.json").read_text())
        assert (content["facts"]["method"], content["facts"]["weights"]) == ("disk", None)
        assert content["summary"]["objects"] == 6
        table = [line for line in output.splitlines() if line.startswith("folder")]
        assert table[0].split()[:4] == ["folder", "(disk)", "6", f"{content['summary']['NoC@85']:.3f}"]

    def test_a_classical_method(self, tmp_path: Path) -> None:
        output = run(
            *("evaluate", "--dataset", "phantoms", "--method", "random_walker", "--max_samples", 2),
            *("--output_dir", tmp_path, "--max_clicks", 3),
        )
        content = json.loads((tmp_path / "results.json").read_text())
        assert content["facts"]["method"] == "random_walker"
        assert content["facts"]["parameters"] == RandomWalkerSession().parameters
        assert len({item["name"].split("#")[0] for item in content["objects"]}) == 2
        assert content["summary"]["mIoU@3"] > 0.5
        assert "(random_walker)" in output and f"Written to {tmp_path}." in output

    def test_every_option_arrives(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        seen: dict[str, Any] = {}

        class Result:
            def table(self) -> str:
                return "TABLE"

        def create(method: str, **options: Any) -> str:
            seen.update(options, method=method)
            return "METHOD"

        def fake(choice: DataSetChoice, method: str, folder: Path, **options: Any) -> Result:
            assert method == "METHOD"
            seen.update(options, choice=choice, folder=folder)
            return Result()

        monkeypatch.setattr("adaptiveclick_med.evaluation.Method.create", create)
        monkeypatch.setattr("adaptiveclick_med.evaluation.evaluate_choice", fake)
        output = run(
            *("evaluate", "--dataset", "coco", "--output_dir", tmp_path, "--weights", "w.pth", "--dataset_dir", "d"),
            *("--section", "training", "--val_fraction", 0.4, "--split_seed", 7, "--max_samples", 5),
            *("--max_clicks", 9, "--min_area", 11, "--crop_size", 224, "--device", "cuda:1", "--on_error", "skip"),
            *("--batch_size", "auto", "--overwrite", "--options", '{"image_dir": "x"}', "--channels", "0,1,2"),
            *("--intensity_window", "-10,30.5", "--precision", "float16", "--compile", "--quantize", "int8"),
            "--second_look",
        )
        choice = DataSetChoice(
            "coco",
            "d",
            name="coco",
            section="training",
            options={"image_dir": "x"},
            val_fraction=0.4,
            split_seed=7,
            max_samples=5,
            max_clicks=9,
            min_area=11,
            crop_size=224,
            intensity_window=(-10.0, 30.5),
            channels=[0, 1, 2],
        )
        assert seen.pop("choice") == choice
        where = {"weights": Path("w.pth"), "preset": None, "method": "network", "device": "cuda:1", "folder": tmp_path}
        where.update(precision="float16", compile=True, quantize="int8", second_look=True)
        assert seen == {**where, "on_error": "skip", "batch_size": "auto", "overwrite": True}
        assert output == f"TABLE\nWritten to {tmp_path}.\n"
        run("evaluate", "--dataset", "phantoms", "--output_dir", tmp_path, "--preset", "nano")
        usual = DataSetChoice("phantoms", name="phantoms", section="all", min_area=20)
        assert (seen["on_error"], seen["choice"], seen["preset"]) == ("raise", usual, "nano")

    def test_several_data_sets_and_a_report(self, picture_folder: Path, weights: Path, tmp_path: Path) -> None:
        config = tmp_path / "sets.yaml"
        sets = [
            {"dataset": "folder", "dataset_dir": str(picture_folder), "max_clicks": 2, "name": "mine"},
            {"dataset": "folder", "dataset_dir": str(tmp_path / "none"), "name": "missing"},
            {"dataset": "phantoms", "options": {"num_volumes": 2, "size": [3, 64, 64]}, "max_clicks": 1},
        ]
        config.write_text(yaml.safe_dump({"datasets": sets}))
        common = ("evaluate", "--config", config, "--weights", weights, "--output_dir", tmp_path / "out")
        with pytest.raises(FileNotFoundError, match="none"):
            run(*common)
        output = run(*common, "--on_error", "skip", "--report")
        assert "missing was left out: " in output and "mine" in output and "phantoms" in output
        with (tmp_path / "out" / "summary.csv").open() as file:
            rows = {row["dataset"]: row for row in csv.DictReader(file)}
        assert list(rows) == ["mine", "phantoms", "missing"]
        assert float(rows["mine"]["objects"]) == 6 and "does not exist" in rows["missing"]["error"]
        page = (tmp_path / "out" / "report.html").read_text()
        assert 'id="mine"' in page and 'id="phantoms"' in page and "missing was left out" in page
        assert (tmp_path / "out" / "phantoms" / "results.json").is_file()

    def test_compare(self, picture_folder: Path, tmp_path: Path) -> None:
        for name, clicks in (("a", 3), ("b", 3)):
            run(
                *("evaluate", "--dataset", "folder", "--dataset_dir", picture_folder, "--method", "disk"),
                *("--output_dir", tmp_path / name, "--max_clicks", clicks),
            )
        output = run("compare", tmp_path / "a", tmp_path / "b", "--figure", tmp_path / "curves.png")
        assert "b minus a, 6 objects in both, 95 % paired bootstrap:" in output
        assert "NoC@85: +0.000 [+0.000, +0.000]" in output
        assert (tmp_path / "curves.png").stat().st_size > 1000


class TestConvertWeights:
    def test_a_released_checkpoint(self, tmp_path: Path, released: Released, network: Any) -> None:
        source, target = tmp_path / "released.pth", tmp_path / "new" / "ours.safetensors"
        state = {f"module.{name}": tensor for name, tensor in released(network).items()}
        torch.save({"state_dict": {**state, "criterion.weight": torch.ones(2)}, "config": {"class": "x"}}, source)
        output = run("convert-weights", source, target, "--image_size", 32, "--licence", "CC-BY-4.0")
        converted = load_weights(target)
        assert type(converted) is type(network)
        x = torch.rand(2, 6, 32, 32)
        with torch.no_grad():
            assert torch.equal(converted(x), network(x))
        header = read_header(target)
        assert header["licence"] == "CC-BY-4.0"
        assert header["training"] == {"converted_from": "released.pth"}
        first, *lines = output.splitlines()
        assert first == f"{type(network).__name__}: {len(state) - 2} keys used, 3 without effect"
        assert sorted(lines) == [
            *("  without effect: backbone.cls_token", "  without effect: backbone.head.weight"),
            "  without effect: criterion.weight",
            f"Written to {target}.",
        ]

    def test_other_sizes_and_heads(self, tmp_path: Path, released: Released) -> None:
        network = start_network("SimpleClick", "nano", image_size=32)
        torch.save(released(network), tmp_path / "released.pth")
        run("convert-weights", tmp_path / "released.pth", tmp_path / "a.safetensors")
        assert load_weights(tmp_path / "a.safetensors").arguments["image_size"] == 448
        run("convert-weights", tmp_path / "released.pth", tmp_path / "b.safetensors", "--num_heads", 6)
        assert load_weights(tmp_path / "b.safetensors").arguments["num_heads"] == 6

    def test_what_is_left_over_is_named(self, tmp_path: Path, released: Released) -> None:
        state = released(start_network("AdaptiveClick", "nano", image_size=32))
        # a known name that this network has no place for, and an unknown one
        state["pixel_decoder.input_proj.9.0.weight"] = torch.ones(1)
        state["extra"] = torch.ones(1)
        torch.save(state, tmp_path / "released.pth")
        output = run("convert-weights", tmp_path / "released.pth", tmp_path / "a.safetensors", "--image_size", 32)
        assert "left over: extra\n" in output
        assert "left over: pixel_decoder.input_proj.9.0.weight\n" in output
        assert isinstance(load_weights(tmp_path / "a.safetensors"), AdaptiveClick)


class TestDemo:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ((), ("run_demo", Path("runs/demo"), {})),
            (("--output_dir", "d"), ("run_demo", Path("d"), {})),
            (
                ("--train", "--output_dir", "d", "--bundle", "b", "--max_epochs", 3),
                ("run_training_demo", Path("d"), {"bundle": Path("b"), "max_epochs": 3}),
            ),
        ],
    )
    def test_every_option_arrives(
        self, monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...], expected: tuple[Any, ...]
    ) -> None:
        seen = []
        for name in ("run_demo", "run_training_demo"):

            def fake(output_dir: Path, name: str = name, **given: Any) -> None:
                seen.append((name, output_dir, given))

            monkeypatch.setattr(f"adaptiveclick_med.demo.{name}", fake)
        run("demo", *options)
        assert seen == [expected]


class TestErrors:
    def fail(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["adaptiveclick-med", *map(str, arguments)])
        with pytest.raises(SystemExit) as error:
            cli.main()
        assert error.value.code == 1
        out, err = capsys.readouterr()
        assert out == ""
        lines = err.splitlines()
        assert lines[-1].startswith("adaptiveclick-med: ") and len(lines) == 1, err
        return lines[0].removeprefix("adaptiveclick-med: ")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--dataset", "folder", "--weights", "{tmp}/none.safetensors"], "There is no weight file {tmp}/none"),
            (["--dataset", "folder", "--weights", "{tmp}/damaged.pth"], "{tmp}/damaged.pth is"),
            (["--dataset", "folder", "--weights", "w", "--preset", "nano"], "pass weights or preset, not both"),
            (
                ["--dataset", "fodler", "--method", "disk"],
                "unknown dataset 'fodler'; valid names are berkeley, brats, coco",
            ),
            (["--dataset", "folder", "--method", "disk", "--dataset_dir", "{tmp}/none"], "does not exist: {tmp}/none"),
            (["--dataset", "folder", "--method", "disk", "--dataset_dir", "{tmp}/damaged.pth"], "is not a folder"),
            (["--dataset", "folder", "--method", "disk", "--dataset_dir", "{tmp}/empty"], "{tmp}/empty"),
            (["--dataset", "folder", "--method", "disk", "--options", "plane"], "options must be JSON such as"),
            (["--dataset", "folder", "--method", "disk", "--batch_size", "none"], "batch_size must be 'auto' or a"),
            (["--dataset", "folder", "--method", "disk", "--channels", "red"], "channels must be whole numbers"),
            (["--method", "disk"], "pass --dataset NAME for one data set, or --config FILE"),
            (
                ["--method", "disk", "--config", "{tmp}/none.yaml", "--section", "all"],
                "--section cannot go",
            ),
            (["--dataset", "folder", "--method", "disk", "--section", "test"], "section must be one of"),
            (["--dataset", "folder", "--method", "disk", "--val_fraction", "1.5"], "val_fraction must be"),
            (
                ["--dataset", "folder", "--method", "disk", "--max_samples", "0"],
                "max_samples must be a whole number",
            ),
            (
                ["--dataset", "folder", "--method", "disk", "--max_clicks", "0"],
                "max_clicks must be a whole number",
            ),
            (["--dataset", "folder", "--weights", "{weights}", "--device", "gpu"], "device 'gpu' cannot be used"),
            (["--dataset", "folder", "--weights", "{weights}", "--crop_size", "0"], "crop_size must be"),
        ],
    )
    def test_evaluate(
        self,
        picture_folder: Path,
        weights: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        arguments: list[str],
        message: str,
    ) -> None:
        (tmp_path / "damaged.pth").write_bytes(b"PK\x03\x04 half")
        (tmp_path / "empty").mkdir()
        given = [argument.format(tmp=tmp_path, weights=weights) for argument in arguments]
        if "--dataset_dir" not in given:
            given += ["--dataset_dir", str(picture_folder)]
        found = self.fail(monkeypatch, capsys, "evaluate", *given, "--output_dir", tmp_path / "out")
        assert message.format(tmp=tmp_path) in found
        assert not (tmp_path / "out").exists()

    def test_the_output_folder_is_a_file(
        self,
        picture_folder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (tmp_path / "out").write_text("mine")
        common = ("evaluate", "--dataset", "folder", "--dataset_dir", picture_folder, "--method", "disk")
        found = self.fail(monkeypatch, capsys, *common, "--output_dir", tmp_path / "out")
        assert found == f"output_dir is not a folder: {tmp_path / 'out'}."
        assert (tmp_path / "out").read_text() == "mine"

    @pytest.mark.parametrize(
        ("source", "target", "options", "message"),
        [
            ("none.pth", "a.safetensors", [], "There is no weight file"),
            ("released.pth", "a.pth", [], "path must end in .safetensors, got 'a.pth'"),
            ("resnet.pth", "a.safetensors", [], "neither a released AdaptiveClick"),
            ("truncated.pth", "a.safetensors", [], "truncated.pth is truncated, damaged or no checkpoint"),
            ("released.pth", "a.safetensors", ["--image_size", "30"], "the image is 30 x 30 pixels"),
            ("released.pth", "a.safetensors", ["--num_heads", "7"], "num_heads"),
            ("odd.pth", "a.safetensors", [], "num_heads must be given: no preset has the encoder width 40"),
        ],
    )
    def test_convert_weights(
        self,
        tmp_path: Path,
        released: Released,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        source: str,
        target: str,
        options: list[str],
        message: str,
    ) -> None:
        torch.save(released(start_network("SimpleClick", "nano", image_size=32)), tmp_path / "released.pth")
        odd = SimpleClick(
            32, patch_size=8, embed_dim=40, depth=4, num_heads=5, pyramid_channels=(8, 8, 8, 8), head_dim=8
        )
        torch.save(released(odd), tmp_path / "odd.pth")
        torch.save({"conv1.weight": torch.ones(1)}, tmp_path / "resnet.pth")
        (tmp_path / "truncated.pth").write_bytes((tmp_path / "odd.pth").read_bytes()[:-500])
        found = self.fail(
            monkeypatch, capsys, "convert-weights", tmp_path / source, tmp_path / "new" / target, *options
        )
        assert message in found
        assert not (tmp_path / "new").exists()

    def test_demo(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "out"
        found = self.fail(monkeypatch, capsys, "demo", "--train", "--bundle", tmp_path / "none", "--output_dir", out)
        assert found.startswith(f"There is no bundle in {tmp_path / 'none'}")
        assert not out.exists()

    def test_wrong_usage_is_told(self) -> None:
        for arguments in (["evaluate"], ["evaluate", "--dataset", "x", "--output_dir", "y", "--method", "square"]):
            result = CliRunner().invoke(cli.app, arguments)
            assert result.exit_code == 2
        assert CliRunner().invoke(cli.app, ["--help"]).exit_code == 0

    def test_a_real_process(self, tmp_path: Path, picture_folder: Path) -> None:
        command = [
            *(sys.executable, "-m", "adaptiveclick_med.cli", "evaluate", "--dataset", "folder"),
            *("--dataset_dir", str(picture_folder), "--weights", str(tmp_path / "none.pth")),
            *("--output_dir", str(tmp_path / "out")),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", env=environment, timeout=240
        )
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr == f"adaptiveclick-med: There is no weight file {tmp_path / 'none.pth'}.\n"
        assert not (tmp_path / "out").exists()
