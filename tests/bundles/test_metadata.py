"""metadata.json: its schema, and that it tells the truth."""

from __future__ import annotations

import configparser
import copy
import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.apps.utils
import pytest
from monai.bundle import ConfigParser, verify_metadata
from packaging.requirements import Requirement

import adaptiveclick_med
from adaptiveclick_med.networks.click_network import as_size
from adaptiveclick_med.weights import default_path, read_header

SCHEMA = Path(__file__).with_name("meta_schema.json")
ROOT = Path(__file__).parents[2]
Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture
def metadata(configs: Path) -> dict[str, Any]:
    return json.loads((configs / "metadata.json").read_text())


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """MONAI's check with our schema in the place of the one that it would download."""

    def no_network(*_: Any, **__: Any) -> None:
        raise AssertionError("the schema must not be downloaded")

    monkeypatch.setattr(monai.apps.utils, "_download_with_progress", no_network)
    schema = shutil.copy(SCHEMA, tmp_path / "schema.json")
    checksum = hashlib.sha256(SCHEMA.read_bytes()).hexdigest()
    return lambda path: verify_metadata(
        meta_file=str(path), filepath=str(schema), hash_val=checksum, hash_type="sha256"
    )


def test_monai_accepts_the_metadata_without_a_warning(verify: Callable[[Path], None], configs: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        verify(configs / "metadata.json")
        ConfigParser().read_meta(f=str(configs / "metadata.json"))


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m.pop("version"),
        lambda m: m.pop("changelog"),
        lambda m: m.pop("monai_version"),
        lambda m: m.pop("network_data_format"),
        lambda m: m["network_data_format"].pop("outputs"),
        lambda m: m["network_data_format"]["inputs"]["image"].pop("channel_def"),
        lambda m: m["network_data_format"]["inputs"]["image"].update(num_channels="6"),
        lambda m: m["network_data_format"]["inputs"]["image"].update(spatial_shape=["import os"]),
        lambda m: m["network_data_format"]["outputs"]["pred"].update(value_range=[0]),
        lambda m: m["network_data_format"]["outputs"]["pred"].update(dtype="float"),
        lambda m: m.update(optional_packages_version={"timm": "1.0.0"}),
        lambda m: m.update(required_packages_version={"timm": ">=1.0"}),
        lambda m: m.update(version="one"),
    ],
)
def test_the_schema_refuses_wrong_metadata(
    verify: Callable[[Path], None], metadata: dict[str, Any], tmp_path: Path, edit: Edit
) -> None:
    wrong = copy.deepcopy(metadata)
    edit(wrong)
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    with pytest.raises(ValueError, match="Failed validating"):
        verify(tmp_path / "wrong.json")


def test_versions_are_those_of_the_package(metadata: dict[str, Any]) -> None:
    assert metadata["version"] == adaptiveclick_med.__version__
    assert metadata["version"] in metadata["changelog"]
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    asked = [Requirement(line) for line in setup["options"]["install_requires"].split("\n") if line]
    allowed = {requirement.name: requirement.specifier for requirement in asked}
    named = dict(metadata["required_packages_version"])
    assert named.pop("adaptiveclick-med") == adaptiveclick_med.__version__
    named.update({name: metadata[f"{key}_version"] for name, key in (("torch", "pytorch"), ("monai", "monai"))})
    named["numpy"] = metadata["numpy_version"]
    wrong = {name: version for name, version in named.items() if version not in allowed[name]}
    assert wrong == {}


def test_the_licence_of_the_default_weights(metadata: dict[str, Any]) -> None:
    header = read_header(default_path())
    assert metadata["copyright"].endswith(f"The default weights: {header['licence']}")
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == ["16*n", "16*n"]
    assert all(side % 16 == 0 for side in as_size(header["arguments"]["image_size"]))


def test_channels_are_all_described(metadata: dict[str, Any]) -> None:
    for tensors in metadata["network_data_format"].values():
        for tensor in tensors.values():
            assert list(tensor["channel_def"]) == [str(channel) for channel in range(tensor["num_channels"])]
