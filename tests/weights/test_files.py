from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from adaptiveclick_med.networks import AdaptiveClick, SimpleClick
from adaptiveclick_med.weights import load_weights, read_header, read_intensity, read_state, save_weights
from adaptiveclick_med.weights.files import has_header

SMALL = {"patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2, "pyramid_channels": (8, 8, 8, 8)}


def make(name="SimpleClick", seed=0, **options):
    torch.manual_seed(seed)
    if name == "SimpleClick":
        return SimpleClick(**{"image_size": 32, **SMALL, "head_dim": 8, "window_size": 3, **options}).eval()
    return AdaptiveClick(
        **{
            "image_size": 32,
            **SMALL,
            "decoder_dim": 64,
            "decoder_heads": 4,
            "pixel_decoder_layers": 1,
            "pixel_feedforward_dim": 16,
            "num_queries": 3,
            "click_decoder_layers": 3,
            "click_feedforward_dim": 16,
            **options,
        }
    ).eval()


class Malicious:
    """Would make a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def with_header(path: Path, header: str, **tensors: torch.Tensor) -> Path:
    safetensors.torch.save_file(tensors or {"a": torch.ones(1)}, path, metadata={"adaptiveclick_med": header})
    return path


class TestRoundTrip:
    @pytest.mark.parametrize("name", ["AdaptiveClick", "SimpleClick"])
    @pytest.mark.parametrize("size", [32, (32, 48)])
    @torch.no_grad()
    def test_equal_outputs(self, tmp_path, name, size):
        network = make(name, image_size=size, image_mean=(0.1, 0.2, 0.3)).train()
        path = save_weights(tmp_path / "new" / "w.safetensors", network)
        loaded = load_weights(str(path))
        assert type(loaded) is type(network)
        assert not loaded.training
        assert loaded.arguments == network.arguments
        x = torch.rand(2, 6, 32, 32)
        assert torch.equal(loaded(x), network.eval()(x))

    def test_header(self, tmp_path):
        network = make()
        facts = {"epochs": 3, "data": ["a", "b"], "score": None}
        path = save_weights(tmp_path / "w.safetensors", network, training=facts, licence="Apache-2.0")
        assert read_header(path) == {
            "format": 1,
            "network": "SimpleClick",
            "arguments": json.loads(json.dumps(network.arguments)),
            "intensity": None,
            "training": facts,
            "licence": "Apache-2.0",
            "dtype": "float32",
        }
        assert has_header(path)
        plain = read_header(save_weights(path, network))
        assert (plain["training"], plain["licence"]) == ({}, None)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_the_size_and_float32_again(self, tmp_path, dtype):
        network = make().eval()
        whole = save_weights(tmp_path / "whole.safetensors", network).stat().st_size
        path = save_weights(tmp_path / "half.safetensors", network, dtype=dtype)
        assert path.stat().st_size < 0.55 * whole
        assert read_header(path)["dtype"] == str(dtype).removeprefix("torch.")
        assert {tensor.dtype for tensor in read_state(path).values()} == {dtype}
        loaded = load_weights(path)
        for name, tensor in network.state_dict().items():
            assert loaded.state_dict()[name].dtype == torch.float32
            assert torch.equal(loaded.state_dict()[name], tensor.to(dtype).float()), name
        x = torch.rand(1, 6, 32, 32)
        torch.testing.assert_close(loaded(x), network(x), atol=0.05, rtol=0.05)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.int8, "float16", None])
    def test_other_types_are_refused(self, tmp_path, dtype):
        with pytest.raises(
            ValueError, match=r"dtype must be one of torch\.float32, torch\.float16, torch\.bfloat16, got"
        ):
            save_weights(tmp_path / "w.safetensors", make(), dtype=dtype)
        assert list(tmp_path.iterdir()) == []

    def test_a_weight_that_is_too_large_is_named(self, tmp_path):
        network = make()
        with torch.no_grad():
            network.encoder.pos_embed[0, 0, 0] = 1e5
        message = r"dtype torch\.float16 cannot hold the largest values of encoder\.pos_embed: 1e\+05"
        with pytest.raises(ValueError, match=message):
            save_weights(tmp_path / "w.safetensors", network, dtype=torch.float16)
        save_weights(tmp_path / "w.safetensors", network, dtype=torch.bfloat16)

    def test_the_file_holds_the_state_dict_and_nothing_else(self, tmp_path):
        network = make()
        state = read_state(save_weights(tmp_path / "w.safetensors", network))
        assert state.keys() == network.state_dict().keys()
        assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())


class TestIntensity:
    CHOICE = {"window": [-10.0, 30.0], "channels": [2, 1, 0], "percentiles": [0.5, 99.5], "nan": "raise"}  # noqa: RUF012

    def test_it_travels_with_the_weights(self, tmp_path):
        network = make()
        assert network.intensity is None
        network.intensity = {"window": (-10, 30), "channels": (2, 1, 0)}
        path = save_weights(tmp_path / "w.safetensors", network)
        assert read_header(path)["intensity"] == self.CHOICE
        loaded = load_weights(path)
        assert loaded.intensity == read_intensity(path) == self.CHOICE
        assert read_header(save_weights(tmp_path / "again.safetensors", loaded)) == read_header(path)

    def test_files_that_do_not_tell_it_give_none(self, tmp_path):
        network = make()
        header = {"format": 1, "network": "SimpleClick", "arguments": network.arguments}
        old = with_header(tmp_path / "old.safetensors", json.dumps(header), **network.state_dict())
        new = save_weights(tmp_path / "new.safetensors", network)
        assert load_weights(old).intensity is load_weights(new).intensity is None
        torch.save(network.state_dict(), tmp_path / "released.pth")
        for path in (old, new, tmp_path / "released.pth", tmp_path / "missing.safetensors", None, ""):
            assert read_intensity(path) is None

    @pytest.mark.parametrize("intensity", [{"window": "heart"}, {"widow": 1}, "lung", 3, [], {"channels": [1, 2]}])
    def test_damaged(self, tmp_path, intensity):
        network = make()
        header = {"network": "SimpleClick", "arguments": network.arguments, "intensity": intensity}
        path = with_header(tmp_path / "h.safetensors", json.dumps(header), **network.state_dict())
        with pytest.raises(ValueError, match=r"The intensity in .*h\.safetensors cannot be used: "):
            load_weights(path)
        with pytest.raises(ValueError, match=r"The intensity in .*h\.safetensors cannot be used: "):
            read_intensity(path)

    def test_what_cannot_be_used_is_not_written(self, tmp_path):
        network = make()
        network.intensity = {"window": "heart"}
        with pytest.raises(ValueError, match="window must be one of abdomen"):
            save_weights(tmp_path / "w.safetensors", network)
        assert list(tmp_path.iterdir()) == []


class TestSave:
    def test_an_interrupted_write_leaves_nothing(self, tmp_path, monkeypatch):
        write = Path.write_bytes

        def broken(path, content):
            write(path, content[: len(content) // 2])
            raise OSError("disk full")

        monkeypatch.setattr(Path, "write_bytes", broken)
        with pytest.raises(OSError, match="disk full"):
            save_weights(tmp_path / "w.safetensors", make())
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("training", [{"x": np.float32(1)}, {(1, 2): 3}, {"x": torch.ones(1)}, {"x": {1, 2}}])
    def test_training_must_be_plain(self, tmp_path, training):
        with pytest.raises(ValueError, match="training must hold plain JSON values"):
            save_weights(tmp_path / "w.safetensors", make(), training=training)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["w.pth", "w", "w.safetensors.gz"])
    def test_suffix(self, tmp_path, name):
        with pytest.raises(ValueError, match=r"path must end in \.safetensors"):
            save_weights(tmp_path / name, make())


class TestReadState:
    @pytest.mark.parametrize("new_format", [True, False])
    def test_plain_containers(self, tmp_path, new_format):
        path = tmp_path / "c.pth"
        content = {"state_dict": {"a": torch.arange(3)}, "epoch": 3, "names": ["x", (1.5, None)]}
        torch.save(content, path, _use_new_zipfile_serialization=new_format)
        read = read_state(path)
        assert torch.equal(read["state_dict"].pop("a"), torch.arange(3))
        content["state_dict"].pop("a")
        assert read == content

    @pytest.mark.parametrize("new_format", [True, False])
    def test_a_malicious_pickle_is_not_run(self, tmp_path, new_format):
        path, trace = tmp_path / "evil.pth", tmp_path / "trace"
        torch.save(
            {"state_dict": {"a": torch.ones(1)}, "config": Malicious(trace)},
            path,
            _use_new_zipfile_serialization=new_format,
        )
        with pytest.raises(ValueError, match=r"plain values, so it was not read and nothing in it was run .*\.mkdir\)"):
            read_state(path)
        assert not trace.exists()
        torch.load(path, weights_only=False)
        assert trace.exists()

    def test_a_whole_pickled_network_is_not_run(self, tmp_path):
        torch.save(make(), tmp_path / "n.pth")
        with pytest.raises(ValueError, match="more than tensors and plain values"):
            read_state(tmp_path / "n.pth")

    @pytest.mark.filterwarnings("ignore:Detected pickle protocol")
    @pytest.mark.parametrize("new_format", [True, False])
    def test_truncated_or_damaged_checkpoints_give_one_kind_of_error(self, tmp_path, new_format):
        path, R = tmp_path / "c.pth", random.Random(0)
        torch.save({"model": {"a": torch.ones(300)}, "x": 1}, path, _use_new_zipfile_serialization=new_format)
        whole = path.read_bytes()
        for cut in range(0, len(whole) - 1, len(whole) // 60):
            path.write_bytes(whole[:cut])
            with pytest.raises(ValueError, match=r"c\.pth"):
                read_state(path)
        refused = 0
        for _ in range(150):
            damaged = bytearray(whole)
            for _ in range(5):
                damaged[R.randrange(len(whole) if new_format else len(whole) // 4)] = R.randrange(256)
            path.write_bytes(bytes(damaged))
            try:
                read_state(path)
            except ValueError:
                refused += 1
        assert refused > 30

    def test_truncated_safetensors(self, tmp_path):
        path = save_weights(tmp_path / "w.safetensors", make())
        whole = path.read_bytes()
        for cut in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:cut])
            with pytest.raises(ValueError, match="truncated, damaged or no checkpoint"):
                read_state(path)
            with pytest.raises(ValueError, match="truncated, damaged or no"):
                load_weights(path)
            assert not has_header(path)

    def test_other_content(self, tmp_path):
        torch.save([torch.ones(1)], tmp_path / "list.pth")
        with pytest.raises(ValueError, match="must hold a dictionary of tensors, it holds a list"):
            read_state(tmp_path / "list.pth")
        (tmp_path / "text.pth").write_text("not a checkpoint")
        with pytest.raises(ValueError, match=r"text\.pth is"):
            read_state(tmp_path / "text.pth")
        torch.save({"a": torch.ones(1)}, tmp_path / "named.safetensors")
        with pytest.raises(ValueError, match="truncated, damaged or no checkpoint"):
            read_state(tmp_path / "named.safetensors")

    @pytest.mark.parametrize("read", [read_state, read_header, load_weights])
    @pytest.mark.parametrize("name", ["missing.pth", "missing.safetensors", "."])
    def test_no_such_file(self, tmp_path, read, name):
        with pytest.raises(FileNotFoundError, match="There is no weight file"):
            read(tmp_path / name)


class TestLoad:
    def test_foreign_files_are_named(self, tmp_path):
        path = tmp_path / "foreign.safetensors"
        safetensors.torch.save_file({"backbone.pos_embed": torch.ones(1)}, path)
        with pytest.raises(ValueError, match="no header of adaptiveclick_med; use load_released"):
            load_weights(path)
        assert not has_header(path)
        torch.save({"state_dict": {}}, tmp_path / "released.pth")
        with pytest.raises(ValueError, match="no safetensors file"):
            load_weights(tmp_path / "released.pth")
        assert not has_header(tmp_path / "released.pth")

    @pytest.mark.parametrize(
        "header",
        ["{", "[]", "3", "null", "{}", '{"network": "SimpleClick"}', '{"network": "SimpleClick", "arguments": 3}'],
    )
    def test_damaged_header(self, tmp_path, header):
        with pytest.raises(ValueError, match="no header of adaptiveclick_med"):
            load_weights(with_header(tmp_path / "h.safetensors", header))

    @pytest.mark.parametrize("network", ['"UNet"', "null", '["SimpleClick"]', '{"a": 1}'])
    def test_unknown_network(self, tmp_path, network):
        path = with_header(tmp_path / "h.safetensors", f'{{"network": {network}, "arguments": {{}}}}')
        with pytest.raises(ValueError, match="known ones are AdaptiveClick, SimpleClick"):
            load_weights(path)

    @pytest.mark.parametrize(
        "arguments", [{"no_such": 1}, {"embed_dim": "x"}, {"patch_size": 0}, {"image_size": 7}, {"embed_dim": -8}]
    )
    def test_arguments_that_build_nothing(self, tmp_path, arguments):
        header = json.dumps({"network": "SimpleClick", "arguments": arguments})
        with pytest.raises(ValueError, match=r"The arguments in .*h\.safetensors do not build a SimpleClick"):
            load_weights(with_header(tmp_path / "h.safetensors", header))

    def test_tensors_that_do_not_fit(self, tmp_path):
        network = make()
        header = json.dumps({"network": "SimpleClick", "arguments": network.arguments})
        state = dict(network.state_dict())
        missing = state.pop("encoder.pos_embed")
        with pytest.raises(ValueError, match=r"do not fit its header: (.|\n)*encoder\.pos_embed"):
            load_weights(with_header(tmp_path / "a.safetensors", header, **state))
        wrong = {**state, "encoder.pos_embed": missing[:, :3].contiguous()}
        with pytest.raises(ValueError, match="size mismatch for"):
            load_weights(with_header(tmp_path / "b.safetensors", header, **wrong))
        extra = {**state, "encoder.pos_embed": missing, "extra": torch.ones(1)}
        with pytest.raises(ValueError, match=r"Unexpected key\(s\)(.|\n)*extra"):
            load_weights(with_header(tmp_path / "c.safetensors", header, **extra))
