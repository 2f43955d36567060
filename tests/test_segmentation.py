"""One file and its clicks in, a mask file out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from adaptiveclick_med.cli import app
from adaptiveclick_med.data.dicom import read_dicom_series
from adaptiveclick_med.data.dicom_writing import write_dicom_series
from adaptiveclick_med.data.files import Volume, read_volume
from adaptiveclick_med.data.masks import read_dicom_seg
from adaptiveclick_med.inference import InteractiveSession, VolumeSession
from adaptiveclick_med.segmentation import GivenClick, parse_click, read_clicks, segment_picture, segment_volume
from adaptiveclick_med.weights import default, load_network, save_weights, start_network

OBLIQUE = np.array([[0.0, -0.6, 2.4, 10.0], [1.5, 0.0, 0.0, -20.0], [0.0, 0.8, 1.8, 5.0], [0.0, 0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = start_network("AdaptiveClick", "nano", image_size=64).eval()
    return save_weights(tmp_path_factory.mktemp("weights") / "nano.safetensors", network)


@pytest.fixture
def network(weights: Path) -> Any:
    return load_network(weights)


@pytest.fixture(scope="module")
def volume() -> Volume:
    random = np.random.RandomState(0)
    array = random.normal(0, 30, (40, 36, 6))
    array[12:28, 10:24, 1:5] += 400
    return Volume(array.astype(np.int16), OBLIQUE)


@pytest.fixture
def file(volume: Volume, tmp_path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(volume.array, volume.affine), tmp_path / "case.nii.gz")
    return tmp_path / "case.nii.gz"


def expected(network: Any, volume: Volume, *clicks: tuple[Any, bool]) -> Any:
    session = VolumeSession(network)
    session.set_volume(volume.array, volume.affine)
    for point, positive in clicks:
        session.click(point, positive, plane=session.acquisition_plane)
    return session


def test_clicks_are_read_from_words() -> None:
    assert parse_click("120,90.5") == GivenClick((120.0, 90.5))
    assert parse_click("off:1,2,3") == GivenClick((1.0, 2.0, 3.0), positive=False)
    assert parse_click("on:-1,2,-3") == GivenClick((-1.0, 2.0, -3.0))
    for text in ("1", "1,2,3,4", "out:1,2", "a,b", ""):
        with pytest.raises(ValueError, match="a click must be"):
            parse_click(text)


def test_clicks_are_read_from_files(tmp_path: Path) -> None:
    path = tmp_path / "clicks.json"
    path.write_text(
        json.dumps([{"point": [3, 4, 5]}, {"point": [1, 2, 3], "positive": False, "label": 2, "plane": "coronal"}])
    )
    assert read_clicks(path) == [GivenClick((3, 4, 5)), GivenClick((1, 2, 3), False, 2, "coronal")]
    path.write_text(json.dumps({"foreground": [[3, 4, 5]], "background": [[1, 2, 3]]}))
    assert read_clicks(path) == [GivenClick((3, 4, 5)), GivenClick((1, 2, 3), False)]
    for content in (
        "{",
        '"x"',
        "[3]",
        '[{"at": [1, 2]}]',
        '[{"point": [1]}]',
        '{"points": []}',
        '[{"point": [1, "x"]}]',
        '[{"point": [1, 2, 3], "plane": ["axial"]}]',
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"clicks\.json"):
            read_clicks(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_volume(network: Any, volume: Volume, file: Path, tmp_path: Path, suffix: str) -> None:
    clicks = [GivenClick((20, 17, 3)), GivenClick((2, 2, 3), positive=False)]
    found = segment_volume(network, file, clicks, tmp_path / f"mask{suffix}", preview=tmp_path / "preview.png")
    session = expected(network, volume, ((20, 17, 3), True), ((2, 2, 3), False))
    written = read_volume(found.path)
    np.testing.assert_array_equal(written.array == 1, session.mask())
    np.testing.assert_allclose(written.affine, volume.affine, atol=1e-6)
    assert found.voxels == {1: int(session.mask().sum())}
    assert list(found.candidates) == [each.confidence for each in session.candidates]
    assert found.propagations == ()
    assert Image.open(tmp_path / "preview.png").width > 100


def test_world_points_labels_and_propagation(network: Any, volume: Volume, file: Path, tmp_path: Path) -> None:
    point = volume.affine @ [20, 17, 3, 1]
    lps = (-point[0], -point[1], point[2])
    clicks = [GivenClick(lps, label=2)]
    found = segment_volume(network, file, clicks, tmp_path / "m.nii", system="LPS", propagate="both", until=1)
    session = expected(network, volume)
    session.click((20, 17, 3), label=2, plane=session.acquisition_plane)
    session.propagate("both", 1, label=2)
    np.testing.assert_array_equal(read_volume(found.path).array, session.labels())
    assert len(found.propagations) == 1
    assert found.propagations[0].stops.keys() == {(3, "up"), (3, "down")}


def test_a_chosen_candidate(network: Any, volume: Volume, file: Path, tmp_path: Path) -> None:
    found = segment_volume(network, file, [GivenClick((20, 17, 3))], tmp_path / "m.nii", choose=4)
    session = expected(network, volume, ((20, 17, 3), True))
    session.choose(4)
    np.testing.assert_array_equal(read_volume(found.path).array > 0, session.mask())


def test_a_series_becomes_a_dicom_seg(network: Any, volume: Volume, tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "series", volume, modality="CT")
    series = read_dicom_series(tmp_path / "series")
    source = series.read()
    clicks = [GivenClick((20, 17, 3), label=1)]
    found = segment_volume(network, tmp_path / "series", clicks, tmp_path / "seg.dcm", names={1: "liver"})
    labels, segments = read_dicom_seg(found.path, series)
    np.testing.assert_array_equal(labels == 1, expected(network, source, ((20, 17, 3), True)).mask())
    assert [segment.name for segment in segments] == ["liver"]


def test_a_picture(network: Any, tmp_path: Path) -> None:
    random = np.random.RandomState(1)
    picture = random.randint(0, 255, (50, 60, 3)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "p.png")
    clicks = [GivenClick((20, 30)), GivenClick((2, 3), positive=False)]
    found = segment_picture(
        network, tmp_path / "p.png", clicks, tmp_path / "mask.png", preview=tmp_path / "preview.png"
    )
    session = InteractiveSession(network, second_look=True)
    session.set_image(picture)
    session.click(20, 30)
    answer = session.click(2, 3, positive=False)
    np.testing.assert_array_equal(np.asarray(Image.open(found.path)), answer.mask * np.uint8(255))
    assert found.voxels == {1: int(answer.mask.sum())}
    assert (tmp_path / "preview.png").is_file()
    two = [GivenClick((20, 30)), GivenClick((40, 10), label=7)]
    segment_picture(network, tmp_path / "p.png", two, tmp_path / "two.png")
    assert set(np.unique(np.asarray(Image.open(tmp_path / "two.png")))) <= {0, 1, 7}


def test_what_cannot_be_used_writes_nothing(network: Any, file: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "mask.nii.gz"
    one = [GivenClick((20, 17, 3))]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"clicks": []}, "there is no click"),
        ({"clicks": [GivenClick((1, 2))]}, "a click must be"),
        ({"clicks": [GivenClick((1, 2, 99))]}, "outside the volume"),
        ({"clicks": [GivenClick((1, 2, 3), label=0)]}, "label must be"),
        ({"clicks": [GivenClick((1, 2, 3), plane="tilted")]}, "plane must be"),
        ({"clicks": one, "system": "LAS"}, "system must be"),
        ({"clicks": one, "propagate": "left"}, "direction must be"),
        ({"clicks": one, "propagate": "up", "until": 0}, "until must be"),
        ({"clicks": one, "choose": 10}, "choose must be .* of the 10 candidates .* got 11"),
        ({"clicks": one, "output": tmp_path / "out" / "mask.png"}, "must be a .nii"),
        ({"clicks": one, "output": tmp_path / "out" / "mask.dcm"}, "only for a DICOM series"),
        ({"clicks": one, "image": tmp_path / "none.nii.gz"}, "there is no such file"),
    ]
    for changes, message in cases:
        arguments = {"image": file, "output": output, **changes}
        with pytest.raises(ValueError, match=message):
            segment_volume(network, **arguments)
    assert not (tmp_path / "out").exists()


def test_the_command_line(weights: Path, network: Any, volume: Volume, file: Path, tmp_path: Path) -> None:
    arguments = ["segment", str(file), str(tmp_path / "mask.nii.gz"), "--weights", str(weights)]
    clicks = ["--click", "20,17,3", "--click", "off:2,2,3"]
    more = ["--propagate", "both", "--until", "1", "--candidates", "--preview", str(tmp_path / "p.png")]
    result = CliRunner().invoke(app, [*arguments, *clicks, *more])
    assert result.exit_code == 0, result.output
    session = expected(network, volume, ((20, 17, 3), True), ((2, 2, 3), False))
    confidences = [f"candidate {place}: {each.confidence:.3f}" for place, each in enumerate(session.candidates, 1)]
    stops = session.propagate("both", 1).stops
    written = read_volume(tmp_path / "mask.nii.gz").array
    np.testing.assert_array_equal(written > 0, session.mask())
    assert f"label 1: {written.sum()} voxels" in result.output
    for line in confidences:
        assert line in result.output
    for (start, direction), stop in stops.items():
        assert f"slice {start} {direction} to {stop.index}: {stop.reason}" in result.output
    assert (tmp_path / "p.png").is_file()


def test_the_command_line_takes_the_default_weights(volume: Volume, file: Path, tmp_path: Path) -> None:
    arguments = ["segment", str(file), str(tmp_path / "mask.nii.gz"), "--click", "20,17,3", "--device", "cpu"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    session = expected(default(), volume, ((20, 17, 3), True))
    np.testing.assert_array_equal(read_volume(tmp_path / "mask.nii.gz").array > 0, session.mask())


def test_the_command_line_names_what_does_not_fit(weights: Path, file: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "p.png")
    picture = [str(tmp_path / "p.png"), str(tmp_path / "m.png")]
    cases = [
        ([*picture, "--click", "1,2", "--propagate", "up"], "--propagate is for volumes"),
        ([*picture, "--click", "1,2", "--system", "RAS"], "--system is for volumes"),
        ([*picture, "--click", "1,2", "--choose", "0"], "choose must be at least 1"),
        ([str(file), str(tmp_path / "m.nii"), "--click", "1,2,3", "--names", '{"a": "b"}'], "names must have labels"),
        ([str(file), str(tmp_path / "m.nii"), "--click", "1,2,3", "--names", "liver"], '{"1": "liver"}'),
        ([str(file), str(tmp_path / "m.nii"), "--click", "1,2,9", "--system", "RAS"], "click (1, 2, 9) in RAS"),
    ]
    for arguments, message in cases:
        result = CliRunner().invoke(app, ["segment", *arguments, "--weights", str(weights)])
        assert result.exit_code != 0
        assert message in str(result.exception)
