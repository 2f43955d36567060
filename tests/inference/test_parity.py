"""Zoom-in and whole click sessions against the reference's vectors, click by click."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from adaptiveclick_med.clicks import Click, Clicks
from adaptiveclick_med.evaluation import evaluate_sample
from adaptiveclick_med.inference import InteractiveSession, ZoomIn
from adaptiveclick_med.metrics import NumberOfClicks

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def stubs(shared: Path) -> Any:
    specification = importlib.util.spec_from_file_location("golden_stubs", shared / "golden" / "golden_stubs.py")
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def test_zoom_in_sessions(golden: Any) -> None:
    facts, tensors = golden("g3_zoomin")
    checked = 0
    for session in facts["sessions"]:
        options = dict(session["zoom_in_kwargs"])
        if options.pop("skip_clicks") != -1:
            continue
        names = {"min_crop_size": "min_size", "expansion_ratio": "expansion", "recompute_thresh_iou": "keep_overlap"}
        target = tuple(options.pop("target_size"))
        zoom = ZoomIn(target, **{names[name]: value for name, value in options.items()})
        image = (tensors[f"{session['id']}/image_u8"].float() / 255).permute(2, 0, 1)[None]
        size, probability, box = tuple(session["image_size"]), None, None
        for call in session["calls"]:
            clicks = Clicks(Click(row, column, positive) for positive, row, column, _ in call["clicks"])
            box = zoom.choose(size, clicks, probability, box)
            assert [box.top, box.bottom, box.left, box.right] == call["object_roi"]
            moved = [(click.row, click.column) for click in zoom.crop_clicks(clicks, box)]
            np.testing.assert_allclose(moved, [click[1:3] for click in call["transformed_clicks"]], atol=1e-4)
            prefix = f"{session['id']}/{call['tag']}"
            crop = zoom.crop(image, box)[0]
            assert list(crop.shape[-2:]) == call["transformed_size"]
            pasted = zoom.paste(tensors[f"{prefix}/prob_u8"].float()[None, None] / 255, box, size)
            probability = pasted[0, 0]
            for key, ours in {"roi_image": crop, "out_prob": probability}.items():
                for suffix, step in {"": 1, "_s4": 4, "_s16": 16}.items():
                    if f"{prefix}/{key}{suffix}" in tensors:
                        theirs = tensors[f"{prefix}/{key}{suffix}"]
                        torch.testing.assert_close(ours[..., ::step, ::step], theirs, atol=1e-5, rtol=0)
                        checked += 1
            assert float(pasted.double().sum()) == pytest.approx(call["out_prob_sum"], rel=1e-5)
    assert checked == 36


class StubSession:
    """The reference's stand-in predictor behind the interface of a session."""

    def __init__(self, predictor: Any) -> None:
        self.predictor = predictor

    def set_image(self, image: np.ndarray) -> None:
        self.predictor.set_input_image(image)
        self.clicks: list[tuple[bool, int, int]] = []

    def click(self, row: float, column: float, positive: bool = True) -> SimpleNamespace:
        self.clicks.append((positive, int(row), int(column)))
        probability = self.predictor.predict(self.clicks)
        return SimpleNamespace(mask=probability > 0.49, probability=probability)


@pytest.mark.parametrize(
    "run", ["stub_predictor", "base_predictor_zoom_flip", "base_predictor_zoom_flip_clicks6_iou95"]
)
def test_evaluation(golden: Any, stubs: Any, run: str) -> None:
    facts, tensors = golden("g3_evaluation")
    result = facts["results"][run]
    calls: list[torch.Tensor] = []
    network = stubs.StubNet()

    def callable_network(image: torch.Tensor, previous: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        calls.append(points)
        return network(torch.cat([image, previous], dim=1), points)["instances"]

    session: Any
    if run == "stub_predictor":
        session = StubSession(stubs.StubPredictor())
    else:
        session = InteractiveSession(callable_network, 448)
    metric = NumberOfClicks(tuple(result["noc_iou_thrs"]), result["max_clicks"])
    for case in result["cases"]:
        calls.clear()
        index = case["image"]
        clicks, ious = evaluate_sample(
            tensors[f"image{index}"].numpy(),
            tensors[f"image{index}_gt"].numpy(),
            session,
            result["max_clicks"],
            result["max_iou_thr"],
        )
        assert [[c.row, c.column, int(c.positive)] for c in clicks] == tensors[f"{run}/image{index}_clicks"].tolist()
        np.testing.assert_allclose(ious, tensors[f"{run}/image{index}_ious"], atol=1e-5)
        if run != "stub_predictor":
            last = session.prediction.probability[::2, ::2]
            np.testing.assert_allclose(last, tensors[f"{run}/image{index}_last_prob_s2"], atol=1e-4)
            for points, call in zip(calls, case["net_calls"], strict=True):
                np.testing.assert_allclose(points, call["points"], rtol=1e-6, atol=1e-4)
        metric([ious])
    numbers = metric.aggregate()
    for threshold, noc, nof in zip(result["noc_iou_thrs"], result["noc"], result["nof"], strict=True):
        assert numbers[f"NoC@{100 * threshold:g}"] == pytest.approx(noc)
        assert numbers[f">={result['max_clicks']}@{100 * threshold:g}"] == nof
