"""Is a data set complete and readable?"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from adaptiveclick_med.data import Benchmark, DataSetError, Source, get_source, register_source, registry
from adaptiveclick_med.data.files import UnreadableFileError
from adaptiveclick_med.evaluation.check import DatasetCheck, SectionCheck, check_dataset

SQUARE = np.zeros((12, 16), np.uint8)
SQUARE[2:6, 2:7] = 255  # 20 pixels
SQUARE[8:11, 3:6] = 255  # 9


def picture(path: Path, array: np.ndarray = SQUARE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def volume(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 2.0, 3.0, 1.0])), path)
    return path


def cube() -> np.ndarray:
    label = np.zeros((12, 12, 5), np.uint8)
    label[2:8, 2:8, 1:4] = 1  # 36 pixels in three slices
    label[9:11, 9:11, 2] = 2  # 4
    return label


def grabcut(folder: Path, count: int) -> Path:
    for number in range(count):
        picture(folder / "data_GT" / f"{number}.jpg", SQUARE)
        picture(folder / "boundary_GT" / f"{number}.bmp", np.where(SQUARE > 0, 255, 64).astype(np.uint8))
    return folder


def sbd(folder: Path, sections: dict[str, list[str]]) -> Path:
    for list_name, names in sections.items():
        for name in names:
            picture(folder / "img" / f"{name}.jpg")
            (folder / "inst").mkdir(exist_ok=True)
            fields = np.zeros((1, 1), dtype=[("Segmentation", "O")])
            fields[0, 0]["Segmentation"] = (SQUARE > 0).astype(np.uint8)
            savemat(folder / "inst" / f"{name}.mat", {"GTinst": fields})
        (folder / f"{list_name}.txt").write_text("\n".join(names))
    return folder


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source of arrays with published numbers: two images, four objects, two of them of fewer than ten pixels."""

    def list_items(dataset_dir: Any, *, seed: int, problems: Any, count: int = 2) -> list[dict[str, Any]]:
        label = np.where(SQUARE > 0, 1, 0)
        label[8:11] *= 2
        return [
            {
                "image": SQUARE,
                "label": label * (n < 2),
                "name": f"n{n}",
                "group": "g",
                "source": "numbers",
                "reader": {},
            }
            for n in range(count)
        ]

    monkeypatch.setattr(registry, "_REGISTERED", {})
    benchmark = Benchmark(min_area=10, images={"all": 2}, objects={"all": 4}, reference="Somebody 2020")
    register_source(Source("numbers", list_items, benchmark=benchmark))


class TestNumbers:
    def test_as_published(self, numbers: None) -> None:
        check = check_dataset("numbers")
        assert check.sections == [
            SectionCheck("all", 2, 4, items=2, images=2, objects=2, small_objects=2, without_object=[])
        ]
        assert check.ok and check.problems == [] and check.differences == []
        assert (check.items, check.images, check.objects) == (2, 2, 2)
        assert check.report().splitlines() == [
            "numbers",
            "  2 images, 2 objects of at least 10 pixels; 2 smaller.",
            "  as published: Somebody 2020.",
            "  All is well.",
        ]

    def test_other_options_are_no_fault(self, numbers: None) -> None:
        check = check_dataset("numbers", count=1)
        assert check.ok and check.differences == ["images: 1 found, 2 published", "objects: 2 found, 4 published"]
        assert "  images: 1 found, 2 published for the default options.\n" in check.report()
        assert check.report().endswith("All is well.")

    def test_images_without_an_object_are_told(self, numbers: None) -> None:
        check = check_dataset("numbers", count=9)
        assert check.sections[0].without_object == [f"n{n}" for n in range(2, 9)]
        assert "  7 images without an object: n2, n3, n4, n5, n6 and 2 more.\n" in check.report()

    def test_what_is_missing_is_counted(self, tmp_path: Path) -> None:
        check = check_dataset("GrabCut", grabcut(tmp_path, 3))
        assert not check.ok and check.problems == []
        assert check.differences == ["images: 3 found, 50 published", "objects: 3 found, 50 published"]
        lines = check.report().splitlines()
        assert lines[0] == f"GrabCut in {tmp_path}"
        assert lines[1:3] == ["  3 images, 3 objects.", "  images: 3 found, 50 published."]
        assert lines[-1] == "  This copy of the data set is not as it should be."

    def test_all_of_a_published_set(self, tmp_path: Path) -> None:
        check = check_dataset("grabcut", grabcut(tmp_path, 50))
        assert check.ok and check.images == check.objects == 50

    def test_sources_without_published_numbers_say_so(self, tmp_path: Path) -> None:
        picture(tmp_path / "images" / "a.png")
        picture(tmp_path / "labels" / "a.png")
        check = check_dataset("folder", tmp_path)
        assert check.ok
        assert check.report().splitlines()[1:] == [
            "  1 image, 1 object of at least 20 pixels.",
            "  there are no published numbers to compare with.",
            "  All is well.",
        ]

    def test_cases_are_counted_where_the_publisher_counts_them(self, tmp_path: Path) -> None:
        for case in ("a", "b"):
            for kind, array in (("flair", cube().astype(np.float32)), ("seg", cube())):
                volume(tmp_path / case / f"{case}_{kind}.nii.gz", array)
        check = check_dataset("brats", tmp_path, slices="all")
        assert (check.items, check.images, check.objects) == (6, 2, 6)
        assert "  2 cases (6 slices), 6 objects.\n" in check.report()
        assert "cases: 2 found, 369 published" in check.report()


