from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from adaptiveclick_med.data import DataSetError, get_items, get_source
from adaptiveclick_med.data.training import ClickTrainingDataset
from adaptiveclick_med.transforms.loading import LoadSampled

INSTANCES = np.array([[0, 1, 1, 0], [2, 2, 0, 0], [0, 0, 0, 13]], dtype=np.uint8)
TRAIN, VAL = ("2008_1", "2008_2", "2008_3"), ("2009_1", "2009_2")


def write_instances(path: Path, instances: Any) -> None:
    """Write the structure of the published files: GTinst.Segmentation, .Boundaries, .Categories."""
    fields = [("Segmentation", object), ("Boundaries", object), ("Categories", object)]
    content = np.empty((1, 1), dtype=fields)
    content[0, 0] = (instances, np.zeros((3, 1), dtype=object), np.array([[7], [15], [15]], dtype=np.uint8))
    savemat(path, {"GTinst": content})


def write_sbd(folder: Path) -> Path:
    for name in ("img", "inst"):
        (folder / name).mkdir(parents=True)
    for name in (*TRAIN, *VAL):
        Image.fromarray(np.full((3, 4, 3), 90, dtype=np.uint8)).save(folder / "img" / f"{name}.jpg")
        write_instances(folder / "inst" / f"{name}.mat", INSTANCES)
    (folder / "train.txt").write_text("\n".join(TRAIN) + "\n")
    (folder / "val.txt").write_text("\n".join(VAL))
    return folder


def names_of(items: list[dict]) -> list[str]:
    return [item["name"] for item in items]


def test_instances(tmp_path: Path) -> None:
    items = get_items("sbd", write_sbd(tmp_path))
    assert loadmat(tmp_path / "inst" / "2008_1.mat")["GTinst"][0][0][0].tolist() == INSTANCES.tolist()
    for item in items:
        loaded = LoadSampled()(item)
        assert loaded["image"].shape == (3, 3, 4) and loaded["source"] == "sbd"
        assert str(loaded["label"].dtype) == "torch.int32" and loaded["label"].tolist() == [INSTANCES.tolist()]


@pytest.mark.parametrize("inside", [".", "dataset", "benchmark_RELEASE/dataset", "SBD"])
def test_sections_are_the_published_lists(tmp_path: Path, inside: str) -> None:
    write_sbd(tmp_path / inside)
    assert names_of(get_items("sbd", tmp_path)) == [*TRAIN, *VAL]
    assert names_of(get_items("sbd", tmp_path, section="training")) == [*TRAIN]
    assert names_of(get_items("sbd", tmp_path, section="validation", seed=3, val_fraction=0.9)) == [*VAL]


def test_published_numbers() -> None:
    source = get_source("SBD")
    assert source.title == "SBD" and source.benchmark.section == "validation" and source.benchmark.min_area == 1
    assert source.benchmark.images == {"training": 8498, "validation": 2857}
    assert source.benchmark.objects == {"validation": 6671} and source.benchmark.reference
    assert source.options == ["sampling_scores"]


SCORES = {"2008_1": 0.0, "2008_2": 0.5, "2008_3": 1.0}
FORMS = {
    "by name": SCORES,
    "by file name": {f"{name}.jpg": s for name, s in SCORES.items()},
    "by NumPy values": {name: np.float32(s) for name, s in SCORES.items()},
    "by place": [(2, "extra", 1.0), (0, None, 0), [1, 0.3, 0.5]],
    "pairs of names": [[name, s] for name, s in SCORES.items()],
    "table": np.array([[0, 0.9, 0.0], [1, 0.2, 0.5], [2, 0.1, 1.0]]),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_sampling_scores_are_weights(tmp_path: Path, form: str) -> None:
    write_sbd(tmp_path / "sbd")
    file = tmp_path / "scores.pkl"
    file.write_bytes(pickle.dumps(FORMS[form]))
    items = get_items("sbd", tmp_path / "sbd", section="training", sampling_scores=file)
    assert names_of(items) == [*TRAIN]
    assert [item["weight"] for item in items] == pytest.approx([1.0, 0.5**1.25, 0.0], abs=1e-12)
    both = get_items("sbd", tmp_path / "sbd", sampling_scores=str(file))
    assert ["weight" in item for item in both] == [True] * 3 + [False] * 2


def test_training_draws_by_the_weights(tmp_path: Path) -> None:
    write_sbd(tmp_path)
    (tmp_path / "scores.json").write_text(json.dumps({**SCORES, "2008_1": 1.0}))
    items = get_items("sbd", tmp_path, section="training", sampling_scores="scores.json")
    data = ClickTrainingDataset(items, LoadSampled(), target_key=None, samples_per_epoch=6)
    assert {data[index]["name"] for index in range(6)} == {"2008_2"}
    assert "weight" not in get_items("sbd", tmp_path, section="training")[0]
    (tmp_path / "scores.json").unlink()
    assert len(get_items("sbd", tmp_path, section="validation", sampling_scores="scores.json")) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"2008_1": 0.1}, r"has no score of 2008_2, 2008_3\."),
        ({**SCORES, "2008_2": 1.01}, "the score of 2008_2 must be between 0 and 1, got 1.01"),
        ({**SCORES, "2008_2": -0.5}, "the score of 2008_2 must be between 0 and 1, got -0.5"),
        ({**SCORES, "2008_2": float("nan")}, "the score of 2008_2 must be between 0 and 1, got nan"),
        ({**SCORES, "2008_2": "0.5"}, "the score of 2008_2 must be between 0 and 1, got '0.5'"),
        ({**SCORES, "2008_2": True}, "the score of 2008_2 must be between 0 and 1, got True"),
        ([[0, 0.1], [1, 0.1], [3, 0.1]], r"place 3 is outside the 3 pictures of train\.txt"),
        ([[0, 0.1], [1, 0.1], [1.5, 0.1]], r"a name or a place in train\.txt is expected, got 1\.5"),
        ([[0, 0.1], [1, 0.1], [None, 0.1]], r"a name or a place in train\.txt is expected, got None"),
        ([[0, 0.1], [1, 0.1], ["2008_1", 0.1]], "has two scores of 2008_1"),
        ([0.1, 0.2, 0.3], "each entry of a list must be a sequence"),
        ([[0], [1], [2]], "each entry of a list must be a sequence"),
        (3.5, "holds a float; a dictionary or a list is expected"),
    ],
)
def test_bad_scores(tmp_path: Path, content: Any, reason: str) -> None:
    write_sbd(tmp_path)
    for file, raw in (
        (tmp_path / "scores.json", json.dumps(content).encode()),
        (tmp_path / "s.pkl", pickle.dumps(content)),
    ):
        file.write_bytes(raw)
        with pytest.raises(ValueError, match=rf"sampling_scores .*{file.name}:? .*{reason}"):
            get_items("sbd", tmp_path, section="training", sampling_scores=file.name)


