"""The demo, on phantoms of a few pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adaptiveclick_med import demo
from adaptiveclick_med.evaluation import EvaluationResult, evaluate_dataset
from adaptiveclick_med.weights import read_header

BUNDLE = Path(__file__).parents[1] / "bundles" / "adaptiveclick"


def test_it_trains_evaluates_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def quick(samples: Any, session: Any, **options: Any) -> EvaluationResult:
        return evaluate_dataset(samples, session, **{**options, "max_clicks": 2})

    monkeypatch.setattr(demo, "_PHANTOMS", {"num_volumes": 3, "size": (2, 64, 64)})
    monkeypatch.setattr(demo, "evaluate_dataset", quick)
    results = demo.run_demo(tmp_path / "demo", bundle=BUNDLE, max_epochs=1)
    assert list(results) == ["before training", "after training"]
    written = {str(path.relative_to(tmp_path / "demo")) for path in (tmp_path / "demo").rglob("*") if path.is_file()}
    logs = {name for name in written if name.startswith("logs/events.out.tfevents.")}
    assert logs
    assert written - logs == {
        *(
            f"{folder}/{name}"
            for folder in ("before", "after")
            for name in ("results.json", "objects.csv", "summary.csv")
        ),
        *("models/model.pt", "models/model.safetensors", "models/checkpoint_epoch=1.pt", "demo.png"),
    }
    for folder, result in (("before", results["before training"]), ("after", results["after training"])):
        content = json.loads((tmp_path / "demo" / folder / "results.json").read_text())
        assert [item["ious"] for item in content["objects"]] == [item.ious for item in result.objects]
    before, after = (result.objects for result in results.values())
    assert [item.name for item in before] == [item.name for item in after]
    assert [item.ious for item in before] != [item.ious for item in after]
    header = read_header(tmp_path / "demo" / "models" / "model.safetensors")
    assert header["training"]["max_epochs"] == 1
    assert header["arguments"]["embed_dim"] == 96
    picture = np.asarray(Image.open(tmp_path / "demo" / "demo.png").convert("RGB"))
    assert picture.shape == (480, 1320, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100
    printed = capsys.readouterr().out
    lines = {line.split("  ")[0]: line for line in printed.splitlines() if line}
    for name, result in results.items():
        assert f"{result.summary()['NoC@90']:.3f}" in lines[name]
    assert f"Picture: {tmp_path / 'demo' / 'demo.png'}" in printed


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no bundle in .*nothing: .*train\.json is missing"):
        demo.run_demo(tmp_path / "out", bundle=tmp_path / "nothing")
    assert not (tmp_path / "out").exists()
