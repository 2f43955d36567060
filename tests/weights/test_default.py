"""The default weights: in a checkout, in a wheel, and what they are."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import adaptiveclick_med.weights as package
from adaptiveclick_med.evaluation import evaluate_sample
from adaptiveclick_med.inference import InteractiveSession
from adaptiveclick_med.weights import default, default_path, load_weights, read_header

ROOT = Path(__file__).parents[2]
FILE = ROOT / "bundles" / "adaptiveclick" / "models" / "default.safetensors"
SHIPPED = "adaptiveclick_med/weights/shipped/default.safetensors"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build reads."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    unneeded = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "adaptiveclick_med", folder / "adaptiveclick_med", ignore=unneeded)
    (folder / FILE.relative_to(ROOT)).parent.mkdir(parents=True)
    shutil.copy(FILE, folder / FILE.relative_to(ROOT))
    return folder


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace", timeout=120)


class TestFile:
    def test_it_is_small_and_tells_its_licence(self) -> None:
        assert FILE.stat().st_size < 5_000_000
        header = read_header(FILE)
        assert header["licence"] == "CC-BY-SA-4.0"
        assert header["network"] == "AdaptiveClick"

    def test_a_checkout_reads_the_bundle_s(self) -> None:
        assert default_path() == FILE

    def test_the_network(self) -> None:
        network = default(device=torch.device("cpu"))
        assert not network.training
        assert {tensor.dtype for tensor in network.state_dict().values() if tensor.is_floating_point()} == {
            torch.float32
        }
        expected = load_weights(FILE).state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())

    def test_it_finds_a_disk(self) -> None:
        rows, columns = np.ogrid[:200, :240]
        disk = (rows - 90) ** 2 + (columns - 130) ** 2 <= 20**2
        image = (60 + 120 * disk + np.random.RandomState(0).normal(0, 6, disk.shape)).astype(np.uint8)
        _, ious = evaluate_sample(image, disk, InteractiveSession(default()), 5)
        assert ious[-1] > 0.6

    def test_where_it_is_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        module = sys.modules["adaptiveclick_med.weights.default"]
        monkeypatch.setattr(module, "_INSTALLED", tmp_path / "shipped.safetensors")
        monkeypatch.setattr(module, "_CHECKOUT", tmp_path / "bundle.safetensors")
        message = (
            f"The default weights are missing: there is neither {tmp_path / 'shipped.safetensors'} nor "
            f"{tmp_path / 'bundle.safetensors'}. Install the software anew, or name a weight file of your own."
        )
        for call in (default_path, default):
            with pytest.raises(FileNotFoundError) as error:
                call()
            assert str(error.value) == message
        shutil.copy(FILE, tmp_path / "bundle.safetensors")
        assert default_path() == tmp_path / "bundle.safetensors"
        shutil.copy(FILE, tmp_path / "shipped.safetensors")
        assert default_path() == tmp_path / "shipped.safetensors"

    def test_the_function_is_not_hidden_by_its_module(self) -> None:
        import adaptiveclick_med.weights.default

        assert package.default is default
        assert adaptiveclick_med.weights.default is default


class TestBuild:
    def test_a_wheel_holds_it_and_runs_elsewhere(self, source: Path, tmp_path: Path) -> None:
        options = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
        built = run(source, "-m", "pip", "wheel", ".", *options, "--wheel-dir", tmp_path)
        assert built.returncode == 0, built.stdout + built.stderr
        (wheel,) = tmp_path.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            assert archive.read(SHIPPED) == FILE.read_bytes()
            record = next(name for name in archive.namelist() if name.endswith("/RECORD"))
            assert SHIPPED in archive.read(record).decode()
            archive.extractall(tmp_path / "installed")  # a wheel of Python alone is installed by unpacking
        shown = (
            "import json, sys; sys.path.insert(0, sys.argv[1]); sys.meta_path[:] = ["
            "finder for finder in sys.meta_path if 'Editable' not in repr(finder)]; "
            "from adaptiveclick_med import weights; "
            "print(json.dumps([str(weights.default_path()), type(weights.default()).__name__]))"
        )
        done = run(tmp_path, "-c", shown, tmp_path / "installed")
        assert done.returncode == 0, done.stderr
        found: Any = json.loads(done.stdout)
        assert found == [str(tmp_path / "installed" / SHIPPED), "AdaptiveClick"]

    def test_a_source_distribution_holds_the_bundle_s(self, source: Path, tmp_path: Path) -> None:
        done = run(source, "setup.py", "--quiet", "sdist", "--formats", "gztar", "--dist-dir", tmp_path)
        assert done.returncode == 0, done.stderr
        (file,) = tmp_path.glob("*.tar.gz")
        with tarfile.open(file) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        assert {"setup.py", "setup.cfg", str(FILE.relative_to(ROOT).as_posix())} <= names
        assert SHIPPED not in names

    def test_an_editable_installation_keeps_to_the_bundle_s(self, source: Path, tmp_path: Path) -> None:
        done = run(source, "setup.py", "--quiet", "editable_wheel", "--dist-dir", tmp_path)
        assert done.returncode == 0, done.stderr
        (wheel,) = tmp_path.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            assert not [name for name in archive.namelist() if name.endswith(".safetensors")]
        assert not (source / SHIPPED).exists()

    def test_no_build_without_it(self, source: Path, tmp_path: Path) -> None:
        (source / FILE.relative_to(ROOT)).rename(tmp_path / "away.safetensors")
        try:
            done = run(source, "setup.py", "--quiet", "build_py", "--build-lib", tmp_path / "lib")
        finally:
            (tmp_path / "away.safetensors").rename(source / FILE.relative_to(ROOT))
        assert done.returncode != 0
        assert f"'{FILE.relative_to(ROOT)}'" in done.stderr