class TestProblems:
    def test_every_one_is_named_and_none_ends_the_check(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        folder = grabcut(tmp_path, 6)
        (folder / "boundary_GT" / "0.bmp").unlink()
        (folder / "boundary_GT" / "1.bmp").write_bytes(b"rubbish")
        (folder / "data_GT" / "2.jpg").write_bytes((folder / "data_GT" / "2.jpg").read_bytes()[:200])
        picture(folder / "boundary_GT" / "3.bmp", SQUARE.T.copy())
        with caplog.at_level(logging.DEBUG):
            check = check_dataset("grabcut", folder)
        assert caplog.records == []
        found = dict(check.problems)
        assert len(found) == len(check.problems) == 4
        assert found[str(folder / "data_GT" / "0.jpg")] == "the image has no label of the same name"
        assert found[str(folder / "boundary_GT" / "1.bmp")].startswith("cannot be read: ")
        assert found[str(folder / "data_GT" / "2.jpg")].startswith("cannot be read: ")
        assert found[str(folder / "boundary_GT" / "3.bmp")] == "label of 3 is 16×12 pixels, but the image 12×16"
        assert (check.images, check.objects) == (2, 2)
        assert f"  4 problems:\n    - {folder / 'data_GT' / '0.jpg'}: the image has no label" in check.report()

    def test_a_broken_volume_is_named_once(self, tmp_path: Path) -> None:
        for case in ("a", "b"):
            volume(tmp_path / "imagesTr" / f"{case}.nii.gz", np.random.RandomState(0).random_sample((12, 12, 5)))
            volume(tmp_path / "labelsTr" / f"{case}.nii.gz", cube())
        file = tmp_path / "imagesTr" / "a.nii.gz"
        file.write_bytes(file.read_bytes()[:2000])  # the header can be read
        check = check_dataset("msd", tmp_path)
        assert [path for path, _ in check.problems] == [str(file)]
        assert (check.items, check.images, check.objects) == (3, 1, 3)
        assert not check.ok

    def test_any_error_of_a_reader_is_a_problem(self, numbers: None, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any) -> None:
            raise RuntimeError("no memory")

        monkeypatch.setattr("adaptiveclick_med.evaluation.check.LoadSampled", lambda: fail)
        check = check_dataset("numbers")
        assert check.problems == [("n0", "RuntimeError: no memory"), ("n1", "RuntimeError: no memory")]
        assert not check.ok and check.items == 0

    def test_another_folder(self, tmp_path: Path) -> None:
        check = check_dataset("brats", tmp_path)
        ((file, reason),) = check.problems
        assert file == str(tmp_path) and reason.startswith("is not a BraTS folder: looked there and one level below")
        assert not check.ok and check.sections == []

    def test_a_file_that_the_listing_needs(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def list_items(dataset_dir: Any, *, seed: int, problems: Any) -> list[dict[str, Any]]:
            raise UnreadableFileError("cannot read x.pickle: cut.", "x.pickle", "cut")

        monkeypatch.setattr(registry, "_REGISTERED", {})
        register_source(Source("listed", list_items))
        assert check_dataset("listed", tmp_path).problems == [("x.pickle", "cannot be read: cut")]

    def test_many_are_shown_in_part(self) -> None:
        problems = [(f"file{number}", "gone") for number in range(103)]
        report = DatasetCheck("Big", "/data", Benchmark(), problems=problems).report()
        assert "103 problems:" in report and "file99: gone." in report and "file100" not in report
        assert "    ... and 3 more." in report


class TestSections:
    def test_published_sections_are_checked_each(self, tmp_path: Path) -> None:
        check = check_dataset("sbd", sbd(tmp_path, {"train": ["a", "b"], "val": ["c"]}))
        assert [(section.section, section.images, section.objects) for section in check.sections] == [
            ("training", 2, 2),
            ("validation", 1, 1),
        ]
        assert check.differences == [
            "training: images: 2 found, 8498 published",
            "validation: images: 1 found, 2857 published",
            "validation: objects: 1 found, 6671 published",
        ]
        assert "  training: 2 images, 2 objects.\n" in check.report() and check.images == 3

    def test_a_section_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        check = check_dataset("sbd", sbd(tmp_path, {"val": ["c"]}))
        assert [section.section for section in check.sections] == ["validation"] and check.problems == []
        assert f"  training: not there: the training section needs the list {tmp_path / 'train.txt'}" in check.report()

    def test_one_section(self, tmp_path: Path) -> None:
        folder = sbd(tmp_path, {"train": ["a", "b"], "val": ["c"]})
        check = check_dataset("sbd", folder, section="training")
        assert [section.section for section in check.sections] == ["training"]
        (folder / "train.txt").unlink()
        ((file, reason),) = check_dataset("sbd", folder, section="training").problems
        assert file == str(folder) and reason.startswith("the training section needs the list")

    def test_a_split_of_our_own_has_no_published_numbers(self, tmp_path: Path) -> None:
        check = check_dataset("grabcut", grabcut(tmp_path, 10), section="validation")
        assert check.ok and check.images == 3
        assert "validation: there are no published numbers to compare with." in check.report()


class TestDeclared:
    def task(self, folder: Path, count: int, names: str) -> Path:
        for name in "ab":
            volume(folder / "imagesTr" / f"{name}.nii.gz", cube().astype(np.int16))
            volume(folder / "labelsTr" / f"{name}.nii.gz", cube())
        training = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names]
        (folder / "dataset.json").write_text(json.dumps({"numTraining": count, "training": training}))
        return folder

    def test_a_whole_task(self, tmp_path: Path) -> None:
        check = check_dataset("msd", self.task(tmp_path, 2, "ab"))
        assert check.ok and check.images == 2 and check.items == 6
        assert "  as published: numTraining of dataset.json." in check.report()

    def test_what_its_own_list_names_but_lacks(self, tmp_path: Path) -> None:
        check = check_dataset("msd", self.task(tmp_path, 3, "abc"))
        assert check.differences == ["volumes: 2 found, 3 published"]
        reason = "the data set's own list names it, but it is missing"
        assert check.problems == [(str(tmp_path / kind / "c.nii.gz"), reason) for kind in ("imagesTr", "labelsTr")]

    def test_a_damaged_list(self, tmp_path: Path) -> None:
        (self.task(tmp_path, 2, "ab") / "dataset.json").write_text("{")
        check = check_dataset("msd", tmp_path)
        assert not check.ok and check.images == 2
        assert "does not describe a Decathlon task" in check.problems[0][1]

    def test_without_a_list(self, tmp_path: Path) -> None:
        (self.task(tmp_path, 2, "ab") / "dataset.json").unlink()
        check = check_dataset("msd", tmp_path)
        assert check.ok and "there are no published numbers" in check.report()

    def test_a_mixed_data_set_has_no_numbers(self, tmp_path: Path) -> None:
        parts = [{"dataset": "msd", "dataset_dir": str(self.task(tmp_path, 2, "ab"))}]
        check = check_dataset("mixed", None, parts=parts)
        assert check.ok and check.items == 6 and "there are no published numbers" in check.report()


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown dataset 'imagenet'; valid names are"):
        check_dataset("imagenet", tmp_path)
    with pytest.raises(ValueError, match="section must be one of training, validation, all, got 'test'"):
        check_dataset("brats", tmp_path, section="test")
    with pytest.raises(ValueError, match="unknown option colour for dataset 'grabcut'; its options are: none"):
        check_dataset("grabcut", tmp_path, colour=1)
    with pytest.raises(ValueError, match="modality must be one of"):
        check_dataset("brats", tmp_path, modality="ct")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        check_dataset("brats", tmp_path / "nowhere")
    assert issubclass(DataSetError, ValueError) and get_source("sstem").benchmark.images == {"all": 20}


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "folder", "images", "objects", "differences"),
    [
        ("grabcut", "GrabCut", 50, 50, []),
        ("sstem", "ssTEM", 14, 269, ["images: 14 found, 20 published"]),
    ],
)
def test_real_data(shared: Path, name: str, folder: str, images: int, objects: int, differences: list[str]) -> None:
    check = check_dataset(name, shared / "data" / folder)
    assert (check.images, check.objects) == (images, objects)
    assert check.problems == [] and check.differences == differences and check.ok == (not differences)
