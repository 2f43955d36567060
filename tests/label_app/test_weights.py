from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from adaptiveclick_med.data.files import read_volume
from adaptiveclick_med.inference import AcceleratedNetwork, VolumeSession
from adaptiveclick_med.label_app.publishing import check_publishable, publish_weights
from adaptiveclick_med.label_app.served_network import ServedNetwork
from adaptiveclick_med.label_app.serving_options import ServingOptions
from adaptiveclick_med.weights import default, default_path, save_weights, start_network
from tests.label_app.conftest import Server


def test_new_weights_are_used_and_damaged_ones_refused(start_server: Callable[..., Server], tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "mine.safetensors", start_network("AdaptiveClick", "nano", seed=1))
    server = start_server("--weights", str(weights))
    client = server.client(tmp_path / "client")
    params = {"foreground": [[16, 14, 2]], "background": [], "slice": 2}

    def mask() -> np.ndarray:
        return read_volume(client.infer("adaptiveclick_2d", "head", dict(params))[0]).array

    first = mask()
    other = save_weights(tmp_path / "other.safetensors", start_network("AdaptiveClick", "nano", seed=2))
    good, better = weights.read_bytes(), other.read_bytes()
    weights.write_bytes(pickle.dumps({"a": print}))
    answer = server.post(**params)
    assert answer.status_code == 409
    assert "mine.safetensors" in answer.json()["detail"]
    assert server.post(**params).status_code == 409
    weights.write_bytes(good[: len(good) // 2])
    assert server.post(**params).status_code == 409
    weights.unlink()
    assert server.post(**params).status_code == 409
    assert client.info()["labels"]
    weights.write_bytes(better)
    assert not np.array_equal(mask(), first)
    weights.write_bytes(good)
    np.testing.assert_array_equal(mask(), first)
    server.stop()


def test_a_server_begins_with_the_default_weights(start_server: Callable[..., Server], tmp_path: Path) -> None:
    server = start_server(preset=None)
    used = server.work_dir / "model" / "model.safetensors"
    assert used.read_bytes() == default_path().read_bytes()
    assert f"they are copied to {used}" in server.log
    params = {"foreground": [[16, 14, 2]], "background": [], "slice": 2}
    answer = read_volume(server.client(tmp_path / "client").infer("adaptiveclick_2d", "head", params)[0]).array
    volume = read_volume(server.studies / "head.nii.gz")
    session = VolumeSession(default(), second_look=True)
    session.set_volume(volume.array, volume.affine)
    session.click((16, 14, 2))
    np.testing.assert_array_equal(answer > 0, session.mask())
    server.stop()


def test_the_copy_is_the_server_s_own(tmp_path: Path) -> None:
    before = default_path().read_bytes()
    network = ServedNetwork(ServingOptions(tmp_path / "work", device="cpu"))
    version = network.current().version
    assert network.path == tmp_path / "work" / "model" / "model.safetensors"
    assert network.path.stat().st_nlink == 1 and not network.path.is_symlink()
    check_publishable(network.path)
    kept = publish_weights(network.path, start_network("AdaptiveClick", "nano", seed=1), training={})
    assert kept is not None and kept.parent == network.path.parent and kept.read_bytes() == before
    assert default_path().read_bytes() == before
    assert network.current().version != version
    published = network.path.read_bytes()
    ServedNetwork(ServingOptions(tmp_path / "work", device="cpu"))
    assert network.path.read_bytes() == published


def test_a_weight_file_that_is_named_must_exist(tmp_path: Path) -> None:
    lost = tmp_path / "lost.safetensors"
    for preset in (None, "nano"):
        with pytest.raises(FileNotFoundError, match=r"There is no weight file .*lost\.safetensors"):
            ServedNetwork(ServingOptions(tmp_path / "work", weights=lost, preset=preset))
    assert not lost.exists() and not (tmp_path / "work").exists()


def test_an_untrained_network_is_the_same_after_a_restart(tmp_path: Path) -> None:
    first = ServedNetwork(ServingOptions(tmp_path / "work", preset="nano")).current()
    again = ServedNetwork(ServingOptions(tmp_path / "work")).current()
    for name, tensor in first.network.state_dict().items():
        assert bool((tensor == again.network.state_dict()[name]).all())


def test_the_network_may_be_faster(tmp_path: Path) -> None:
    ServedNetwork(ServingOptions(tmp_path / "work", preset="nano", device="cpu"))
    options = ServingOptions(tmp_path / "work", device="cpu", precision="bfloat16", quantize="int8")
    loaded = ServedNetwork(options).current()
    assert isinstance(loaded.network, AcceleratedNetwork)
    assert loaded.network.facts == {"precision": "bfloat16", "quantize": "int8"}
    before = loaded.stopwatch.seconds
    loaded.network.predict(torch.zeros(1, 6, 64, 64), auxiliary=False)
    assert loaded.stopwatch.seconds > before
    wrong = ServingOptions(tmp_path / "work", device="cpu", precision="half")
    with pytest.raises(ValueError, match="precision must be one of float32, bfloat16 on a CPU, got 'half'"):
        ServedNetwork(wrong).check()
