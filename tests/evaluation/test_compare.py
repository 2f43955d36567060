"""Evaluations beside each other: tables, the paper's rows, and paired bootstrap intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from adaptiveclick_med.evaluation import (
    EvaluationResult,
    ObjectResult,
    bootstrap_interval,
    compare_results,
    paired_bootstrap,
    read_paper,
    read_results,
)


def result(ious: dict[str, list[float]], max_clicks: int = 4, **facts: str) -> EvaluationResult:
    objects = [ObjectResult(name, [(1.0, 1.0, True)] * len(found), found, 0.1) for name, found in ious.items()]
    return EvaluationResult(objects, max_clicks, facts={"dataset": "grabcut", **facts})


FIRST = {"a": [0.5, 0.9], "b": [0.86, 0.91], "c": [0.1, 0.2, 0.3, 0.4]}
SECOND = {"a": [0.95], "b": [0.7, 0.8, 0.92], "c": [0.2, 0.9]}


def many(seed: int, shift: float, count: int = 200) -> EvaluationResult:
    random = np.random.RandomState(seed)
    hardness = np.random.RandomState(0).uniform(0, 0.5, count)  # shared: the objects are the same
    return result(
        {f"o{i}": np.clip(hardness[i] + shift + random.normal(0, 0.02, 4), 0, 1).tolist() for i in range(count)}
    )


class TestBootstrapInterval:
    def test_it_is_that_of_the_mean(self) -> None:
        found = many(1, 0.2)
        low, high = bootstrap_interval(found, "mIoU@2")
        values = found.ious_at(2)
        error = 1.96 * values.std() / np.sqrt(len(values))
        assert low == pytest.approx(values.mean() - error, abs=0.15 * error)
        assert high == pytest.approx(values.mean() + error, abs=0.15 * error)
        assert bootstrap_interval(found, "mIoU@2", level=0.5)[0] > low

    def test_few_objects(self) -> None:
        assert np.isnan(bootstrap_interval(result({"a": [0.9]}), "NoC@85")).all()
        assert bootstrap_interval(result({"a": [0.9], "b": [0.95]}), "NoC@85") == (1, 1)
        with pytest.raises(ValueError, match="the evaluation has no object"):
            bootstrap_interval(result({}), "NoC@85")
        with pytest.raises(ValueError, match="metric must be NoC@t or mIoU@k, got 'IoU'"):
            bootstrap_interval(result(FIRST), "IoU")


class TestPairedBootstrap:
    def test_means_by_hand(self) -> None:
        first, second = result(FIRST), result(SECOND)
        # clicks to 0.85: (2, 1, 4) and (1, 3, 2)
        noc = paired_bootstrap(first, second, "NoC@85")
        assert noc.difference == pytest.approx((6 - 7) / 3) and noc.objects == 3
        assert noc.low <= noc.difference <= noc.high and not noc.certain
        one = paired_bootstrap(first, second, "mIoU@1")
        assert one.difference == pytest.approx((0.95 + 0.7 + 0.2 - 0.5 - 0.86 - 0.1) / 3)
        assert str(noc).startswith("NoC@85: -0.333 [")

    def test_the_interval_is_that_of_paired_differences(self) -> None:
        first, second = many(1, 0.2), many(2, 0.21)
        found = paired_bootstrap(first, second, "mIoU@2")
        values = second.ious_at(2) - first.ious_at(2)
        error = 1.96 * values.std() / np.sqrt(len(values))
        assert found.low == pytest.approx(values.mean() - error, abs=0.15 * error)
        assert found.high == pytest.approx(values.mean() + error, abs=0.15 * error)
        assert found.certain
        # the objects differ much more than the two evaluations do
        assert first.ious_at(2).std() > 4 * values.std()

    def test_coverage(self) -> None:
        """Of 95 % intervals around a true difference of 0.01, about 95 % hold it."""
        held = 0
        for seed in range(60):
            found = paired_bootstrap(
                many(2 * seed + 10, 0.2, 40), many(2 * seed + 11, 0.21, 40), "mIoU@1", resamples=400
            )
            held += found.low <= 0.01 <= found.high
        assert 51 <= held <= 60

    def test_same_seed_same_interval(self) -> None:
        first, second = result(FIRST), result(SECOND)
        assert paired_bootstrap(first, second, "NoC@90", seed=3) == paired_bootstrap(first, second, "NoC@90", seed=3)

    def test_equal_evaluations(self) -> None:
        found = paired_bootstrap(result(FIRST), result(FIRST), "NoC@90")
        assert (found.difference, found.low, found.high, found.certain) == (0.0, 0.0, 0.0, False)

    def test_objects_in_one_only(self) -> None:
        found = paired_bootstrap(result(FIRST), result({"b": [0.95], "z": [0.1]}), "NoC@90")
        assert (found.objects, found.difference) == (1, -1.0)

    def test_one_object_has_no_interval(self) -> None:
        found = paired_bootstrap(result(FIRST), result({"b": [0.95]}), "NoC@90")
        assert np.isnan([found.low, found.high]).all() and not found.certain
        assert str(found) == "NoC@90: -1.000 (no interval: one object)"

    def test_errors(self) -> None:
        with pytest.raises(ValueError, match="no object in common"):
            paired_bootstrap(result(FIRST), result({"z": [0.5]}), "NoC@90")
        with pytest.raises(ValueError, match="max_clicks differ: 4 and 5"):
            paired_bootstrap(result(FIRST), result(SECOND, 5), "NoC@90")
        with pytest.raises(ValueError, match="metric must be NoC@t or mIoU@k, got 'Dice'"):
            paired_bootstrap(result(FIRST), result(SECOND), "Dice")
        for metric in ("mIoU@0", "NoC@x", "NoC@"):
            with pytest.raises(ValueError, match="metric must be NoC@t or mIoU@k"):
                paired_bootstrap(result(FIRST), result(SECOND), metric)


class TestCompareResults:
    def test_a_text(self, tmp_path: Path) -> None:
        file = tmp_path / "paper.yaml"
        rows = [
            {
                "table": "I",
                "method": "M",
                "backbone": "ViT-B",
                "trained_on": "SBD",
                "results": {"grabcut": {"NoC@90": 1.5}},
            },
            {"table": "I", "method": "N", "results": {"davis": {"NoC@90": 5.0}}},
            {"table": "V", "method": "M", "results": {"params_M": 100.0}},
            {"table": "XIV", "method": "M", "setting": {"delta": 0.2}, "results": {"grabcut": {"NoC@85": 1.4}}},
        ]
        file.write_text(yaml.safe_dump(rows))
        paper = read_paper(file, ["I", "V", "XIV"])
        assert [row.label for row in paper] == ["Table I: M, ViT-B, SBD", "Table I: N", "Table XIV: M, delta 0.2"]
        assert [row.label for row in read_paper(file, methods=["n"])] == ["Table I: N"]
        text = compare_results({"old": result(FIRST), "new": result(SECOND)}, dataset="grabcut", paper=paper)
        lines = text.splitlines()
        assert lines[1].split() == ["objects", "NoC@85", "NoC@90", "mIoU@1", "mIoU@3"]
        assert lines[2].split() == ["old", "3", "2.333", "2.667", "0.487", "0.703"]
        assert lines[4].split("SBD")[1].split() == ["-", "-", "1.500", "-", "-"]
        assert not any("Table I: N" in line for line in lines)
        assert any(line.startswith("Table XIV: M, delta 0.2") for line in lines)
        assert "new minus old, 3 objects in both, 95 % paired bootstrap:" in lines
        assert any(line.startswith("  NoC@85: -0.333 [") for line in lines)
        assert not any("mIoU@5" in line for line in lines)  # there are four clicks

    def test_objects_left_out_are_counted(self) -> None:
        text = compare_results({"a": result(FIRST), "b": result({"b": [0.95], "z": [0.1]})})
        assert "  3 objects are in one of the two only and are left out." in text

    def test_one_and_none(self) -> None:
        assert "minus" not in compare_results({"a": result(FIRST)})
        with pytest.raises(ValueError, match="no evaluation to compare"):
            compare_results({})

    def test_an_error_names_the_evaluations(self) -> None:
        with pytest.raises(ValueError, match="grabcut, a and b: the two evaluations have no object in common"):
            compare_results({"a": result(FIRST), "b": result({"z": [0.1]})}, dataset="grabcut")


class TestReadResults:
    def test_files_folders_and_folders_of_folders(self, tmp_path: Path) -> None:
        result(FIRST).save(tmp_path / "bce" / "results" / "grabcut")
        result(FIRST, dataset="davis").save(tmp_path / "bce" / "results" / "davis")
        result(SECOND).save(tmp_path / "afl" / "results" / "grabcut")
        found = read_results([tmp_path / "bce/results", tmp_path / "afl/results/grabcut/results.json"])
        assert {name: list(labelled) for name, labelled in found.items()} == {
            "davis": ["results/davis"],
            "grabcut": ["bce", "afl"],
        }
        assert found["grabcut"]["afl"].objects == result(SECOND).objects

    def test_folders_with_dots_in_their_names(self, tmp_path: Path) -> None:
        for name in ("lr_0.5", "lr_0.9"):
            result(FIRST).save(tmp_path / name)
        assert list(read_results([tmp_path / "lr_0.5", tmp_path / "lr_0.9"])["grabcut"]) == ["lr_0.5", "lr_0.9"]

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"max_clicks": 3}, "object c has 4 clicks, but max_clicks is 3"),
            ({"objects": []}, "it has no object"),
            ({"thresholds": []}, "thresholds must be numbers above 0"),
            ({"thresholds": [90]}, "thresholds must be numbers above 0"),
            ({"objects": [{"name": "a", "clicks": [[1, 1, True]], "ious": [float("nan")]}]}, "object a has an IoU"),
            ({"objects": [{"name": "a", "clicks": [[1, 1, True]], "ious": [1.2]}]}, "object a has an IoU"),
            ({"objects": [{"name": "a", "clicks": [], "ious": [0.2]}]}, "object a has 0 clicks and 1 IoUs"),
            ({"objects": 2 * [{"name": "a", "clicks": [[1, 1, True]], "ious": [0.2]}]}, "object a comes 2 times"),
        ],
    )
    def test_a_file_that_was_edited(self, tmp_path: Path, values: dict[str, Any], message: str) -> None:
        result(FIRST).save(tmp_path)
        file = tmp_path / "results.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
        with pytest.raises(ValueError, match=rf"results\.json is no evaluation result: {message}"):
            read_results([tmp_path])

    def test_errors(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="There is no evaluation result in"):
            read_results([tmp_path])
        result(FIRST).save(tmp_path / "a")
        with pytest.raises(ValueError, match="was given twice"):
            read_results([tmp_path / "a", tmp_path / "a" / "results.json"])
        for text in ("{", "[]", '{"objects": [{"name": 1}], "max_clicks": 3, "thresholds": []}'):
            (tmp_path / "a" / "results.json").write_text(text)
            with pytest.raises(ValueError, match=r"results\.json is no evaluation result"):
                read_results([tmp_path / "a"])

    def test_paper_errors(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no file of the paper's numbers"):
            read_paper(tmp_path / "none.yaml")
        (tmp_path / "bad.yaml").write_text("- {table: I}")
        with pytest.raises(ValueError, match="is not a list of the paper's numbers"):
            read_paper(tmp_path / "bad.yaml")
