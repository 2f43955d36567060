"""The bundle's configs: MONAI's properties and ids, targets that exist, options that are used, export."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import monai.bundle
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ComponentLocator, ConfigParser, ConfigWorkflow
from monai.bundle.properties import InferProperties, MetaProperties, TrainProperties
from monai.data import load_net_with_metadata
from monai.transforms import Compose
from PIL import Image
from torch.utils.data import Dataset

from adaptiveclick_med.networks import AdaptiveClick, SimpleClick
from adaptiveclick_med.weights import load_weights

FILES = ("train.json", "evaluate.json", "inference.json", "multi_gpu_train.json")
ENTRY_POINTS = {
    *("imports", "initialize", "run", "finalize", "training", "evaluating", "train", "validate"),
    *("postprocessing", "preprocessing", "network_def"),
}
ABSENT = {
    "train.json": {"train_postprocessing", "train_key_metric", "val_postprocessing"},
    "evaluate.json": {"postprocessing"},
    "inference.json": {"key_metric"},
}


def read(configs: Path, name: str) -> dict[str, Any]:
    return json.loads((configs / name).read_text())


def targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from targets(child)


@pytest.fixture(scope="module")
def clicked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clicked")
    Image.fromarray(np.zeros((70, 80), np.uint8)).save(folder / "a.png")
    (folder / "clicks.json").write_text(json.dumps([{"image": "a.png", "clicks": [[3, 4, True]]}]))
    return folder


def workflow(configs: Path, name: str, root: Path, overrides: dict[str, Any]) -> ConfigWorkflow:
    kind = "train" if name == "train.json" else "infer"
    found = ConfigWorkflow(
        config_file=str(configs / name), workflow_type=kind, logging_file=False, bundle_root=str(root), **overrides
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found.initialize()
    assert not [warning for warning in caught if "deprecated name" in str(warning.message)]
    return found


@pytest.fixture
def overrides(small: dict[str, Any], clicked: Path) -> dict[str, dict[str, Any]]:
    phantoms = {"dataset_options": small["dataset_options"]}
    return {"train.json": small, "evaluate.json": phantoms, "inference.json": {"dataset_dir": str(clicked)}}


@pytest.mark.parametrize("name", FILES)
def test_every_target_exists(configs: Path, name: str) -> None:
    locator = ComponentLocator()
    for target in targets(read(configs, name)):
        if "." not in target:
            assert isinstance(locator.get_component_module_name(target), str), target
        else:
            module, _, attribute = target.rpartition(".")
            assert callable(getattr(__import__(module, fromlist=[attribute]), attribute)), target


@pytest.mark.parametrize("name", FILES[:3])
def test_every_option_is_used(configs: Path, name: str) -> None:
    config = read(configs, name)
    options = set(config) - ENTRY_POINTS
    text = json.dumps({key: value for key, value in config.items() if key != "imports"})
    assert [option for option in sorted(options) if not re.search(rf"@{option}\b", text)] == []
    imported = [re.split(r" import |import ", line)[-1] for line in config["imports"]]
    assert [module for module in imported if not re.search(rf"\b{module}[.(]", text)] == []


@pytest.mark.parametrize("name", FILES[:3])
def test_every_reference_leads_somewhere(configs: Path, name: str) -> None:
    parser = ConfigParser(read(configs, name))
    for reference in re.findall(r"@([\w#:]+)", json.dumps(read(configs, name))):
        assert reference.replace("#", "::") in parser, reference


def test_the_multi_gpu_file_overrides_what_exists(configs: Path) -> None:
    parser = ConfigParser(read(configs, "train.json"))
    new = [key for key in read(configs, "multi_gpu_train.json") if key.replace("#", "::") not in parser]
    assert new == ["validate#sampler", "validate#dataloader#sampler"]


@pytest.mark.parametrize("name", FILES[:3])
def test_monai_finds_all_properties(
    configs: Path, trained: Path, overrides: dict[str, dict[str, Any]], name: str
) -> None:
    found = workflow(configs, name, trained, overrides[name])
    assert found.check_properties() == []
    properties = {**(TrainProperties if name == "train.json" else InferProperties), **MetaProperties}
    values = {key: getattr(found, key) for key in properties}
    assert {key for key, value in values.items() if value is None} == ABSENT[name]
    prefix = "train_" if name == "train.json" else ""
    assert isinstance(values["evaluator"], Engine)
    assert isinstance(values["network_def"], AdaptiveClick)
    assert isinstance(values[f"{prefix}dataset"], Dataset)
    assert isinstance(values[f"{prefix}preprocessing"], Compose)
    assert values[f"{prefix}dataset"].transform is values[f"{prefix}preprocessing"]
    assert values[f"{prefix}dataset"].data is values[f"{prefix}dataset_data"]
    assert values["device"] == torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    assert values["bundle_root"] == str(trained)
    assert values["version"] == "0.1.0"
    assert values["spatial_shape"] == ["16*n", "16*n"]
    assert values["channel_def"] == {"0": "logits of the clicked object"}


def test_a_train_property_can_be_set(configs: Path, trained: Path, small: dict[str, Any]) -> None:
    found = workflow(configs, "train.json", trained, small)
    found.max_epochs = 7
    found.initialize()
    assert found.trainer.state.max_epochs == 7
    found.finalize()


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("train.json", ("initialize", "training", "run", "finalize")),
        ("evaluate.json", ("initialize", "evaluating", "run", "finalize")),
        ("inference.json", ("initialize", "run", "finalize")),
    ],
)
def test_ids(configs: Path, name: str, ids: tuple[str, ...]) -> None:
    parser = ConfigParser(read(configs, name))
    parser.parse()
    assert all(isinstance(parser[each], list) for each in ids)
    assert parser["run"] == parser[ids[1]]


@pytest.mark.parametrize("name", ["evaluate.json", "inference.json"])
@pytest.mark.parametrize("n", [2, 5])
def test_the_network_takes_and_gives_what_the_metadata_says(configs: Path, trained: Path, name: str, n: int) -> None:
    weights = {"bundle_root": str(trained)}  # so these are the default ones
    files = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / name)}
    monai.bundle.verify_net_in_out("network_def", device="cpu", n=n, **files, **weights)
    wrong = {"_meta_::network_data_format::outputs::pred::num_channels": 2}
    with pytest.raises(ValueError, match="channel number `1` doesn't match: `2`"):
        monai.bundle.verify_net_in_out("network_def", device="cpu", n=n, **files, **weights, **wrong)


def test_weights_of_another_network_are_not_exported(configs: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="size mismatch for encoder"):
        monai.bundle.ckpt_export(
            net_id="network_def",
            filepath=str(tmp_path / "model.ts"),
            ckpt_file=str(trained / "models" / "model.pt"),
            meta_file=str(configs / "metadata.json"),
            config_file=str(configs / "inference.json"),
            bundle_root=str(trained),
            use_trace=True,
            input_shape=[1, 6, 64, 64],
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("network", ["AdaptiveClick", "SimpleClick"])
def test_a_fresh_network_is_verified_where_there_are_no_weights(configs: Path, tmp_path: Path, network: str) -> None:
    monai.bundle.verify_net_in_out(
        "network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
        device="cpu",
        bundle_root=str(tmp_path),
        **{"network_def::name": network},
    )
    parser = ConfigParser({**read(configs, "inference.json"), "bundle_root": str(tmp_path)})
    parser["network_def::name"] = network
    kind = {"AdaptiveClick": AdaptiveClick, "SimpleClick": SimpleClick}[network]
    assert isinstance(parser.get_parsed_content("network_def"), kind)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_the_exported_network_gives_the_same_logits(configs: Path, trained: Path, tmp_path: Path) -> None:
    monai.bundle.ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(trained / "models" / "model.pt"),
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
        bundle_root=str(trained),
        weights=str(trained / "models" / "model.safetensors"),
        use_trace=True,
        input_shape=[1, 6, 64, 64],
    )
    network = load_weights(trained / "models" / "model.safetensors")
    exported = torch.jit.load(tmp_path / "model.ts")
    x = torch.rand(3, 6, 64, 64, generator=torch.Generator().manual_seed(0))
    x[:, 4:] = (x[:, 4:] > 0.99).float()
    with torch.no_grad():
        expected = network(x)
        torch.testing.assert_close(exported(x), expected, atol=1e-4, rtol=1e-4)
    assert float(expected.std()) > 0
    _, metadata, extra = load_net_with_metadata(str(tmp_path / "model.ts"), more_extra_files=["inference.json"])
    assert metadata["version"] == "0.1.0"
    assert json.loads(extra["inference.json"]) == read(configs, "inference.json")
