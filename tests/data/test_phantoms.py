from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from adaptiveclick_med.data import get_items
from adaptiveclick_med.data.phantoms import make_phantom, write_phantoms
from adaptiveclick_med.transforms.loading import LoadSampled

SIZE = (6, 64, 72)


def test_objects_are_nested_and_numbered_once() -> None:
    phantom = make_phantom(size=(12, 96, 96))
    assert phantom.image.shape == (96, 96, 12) and phantom.image.dtype == np.int16
    assert phantom.label.shape == (96, 96, 12, 3)
    body, organs, small = np.moveaxis(phantom.label, -1, 0)
    assert not (organs > 0)[body == 0].any() and not (small > 0)[body == 0].any()
    numbers = [set(np.unique(layer).tolist()) - {0} for layer in (body, organs, small)]
    assert numbers[0] == {1} and len(numbers[1]) >= 3 and len(numbers[2]) >= 2
    assert not numbers[1] & numbers[2]
    lesions = [number for number in numbers[2] if len(np.unique(organs[small == number])) == 1]
    assert any(organs[small == number].min() > 0 for number in lesions)


def test_intensity_tells_the_objects_apart() -> None:
    phantom = make_phantom(1)
    body, organs, small = np.moveaxis(phantom.label, -1, 0)
    plain = phantom.image[(body > 0) & (organs == 0) & (small == 0)].mean()
    assert phantom.image[body == 0].mean() < 0.2 * plain
    for number in set(np.unique(organs)) - {0}:
        assert abs(phantom.image[(organs == number) & (small == 0)].mean() - plain) > 40


def test_same_seed_same_phantom() -> None:
    first, again = make_phantom(2, size=SIZE, seed=5), make_phantom(2, size=SIZE, seed=5)
    assert np.array_equal(first.image, again.image) and np.array_equal(first.label, again.label)
    assert np.array_equal(first.affine, again.affine)
    for other in (make_phantom(3, size=SIZE, seed=5), make_phantom(2, size=SIZE, seed=6)):
        assert not np.array_equal(first.image, other.image)


def test_items_are_slices_and_volumes_are_groups() -> None:
    items = get_items("phantoms", num_volumes=3, size=SIZE)
    assert len({item["name"] for item in items}) == len(items) > 10
    assert {item["group"] for item in items} == {"phantom_000", "phantom_001", "phantom_002"}
    assert items[0]["name"] == "phantom_000/axial_000" and items[0]["source"] == "phantoms"
    validation = get_items("phantoms", num_volumes=3, size=SIZE, section="validation")
    assert len({item["group"] for item in validation}) == 1
    loaded = LoadSampled()(items[3])
    assert loaded["image"].shape == (1, 64, 72) and loaded["label"].shape == (3, 64, 72)
    assert loaded["label"].dtype == torch.int32 and loaded["label"].as_tensor().amax() >= 1


def test_written_phantoms_are_read_back_the_same(tmp_path: Path) -> None:
    files = write_phantoms(tmp_path / "set", num_volumes=2, size=SIZE, seed=3)
    assert sorted(path.name for path in (tmp_path / "set" / "images").iterdir()) == [
        "phantom_000.nii.gz",
        "phantom_001.nii.gz",
    ]
    affine = nibabel.load(files[0][0]).affine
    assert nibabel.aff2axcodes(affine) == ("L", "P", "S")
    assert np.count_nonzero(np.abs(affine[:3, :3]) > 1e-3) == 9
    memory = get_items("phantoms", num_volumes=2, size=SIZE, seed=3)
    disk = get_items("folder", tmp_path / "set")
    assert [item["name"] for item in memory] == [item["name"] for item in disk]
    load = LoadSampled()
    for one, other in zip(memory, disk, strict=True):
        one, other = load(one), load(other)
        for key in ("image", "label"):
            assert torch.equal(one[key].as_tensor(), other[key].as_tensor())
            assert torch.allclose(one[key].affine, other[key].affine, atol=1e-4)
        assert torch.allclose(one["image"].meta["intensity_range"], other["image"].meta["intensity_range"])


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(nibabel, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        write_phantoms(tmp_path, num_volumes=1, size=SIZE)
    assert list((tmp_path / "images").iterdir()) == []


@pytest.mark.parametrize(
    "options", [{"num_volumes": 0}, {"size": (4, 8, 64)}, {"size": (64, 64)}, {"size": (0, 64, 64)}, {"min_area": 0}]
)
def test_bad_options(options: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        get_items("phantoms", **options)


def test_one_slice_is_possible() -> None:
    assert len(get_items("phantoms", num_volumes=1, size=(1, 32, 32))) == 1
