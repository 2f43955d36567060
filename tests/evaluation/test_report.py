"""The HTML page of an evaluation, read as a browser would read it."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptiveclick_med.evaluation import (
    DataSetChoice,
    EvaluationResult,
    Method,
    ObjectResult,
    evaluate_choice,
    ranked_objects,
    write_report,
    write_summary,
)


def objects(*ious: list[float]) -> list[ObjectResult]:
    return [ObjectResult(f"o{i}#1", [(1.0, 1.0, True)] * len(v), v, 0.1) for i, v in enumerate(ious)]


class Page(HTMLParser):
    """Collects what a page shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[dict[str, str]] = []
        self.cells: list[str] = []
        self.headings: list[str] = []
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        if tag == "img":
            self.images.append({key: value or "" for key, value in attrs})

    def handle_data(self, data: str) -> None:
        if self._tag in ("td", "th") and data.strip():
            self.cells.append(data)
        if self._tag in ("h2", "h3") and data.strip():
            self.headings.append(data)


class TestRankedObjects:
    def test_by_clicks_then_by_iou(self) -> None:
        found = EvaluationResult(
            objects([0.91], [0.95], [0.1, 0.95], [0.1, 0.2], [0.1, 0.3], [0.5, 0.97], [0.3, 0.92]), max_clicks=2
        )
        kinds = {kind: [item.name for item in items] for kind, items in ranked_objects(found, 2).items()}
        # reached in 1: o1, o0; in 2: o5, o2, o6; never, which counts as 2 clicks: o4, o3
        assert kinds == {"Best": ["o1#1", "o0#1"], "Median": ["o5#1", "o2#1"], "Worst": ["o4#1", "o3#1"]}

    def test_no_object_comes_twice(self) -> None:
        for count in range(1, 12):
            found = EvaluationResult(objects(*[[0.1 + 0.05 * i] for i in range(count)]), max_clicks=1)
            names = [item.name for items in ranked_objects(found).values() for item in items]
            assert len(set(names)) == len(names) == min(count, 9)


class TestWriteReport:
    def test_a_page(self, picture_folder: Path, tmp_path: Path) -> None:
        choice = DataSetChoice("folder", str(picture_folder), name="pictures", max_clicks=3).complete()
        method = Method.create("disk")
        result = evaluate_choice(choice, method, progress=False)
        path = write_report(tmp_path / "new" / "report.html", {"pictures": (result, choice)}, method)
        page = Page(path.read_text(encoding="utf-8"))
        assert page.headings[0] == "pictures (disk)"
        assert {"Best", "Median", "Worst"} & set(page.headings) >= {"Best"}
        numbers = result.summary()
        assert f"{numbers['NoC@90']:.3f}" in page.cells
        failures = result.failures(0.9)
        assert f"Failures: {len(failures)} of 6 objects never reach an IoU of 0.9" in page.headings
        assert failures[0].name in page.cells
        # one curve, histograms at one click (four and ten are beyond the last), six objects
        assert len(page.images) == 1 + 1 + 6
        for image in page.images:
            kind, _, data = image["src"].partition(",")
            assert kind == "data:image/png;base64" and image["alt"]
            picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
            assert picture.std() > 5

    def test_names_are_escaped_and_problems_are_told(self, picture_folder: Path, tmp_path: Path) -> None:
        choice = DataSetChoice("folder", str(picture_folder), max_clicks=1).complete()
        method = Method.create("disk")
        found = evaluate_choice(choice, method, progress=False)
        result = EvaluationResult(
            found.objects, 1, facts={**found.facts, "title": "<b>mine</b>"}, skipped=[("x.png", "<i>bad</i>")]
        )
        text = write_report(
            tmp_path / "r.html", {"folder": (result, choice)}, method, failed={"other": "gone & lost"}
        ).read_text()
        assert "&lt;b&gt;mine&lt;/b&gt;" in text and "<b>mine</b>" not in text
        assert "x.png: &lt;i&gt;bad&lt;/i&gt;" in text
        assert "other was left out: gone &amp; lost" in text

    def test_an_untrained_network_is_called_that(self, picture_folder: Path, tmp_path: Path) -> None:
        choice = DataSetChoice("folder", str(picture_folder), max_clicks=1, max_samples=1, crop_size=32).complete()
        method = Method.create(preset="nano", device="cpu")
        result = evaluate_choice(choice, method, progress=False)
        text = write_report(tmp_path / "r.html", {"folder": (result, choice)}, method).read_text()
        assert "The network is untrained" in text and "folder (untrained)" in text


def test_write_summary(tmp_path: Path) -> None:
    found = EvaluationResult(objects([0.95], [0.5, 0.91]), max_clicks=2, skipped=[("x", "bad")])
    path = write_summary({"mine": found}, tmp_path, failed={"other": "no such folder"})
    head, mine, other = path.read_text().splitlines()
    assert head.startswith("dataset,objects,NoC@85,") and head.endswith(",left_out,error")
    assert mine.startswith("mine,2.0,1.5,") and mine.endswith(",1,")
    assert other.startswith("other,,") and other.endswith(",no such folder")


@pytest.mark.parametrize("threshold", [0.85, 0.9])
def test_failures_are_the_worst_first(threshold: float) -> None:
    found = EvaluationResult(objects([0.95], [0.5, 0.87], [0.1, 0.2]), max_clicks=2)
    expected = {0.85: ["o2#1"], 0.9: ["o2#1", "o1#1"]}[threshold]
    assert [item.name for item in found.failures(threshold)] == expected
