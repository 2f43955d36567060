from __future__ import annotations

import gzip
import shutil
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from adaptiveclick_med.data.files import read_volume
from adaptiveclick_med.label_app.answer_files import write_answer
from adaptiveclick_med.label_app.click_request import EXTENSIONS
from adaptiveclick_med.label_app.zero_runs import ZeroRunStream
from tests.label_app.conftest import AFFINE

SHAPE = (37, 29, 11)


def _slices(*indices: int) -> dict[int, np.ndarray]:
    random = np.random.RandomState(0)
    return {index: random.rand(*SHAPE[:2]) > 0.5 for index in indices}


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("indices", [(), (0,), (3, 4, 10)])
def test_other_libraries_read_the_answer(extension: str, indices: tuple[int, ...], wide: bool, compress: bool) -> None:
    slices = _slices(*indices)
    expected = np.zeros(SHAPE, np.uint8)
    for index, mask in slices.items():
        expected[:, :, index] = mask
    directions, spacing = np.linalg.qr(AFFINE[:3, :3])[0], np.array([0.75, 0.8125, 3.0])
    affine = AFFINE.copy()
    affine[:3, :3] = directions * spacing
    path = write_answer(slices, SHAPE, affine, extension, name="left kidney", wide=wide, compress=compress)
    try:
        image = SimpleITK.ReadImage(path)
        array = SimpleITK.GetArrayFromImage(image).transpose()
        assert array.dtype == (np.uint16 if wide else np.uint8)
        np.testing.assert_array_equal(array, expected)
        exact = 1e-6 if extension.startswith(".nii") else 1e-12
        np.testing.assert_allclose(read_volume(path).affine, affine, atol=exact * 100)
        if extension.startswith(".nii"):
            file = nibabel.load(path)
            np.testing.assert_array_equal(np.asanyarray(file.dataobj), expected)
            np.testing.assert_array_equal(file.affine, affine.astype(np.float32))
        if extension == ".seg.nrrd":
            assert image.GetMetaData("Segment0_Name") == "left kidney"
            assert image.GetMetaData("Segment0_LabelValue") == "1"
    finally:
        Path(path).unlink()


def test_sheared_axes_survive_in_nifti() -> None:
    path = write_answer(_slices(2), SHAPE, AFFINE, ".nii.gz")
    file = nibabel.load(path)
    np.testing.assert_array_equal(file.affine, AFFINE.astype(np.float32))
    assert int(file.header["qform_code"]) == 0
    Path(path).unlink()


def test_the_same_mask_gives_the_same_bytes() -> None:
    paths = [Path(write_answer(_slices(1, 5), SHAPE, AFFINE, ".nrrd")) for _ in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    for path in paths:
        path.unlink()


def test_a_stream_is_what_gzip_and_zlib_expect() -> None:
    stream = ZeroRunStream(1000)
    stream.start(b"head")
    stream.zeros(3)
    stream.data(bytes(range(250)) * 4)
    stream.zeros(0)
    stream.zeros(70)
    expected = b"head" + bytes(3000) + bytes(range(250)) * 4 + bytes(70_000)
    assert gzip.decompress(stream.gzip()) == expected
    assert zlib.decompress(stream.zlib()) == expected
    assert len(stream.gzip()) < 3000
    with pytest.raises(ValueError, match="1000 bytes"):
        stream.data(b"short")


def test_a_temporary_folder_that_was_cleaned_up_comes_back() -> None:
    first = Path(write_answer({}, SHAPE, AFFINE, ".nii.gz"))
    shutil.rmtree(first.parent)
    second = Path(write_answer({}, SHAPE, AFFINE, ".nii.gz"))
    assert second.is_file()
    assert second.parent == first.parent
    second.unlink()
