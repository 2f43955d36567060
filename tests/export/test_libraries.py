from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adaptiveclick_med.export import export_network, load_exported
from adaptiveclick_med.networks import ClickNetwork

INSTALL = r'pip install "adaptiveclick-med\[export\]"'


@pytest.mark.parametrize(
    ("library", "name"),
    [("onnx", "m.onnx"), ("onnxscript", "m.onnx"), ("onnxruntime", "m.onnx"), ("openvino", "m.xml")],
)
def test_a_missing_library_names_the_extra(
    library: str, name: str, networks: dict[str, ClickNetwork], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ValueError, match=f"needs {library} .*{INSTALL}"):
        if library == "onnxruntime":
            (tmp_path / name).touch()
            load_exported(tmp_path / name)
        else:
            export_network(networks["SimpleClick"], tmp_path / name)
    assert [each.name for each in tmp_path.iterdir()] == ([name] if library == "onnxruntime" else [])


def test_openvino_reports_to_nobody_and_other_libraries_stay_out(exported: Callable[..., Path]) -> None:
    code = f"""
import sys
from adaptiveclick_med.export import load_exported
heavy = ("onnx", "onnxscript", "onnxruntime", "openvino")
assert not [name for name in heavy if name in sys.modules]
load_exported({str(exported("SimpleClick", "openvino"))!r})
print(sorted(name for name in (*heavy, "openvino_telemetry") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['openvino']"