def test_scores_that_cannot_be_read(tmp_path: Path) -> None:
    write_sbd(tmp_path)
    for name, raw, reason in (
        ("a.json", b"{", "Expecting property name"),
        ("a.pkl", b"no pickle", "invalid load key|could not find MARK"),
        ("b.pkl", pickle.dumps(os.getcwd), r"it names \w+\.getcwd"),
    ):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(ValueError, match=rf"cannot read .*{name}: .*({reason})"):
            get_items("sbd", tmp_path, sampling_scores=tmp_path / name)
    for name in ("none.json", "none.pkl"):
        with pytest.raises(ValueError, match=rf"cannot read .*{name}: there is no such file"):
            get_items("sbd", tmp_path, sampling_scores=name)


def test_many_missing_scores_are_counted(tmp_path: Path) -> None:
    write_sbd(tmp_path)
    (tmp_path / "train.txt").write_text("\n".join(f"p{number}" for number in range(8)))
    (tmp_path / "scores.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has no score of p0, p1, p2, p3, p4 and 3 more\."):
        get_items("sbd", tmp_path, sampling_scores="scores.json")


def test_annotations_that_cannot_be_read(tmp_path: Path) -> None:
    item = get_items("sbd", write_sbd(tmp_path), section="validation")[0]
    file = Path(item["label"]["file"])
    savemat(file, {"GTcls": np.zeros((3, 4))})
    with pytest.raises(ValueError, match=r"cannot read .*2009_1\.mat: it holds no GTinst with a segmentation\."):
        LoadSampled()(item)
    savemat(file, {"GTinst": np.zeros((3, 4))})
    with pytest.raises(ValueError, match=r"2009_1\.mat: it holds no GTinst with a segmentation"):
        LoadSampled()(item)
    write_instances(file, np.zeros((3, 4), dtype=np.float64) + 0.5)
    with pytest.raises(ValueError, match=r"2009_1\.mat: GTinst is no picture of instance numbers: float64, \[3, 4\]"):
        LoadSampled()(item)
    write_instances(file, INSTANCES[:, :3])
    with pytest.raises(ValueError, match=r"label of 2009_1 is 3×3 pixels, but the image 3×4 \(.*2009_1\.mat\)"):
        LoadSampled()(item)
    file.write_bytes(b"rubbish")
    with pytest.raises(ValueError, match=r"cannot read .*2009_1\.mat"):
        LoadSampled()(item)
    file.unlink()
    with pytest.raises(ValueError, match=r"cannot read .*2009_1\.mat: there is no such file"):
        LoadSampled()(item)


def test_problems_are_named(tmp_path: Path) -> None:
    write_sbd(tmp_path)
    (tmp_path / "img" / "2008_2.jpg").unlink()
    (tmp_path / "inst" / "2009_1.mat").unlink()
    with pytest.raises(DataSetError) as caught:
        get_items("sbd", tmp_path)
    assert "2008_2.jpg: the file is missing; the list of the training section" in str(caught.value)
    assert "2009_1.mat: the file is missing; the list of the validation section" in str(caught.value)
    assert names_of(get_items("sbd", tmp_path, on_error="skip")) == ["2008_1", "2008_3", "2009_2"]
    (tmp_path / "val.txt").unlink()
    with pytest.raises(DataSetError, match="the validation section needs the list"):
        get_items("sbd", tmp_path, section="validation")
    with pytest.raises(
        DataSetError,
        match="is not the folder of SBD: looked for img/ and inst/ in it and in dataset/, benchmark_RELEASE/",
    ):
        get_items("sbd", tmp_path / "img")
