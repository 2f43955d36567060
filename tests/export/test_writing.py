from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adaptiveclick_med.export import export_network, load_exported, writing
from adaptiveclick_med.export.graph import ExportableNetwork, example_input
from adaptiveclick_med.networks import AdaptiveClick, ClickNetwork, SimpleClick


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_what_is_reported(networks: dict[str, ClickNetwork], tmp_path: Path) -> None:
    exported = export_network(networks["AdaptiveClick"], tmp_path / "new" / "m", format="openvino")
    assert exported.path == tmp_path / "new" / "m.xml"
    assert (exported.format, exported.facts.network) == ("openvino", "AdaptiveClick")
    assert list(exported.differences) == ["logits", "mask_logits", "click_logits"]
    assert max(exported.differences.values()) < 1e-4
    assert names(tmp_path / "new") == ["m.bin", "m.xml"]


def test_another_size_and_no_square(network: ClickNetwork, tmp_path: Path) -> None:
    export_network(network, tmp_path / "m.ts", image_size=(72, 104))
    model = load_exported(tmp_path / "m.ts", device="cpu")
    assert model.image_size == (72, 104)
    x = example_input((72, 104), 3)
    with torch.no_grad():
        right = network.predict(x).logits
    assert float((model(x) - right).abs().max() / right.abs().max()) < 1e-4


def test_an_older_file_is_replaced(networks: dict[str, ClickNetwork], tmp_path: Path) -> None:
    for size in (64, 32):
        for name in ("m.ts", "m.xml"):
            export_network(networks["SimpleClick"], tmp_path / name, image_size=size)
            assert load_exported(tmp_path / name, device="cpu").image_size == (size, size)
    assert names(tmp_path) == ["m.bin", "m.ts", "m.xml"]


@pytest.mark.parametrize("name", ["m.ts", "m.xml"])
def test_a_file_that_differs_does_not_appear(
    name: str, networks: dict[str, ClickNetwork], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = writing._WRITERS["torchscript" if name == "m.ts" else "openvino"]

    def wrong(network: ExportableNetwork, *rest: object) -> None:
        other = ExportableNetwork(network.network)
        with torch.no_grad():
            other.network.head.classifier.bias += 1.0
        write(other, *rest)  # type: ignore[arg-type]

    (tmp_path / name).write_text("older")
    monkeypatch.setitem(writing._WRITERS, "torchscript" if name == "m.ts" else "openvino", wrong)
    with pytest.raises(ValueError, match=r"differs from the network itself by .* more than tolerance 0.001"):
        export_network(networks["SimpleClick"], tmp_path / name)
    assert names(tmp_path) == [name] and (tmp_path / name).read_text() == "older"


def test_two_inputs_of_three_decide(
    networks: dict[str, ClickNetwork], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([2e-7, 0.02, 3e-7, 4e-7, 1e-7])

    def differences(*_: object) -> dict[str, float]:
        return {"logits": next(found)}

    monkeypatch.setattr(writing, "_differences", differences)
    exported = export_network(networks["SimpleClick"], tmp_path / "m.ts")
    assert exported.differences == {"logits": 4e-7} and next(found, None) is None
    found = iter([0.02, 2e-7, 0.01, 1e-7, 1e-7])
    with pytest.raises(ValueError, match=r"differs from the network itself by 0\.01 of the largest logit"):
        export_network(networks["SimpleClick"], tmp_path / "n.ts")
    assert names(tmp_path) == ["m.ts"]


@pytest.mark.parametrize("size", [60, (64, 60), 4])
def test_a_size_that_is_no_multiple_of_the_patch(size: object, network: ClickNetwork, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="image_size must be a multiple of the network's patch of 8 pixels"):
        export_network(network, tmp_path / "m.ts", image_size=size)  # type: ignore[arg-type]
    assert names(tmp_path) == []


def test_networks_that_cannot_be_exported(tmp_path: Path) -> None:
    network = AdaptiveClick.from_preset("nano", image_size=64)
    with pytest.raises(ValueError, match="must be in evaluation mode"):
        export_network(network, tmp_path / "m.ts")
    with pytest.raises(ValueError, match=r"must be of float32, it has torch.bfloat16; call network.float\(\)"):
        export_network(network.eval().to(torch.bfloat16), tmp_path / "m.ts")
    with pytest.raises(ValueError, match="network must be an AdaptiveClick or SimpleClick, got Identity"):
        export_network(torch.nn.Identity(), tmp_path / "m.ts")  # type: ignore[arg-type]
    assert names(tmp_path) == []


def test_large_weights_lie_beside_an_onnx_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = SimpleClick.from_preset("nano", image_size=64, depth=1).eval()
    monkeypatch.setattr("adaptiveclick_med.export.onnx_file._LARGEST_SINGLE_FILE", 1000)
    assert export_network(network, tmp_path / "m.onnx").differences["logits"] < 1e-4
    assert names(tmp_path) == ["m.onnx", "m.onnx.data"]
    (tmp_path / "moved").mkdir()
    for name in ("m.onnx", "m.onnx.data"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    assert load_exported(tmp_path / "moved" / "m.onnx", device="cpu").image_size == (64, 64)
