from __future__ import annotations

from pathlib import Path

import pytest

from adaptiveclick_med.export import is_exported
from adaptiveclick_med.export.formats import files_of, format_of, target_of


@pytest.mark.parametrize(("name", "kind"), [("a.ts", "torchscript"), ("b.onnx", "onnx"), ("c.d.xml", "openvino")])
def test_the_suffix_tells_the_format(name: str, kind: str) -> None:
    assert is_exported(name) and format_of(name) == kind
    assert target_of(name) == target_of(name, kind) == (Path(name), kind)


def test_a_name_without_suffix_gets_one() -> None:
    assert target_of("folder/model", "onnx") == (Path("folder/model.onnx"), "onnx")


def test_weights_are_not_exported() -> None:
    assert not is_exported("w.safetensors") and not is_exported("w.pth") and not is_exported("w")


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("m.pt", None, r"must end in one of .ts \(torchscript\), .onnx \(onnx\), .xml \(openvino\), got 'm.pt'"),
        ("m", None, "must end in one of .*got 'm'"),
        ("m.onnx", "openvino", "format openvino must end in .xml, got 'm.onnx'"),
        ("m.onnx", "tflite", "format must be one of torchscript, onnx, openvino, got 'tflite'"),
    ],
)
def test_what_cannot_be_written(name: str, kind: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        target_of(name, kind)


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").mkdir()
    with pytest.raises(IsADirectoryError, match=r"this is a folder: .*m\.onnx"):
        target_of(tmp_path / "m.onnx")
    with pytest.raises(IsADirectoryError, match="this is a folder"):
        target_of(tmp_path / "m", "onnx")


def test_weights_beside_a_file_belong_to_it(tmp_path: Path) -> None:
    for name in ("a.xml", "a.bin", "b.onnx", "b.onnx.data", "c.onnx", "d.ts", "d.bin"):
        (tmp_path / name).touch()
    found = {name: [each.name for each in files_of(tmp_path / name)] for name in ("a.xml", "b.onnx", "c.onnx", "d.ts")}
    assert found == {
        "a.xml": ["a.xml", "a.bin"],
        "b.onnx": ["b.onnx", "b.onnx.data"],
        "c.onnx": ["c.onnx"],
        "d.ts": ["d.ts"],
    }
