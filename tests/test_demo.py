"""The demo, on pictures of a few pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adaptiveclick_med import demo
from adaptiveclick_med.baselines import RandomWalkerSession
from adaptiveclick_med.evaluation import EvaluationResult, evaluate_dataset, open_source
from adaptiveclick_med.inference import InteractiveSession
from adaptiveclick_med.weights import default, default_path, read_header

BUNDLE = Path(__file__).parents[1] / "bundles" / "adaptiveclick"
FILES = ("results.json", "objects.csv", "summary.csv")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clicks on pictures of 64 pixels."""

    def quick(samples: Any, session: Any, **options: Any) -> EvaluationResult:
        return evaluate_dataset(samples, session, **{**options, "max_clicks": 2})

    monkeypatch.setattr(demo, "_PHANTOMS", {"num_volumes": 3, "size": (2, 64, 64)})
    monkeypatch.setattr(demo, "_SCENES", {"num_images": 8, "size": (64, 64)})
    monkeypatch.setattr(demo, "evaluate_dataset", quick)


def check_output(folder: Path, results: dict[str, EvaluationResult], printed: str, rows: int) -> None:
    picture = np.asarray(Image.open(folder / "demo.png").convert("RGB"))
    assert picture.shape == (240 * rows, 1320, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100
    lines = {line.split("  ")[0]: line for line in printed.splitlines() if line}
    for name, result in results.items():
        assert f"{result.summary()['NoC@90']:.3f}" in lines[name]
    assert f"Picture: {folder / 'demo.png'}" in printed


def check_results(file: Path, result: EvaluationResult) -> None:
    content = json.loads(file.read_text())
    assert [item["ious"] for item in content["objects"]] == [item.ious for item in result.objects]
    assert content["facts"] == result.facts


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_default_network_beside_a_random_walker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = default_path().read_bytes()
    results = demo.run_demo(tmp_path)
    names = {
        f"{dataset}, {name}": f"{name.replace(' ', '_')}/{dataset}"
        for dataset in ("phantoms", "scenes")
        for name in ("network", "random walker")
    }
    assert list(results) == list(names)
    assert written(tmp_path) == {"demo.png", *(f"{folder}/{file}" for folder in names.values() for file in FILES)}
    for name, folder in names.items():
        check_results(tmp_path / folder / "results.json", results[name])
    for dataset, options in (("phantoms", demo._PHANTOMS), ("scenes", demo._SCENES)):
        samples = open_source(dataset, section="validation", seed=1, **options)
        for name, session in (("network", InteractiveSession(default())), ("random walker", RandomWalkerSession())):
            expected = evaluate_dataset(samples, session, max_clicks=2, min_area=demo._MIN_AREA[dataset])
            found = results[f"{dataset}, {name}"]
            assert [(item.name, item.ious) for item in found.objects] == [
                (item.name, item.ious) for item in expected.objects
            ]
    assert all(result.objects for result in results.values())
    assert default_path().read_bytes() == before
    check_output(tmp_path, results, capsys.readouterr().out, 4)


def test_it_trains_evaluates_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = default_path().read_bytes()
    results = demo.run_training_demo(tmp_path / "demo", bundle=BUNDLE, max_epochs=1)
    assert list(results) == ["before training", "after training"]
    logs = {name for name in written(tmp_path / "demo") if name.startswith("logs/events.out.tfevents.")}
    assert logs
    assert written(tmp_path / "demo") - logs == {
        *(f"{folder}/{name}" for folder in ("before", "after") for name in FILES),
        *("models/model.pt", "models/model.safetensors", "models/checkpoint_epoch=1.pt", "demo.png"),
    }
    for folder in ("before", "after"):
        check_results(tmp_path / "demo" / folder / "results.json", results[f"{folder} training"])
    untrained, trained = (result.objects for result in results.values())
    assert [item.name for item in untrained] == [item.name for item in trained]
    assert [item.ious for item in untrained] != [item.ious for item in trained]
    header = read_header(tmp_path / "demo" / "models" / "model.safetensors")
    assert header["training"]["max_epochs"] == 1
    assert header["arguments"]["embed_dim"] == 96
    assert default_path().read_bytes() == before
    check_output(tmp_path / "demo", results, capsys.readouterr().out, 2)


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no bundle in .*nothing: .*train\.json is missing"):
        demo.run_training_demo(tmp_path / "out", bundle=tmp_path / "nothing")
    assert not (tmp_path / "out").exists()
