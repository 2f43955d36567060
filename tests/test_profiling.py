"""What a network costs: counted by hand, compared with the released configuration, and that parts make up the total."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from adaptiveclick_med.networks import AdaptiveClick, ClickNetwork, SimpleClick, build_network
from adaptiveclick_med.profiling import (
    REST,
    NetworkCost,
    PartCost,
    count_flops,
    count_parameters,
    measure,
    peak_memory,
    profile_network,
    seconds_per_click,
)

FLOAT = 4
NANO_PARTS = ["encoder", "pyramid", "pixel_decoder", "click_decoder", REST]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["AdaptiveClick", "SimpleClick"])
def nano(request: pytest.FixtureRequest) -> ClickNetwork:
    return build_network(request.param, "nano", image_size=64).eval()


def convolution() -> nn.Module:
    return nn.Conv2d(2, 3, 3, padding=1, bias=False)


class Two(nn.Module):
    """A layer called twice, a matrix product of its own, and a parameter used in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.matrix = nn.Parameter(torch.ones(4, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(self.first(x))) @ self.matrix


class Attention(nn.Module):
    """Attention over 6 places of 2 heads of width 4; the kernel that runs is up to PyTorch."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(x, x, x)


class TestParameters:
    def test_by_hand(self) -> None:
        assert count_parameters(nn.Sequential(convolution(), nn.BatchNorm2d(3))) == {"0": 54, "1": 6, REST: 0}
        assert count_parameters(Two()) == {"first": 16, "second": 0, REST: 20}
        assert count_parameters(convolution()) == {REST: 54}

    def test_they_add_up(self, nano: ClickNetwork) -> None:
        counts = count_parameters(nano)
        assert sum(counts.values()) == sum(parameter.numel() for parameter in nano.parameters())
        for name, module in nano.named_children():
            assert counts[name] == sum(parameter.numel() for parameter in module.parameters())
        assert counts[REST] == 0


class TestFlops:
    def test_by_hand(self) -> None:
        # 8 x 8 places, 3 x 3 kernel, 2 -> 3 channels
        assert count_flops(convolution(), (1, 2, 8, 8)) == {REST: 2 * 64 * 9 * 2 * 3}
        both = nn.Sequential(convolution(), nn.ReLU(), nn.Conv2d(3, 5, 2, 2))
        assert count_flops(both, (2, 2, 8, 8)) == {"0": 2 * 6912, "1": 0, "2": 2 * 2 * 16 * 4 * 3 * 5, REST: 0}
        assert count_flops(Two(), (3, 4)) == {"first": 2 * 2 * 3 * 16, "second": 2 * 3 * 16, REST: 2 * 3 * 20}

    def test_attention_counts(self) -> None:
        assert count_flops(Attention(), (1, 2, 6, 4)) == {REST: 2 * (2 * 2 * 6 * 6 * 4)}

    def test_the_network_stays_as_it_was(self) -> None:
        network = nn.Sequential(convolution(), nn.BatchNorm2d(3)).train()
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        count_flops(network, (1, 2, 8, 8))
        peak_memory(network.eval(), (1, 2, 8, 8))
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
        assert all(parameter.device.type == "cpu" and parameter.requires_grad for parameter in network.parameters())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())

    def test_a_real_run_counts_the_same(self, nano: ClickNetwork) -> None:
        counter = FlopCounterMode(display=False)
        nano = copy.deepcopy(nano).requires_grad_(False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            nano(torch.zeros(1, 6, 64, 64))
        counts, found = count_flops(nano, (1, 6, 64, 64)), counter.get_flop_counts()
        assert sum(counts.values()) == counter.get_total_flops()
        for name, _ in nano.named_children():
            assert counts[name] == sum(found[f"{type(nano).__name__}.{name}"].values())

    def test_twice_the_images_twice_the_work(self, nano: ClickNetwork) -> None:
        one, two = count_flops(nano, (1, 6, 64, 64)), count_flops(nano, (2, 6, 64, 64))
        assert two == {name: 2 * count for name, count in one.items()}


class TestReleasedConfiguration:
    """ViT-B at 448 x 448, with the parameters and multiply-adds of the released checkpoints and code."""

    UNUSED_PARAMETERS = 1000 * 768 + 1000 + 768 + 768 + 2 * 768
    """Of the released encoder: classification head, class token, its position, final norm."""

    def test_adaptive_click(self) -> None:
        with torch.device("meta"):
            network = AdaptiveClick.from_preset("base", pixel_decoder_layers=4).eval()
        assert sum(count_parameters(network).values()) == 121_886_314 - self.UNUSED_PARAMETERS
        counts = count_flops(network, (1, 6, 448, 448))
        multiply_adds = sum(counts.values()) / 2
        assert multiply_adds == pytest.approx(102.134e9, rel=1e-4)
        # The released code makes full-size masks before each of nine layers; here they are made at three small sizes.
        query_masks, positions = 10 * 256, 14**2 + 28**2 + 56**2
        masks = 9 * query_masks * 112**2 - 3 * query_masks * positions
        # Its last projection is of all pixels; here it is of the small maps and of the last mask embeddings.
        pixels = 256**2 * (112**2 - positions - 10)
        # It projects keys and values of all positions; here queries of eight heads are compared with what is not.
        usual = positions * (2 * 256**2 + 2 * query_masks)
        moved = positions * 2 * 8 * query_masks + 2 * 10 * 256**2
        assert multiply_adds + masks + pixels + 3 * (usual - moved) == pytest.approx(104.1e9, abs=0.05e9)
        assert counts[REST] == 2 * 10 * 112**2

    def test_each_pixel_decoder_layer_adds_the_same(self) -> None:
        with torch.device("meta"):
            networks = [AdaptiveClick.from_preset("base", pixel_decoder_layers=n).eval() for n in (4, 6)]
        four, six = (count_flops(network, (1, 6, 448, 448)) for network in networks)
        tokens, dim = 14**2 + 28**2 + 56**2, 256
        linear = dim * (8 * 3 * 4 * 2 + 8 * 3 * 4 + dim + dim + 1024 + 1024)
        assert six["pixel_decoder"] - four["pixel_decoder"] == 2 * 2 * tokens * linear
        assert {**six, "pixel_decoder": 0} == {**four, "pixel_decoder": 0}

    def test_simple_click(self) -> None:
        with torch.device("meta"):
            network = SimpleClick.from_preset("base").eval()
        unused_head = 256 * 128 * 4 + 128 + 256 + 128 * 128 + 128 + 256 + 128 * 64 * 4 + 64 + 128 + 64 * 64 + 64 + 128
        assert sum(count_parameters(network).values()) == 98_025_513 - self.UNUSED_PARAMETERS - unused_head
        assert sum(count_flops(network, (1, 6, 448, 448)).values()) / 2 == pytest.approx(80.8e9, abs=0.05e9)


class TestMemory:
    def test_by_hand(self) -> None:
        # weights, input, output
        assert peak_memory(convolution(), (1, 2, 8, 8)) == {REST: FLOAT * (54 + 128 + 192)}

    def test_what_is_no_longer_used_is_free(self) -> None:
        first, second = convolution(), nn.Conv2d(3, 10, 1, bias=False)
        memory = peak_memory(nn.Sequential(first, nn.ReLU(), nn.ReLU(), second), (1, 2, 8, 8))
        there = 54 + 30 + 128
        assert memory["0"] == FLOAT * (there + 192)
        assert memory["1"] == memory["2"] == FLOAT * (there + 2 * 192)
        assert memory["3"] == FLOAT * (there + 192 + 640)
        # between two modules both input and output of the first are there
        assert memory[REST] == max(memory.values())

    def test_a_storage_counts_once(self) -> None:
        class Views(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x.flatten().view(8, -1).transpose(0, 1)[:2].add_(1)

        assert peak_memory(Views(), (1, 2, 8, 8)) == {REST: FLOAT * 128}

    def test_buffers_count(self) -> None:
        assert peak_memory(nn.BatchNorm1d(4).eval(), (3, 4))[REST] >= FLOAT * (4 * 4 + 12 + 12)

    def test_the_same_in_every_run(self, nano: ClickNetwork) -> None:
        memory = peak_memory(nano, (1, 6, 64, 64))
        assert peak_memory(nano, (1, 6, 64, 64)) == memory
        stored = sum(t.nbytes for t in [*nano.parameters(), *nano.buffers()])
        assert min(memory.values()) > stored + FLOAT * 6 * 64 * 64
        assert max(peak_memory(nano, (2, 6, 64, 64)).values()) > max(memory.values())


class TestSecondsPerClick:
    def test_every_part_takes_time(self, nano: ClickNetwork) -> None:
        seconds = seconds_per_click(nano, 64, clicks=3)
        assert list(seconds) == [*(name for name, _ in nano.named_children()), REST]
        assert min(seconds.values()) > 0

    def test_means_and_shares(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A clock that goes on by a second at each look; it is looked at before and after each part."""
        ticks = iter(range(10**6))
        monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
        network = build_network("AdaptiveClick", "nano", image_size=64).eval()
        seconds = seconds_per_click(network, 64, clicks=4)
        assert sum(seconds.values()) == pytest.approx(1 / 3)  # one look before three clicks, one after
        share = 3 / (3 * 8 + 1)  # in each of three clicks a second in each part and before it; one after the last
        assert [seconds[name] for name in NANO_PARTS[:4]] == pytest.approx([share / 3] * 4)

    def test_the_clicks_are_those_of_the_seed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[Any] = []
        session_class = measure.InteractiveSession

        class Session(session_class):
            def click(self, row: float, column: float, positive: bool = True) -> Any:
                made.append((len(self.clicks), row, column, positive))
                return super().click(row, column, positive)

        monkeypatch.setattr(measure, "InteractiveSession", Session)
        network = build_network("SimpleClick", "nano", image_size=32).eval()
        runs = []
        for seed in (3, 3, 4):
            seconds_per_click(network, (32, 48), clicks=9, seed=seed)
            runs.append(list(made))
            made.clear()
        assert runs[0] == runs[1] != runs[2]
        assert [click[0] for click in runs[0]] == [*range(9), *range(6)]
        assert runs[0][:6] == runs[0][9:]
        assert runs[0][0][3] is True and {click[3] for click in runs[0]} == {True, False}
        assert max(click[1] for click in runs[0]) < 32 <= max(click[2] for click in runs[0]) < 48

    def test_too_few_clicks(self, nano: ClickNetwork) -> None:
        with pytest.raises(ValueError, match="clicks must be at least 2, since the first one is not timed, got 1"):
            seconds_per_click(nano, 64, clicks=1)


class TestProfileNetwork:
    def test_it_is_made_of_the_measurements(self, nano: ClickNetwork) -> None:
        cost = profile_network(nano, clicks=2, threads=1)
        shape = (1, 6, 64, 64)
        assert {name: part.parameters for name, part in cost.parts.items()} == count_parameters(nano)
        assert {name: part.flops for name, part in cost.parts.items()} == count_flops(nano, shape)
        assert {name: part.memory for name, part in cost.parts.items()} == peak_memory(nano, shape)
        total = cost.total
        assert total.parameters == sum(parameter.numel() for parameter in nano.parameters())
        assert total.flops == sum(count_flops(nano, shape).values())
        assert total.memory == max(peak_memory(nano, shape).values())
        assert total.seconds is not None and total.seconds > 0
        assert cost.facts["network"] == type(nano).__name__
        assert (cost.facts["image_size"], cost.facts["threads"], cost.facts["clicks"]) == ([64, 64], 1, 2)
        assert cost.facts["memory_method"] == "bytes of live tensors"

    def test_another_size(self, nano: ClickNetwork) -> None:
        cost = profile_network(nano, (64, 128), timed=False)
        assert cost.facts["image_size"] == [64, 128]
        assert "clicks" not in cost.facts
        assert {name: part.flops for name, part in cost.parts.items()} == count_flops(nano, (1, 6, 64, 128))
        assert cost.total.seconds is None

    def test_threads_are_set_for_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network = build_network("SimpleClick", "nano", image_size=64).eval()
        seen = []

        def fake(network: torch.nn.Module, _shape: Any) -> dict[str, int]:
            seen.append(torch.get_num_threads())
            if len(seen) == 3:
                raise RuntimeError("out of memory")
            return dict.fromkeys(count_parameters(network), 0)

        monkeypatch.setattr(measure, "peak_memory", fake)
        assert profile_network(network, timed=False, threads=2).facts["threads"] == 2
        assert torch.get_num_threads() == 1
        assert profile_network(network, timed=False).facts["threads"] == 1
        with pytest.raises(RuntimeError, match="out of memory"):
            profile_network(network, timed=False, threads=2)
        assert torch.get_num_threads() == 1
        assert seen == [2, 1, 2]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"image_size": 60}, "patch_size is 8, the image is 60 x 60 pixels"),
            ({"image_size": 0}, "image_size must be one positive whole number"),
            ({"clicks": 1}, "clicks must be at least 2, since the first one is not timed, got 1"),
            ({"threads": 0}, "threads must be at least 1, got 0"),
        ],
    )
    def test_bad_arguments(self, nano: ClickNetwork, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            profile_network(nano, **options)

    def test_training_mode(self) -> None:
        with pytest.raises(ValueError, match="network must be in evaluation mode"):
            profile_network(build_network("SimpleClick", "nano"))


class TestNetworkCost:
    FACTS: ClassVar[dict[str, Any]] = {
        "network": "Toy",
        "image_size": [448, 672],
        "device": "cpu (x86_64)",
        "threads": 1,
        "torch": "2.8.0",
        "memory_method": "bytes of live tensors",
        "parameter_bytes": 2**29,
    }

    def cost(self, seconds: tuple[float | None, float | None] = (0.25, 0.5), **facts: Any) -> NetworkCost:
        parts = {
            "click_decoder": PartCost(1_500_000, 4_000_000_000, 2**30, seconds[0]),
            REST: PartCost(500_000, 2_000_000_000, 2**29, seconds[1]),
        }
        return NetworkCost(parts, {**self.FACTS, **facts})

    def test_the_total(self) -> None:
        assert self.cost().total == PartCost(2_000_000, 6_000_000_000, 2**30, 0.75)
        assert self.cost((None, None)).total == PartCost(2_000_000, 6_000_000_000, 2**30, None)

    def test_as_dict_is_plain(self) -> None:
        content = self.cost(clicks=20).as_dict()
        assert json.loads(json.dumps(content)) == content
        assert content["facts"] == {**self.FACTS, "clicks": 20}
        assert content["total"] == {
            "parameters": 2_000_000,
            "multiply_adds": 3_000_000_000,
            "flops": 6_000_000_000,
            "memory_bytes": 2**30,
            "seconds_per_click": 0.75,
        }
        assert list(content["parts"]) == ["click_decoder", REST]

    def test_table(self) -> None:
        header, *rows = self.cost(clicks=20).table().splitlines()
        columns = ["parameters (M)", "multiply-adds (G)", "FLOPs (G)", "peak memory (GiB)", "SPC (ms)"]
        assert re.split(r"\s{2,}", header.strip()) == columns
        assert rows[0].split() == ["click", "decoder", "1.500", "2.000", "4.000", "1.000", "250.000"]
        assert rows[1].split() == ["rest", "0.500", "1.000", "2.000", "0.500", "500.000"]
        assert rows[2].split() == ["total", "2.000", "3.000", "6.000", "1.000", "750.000"]
        assert rows[3] == ""

    def test_what_the_columns_mean_is_below(self) -> None:
        text = self.cost(clicks=20).table()
        for note in (
            "Toy, 448 x 672 pixels, cpu (x86_64), 1 thread, PyTorch 2.8.0.",
            "two for each multiply-add",
            "Not counted: bilinear sampling",
            "Memory: bytes of live tensors, 0.500 GiB of parameters included.",
            "one image (batch 1)",
            "mean of 19 clicks",
            "mirror image (batch 2)",
        ):
            assert note in text
        assert "SPC" not in self.cost((None, None)).table()
        assert "2 threads" in self.cost(threads=2).table()
