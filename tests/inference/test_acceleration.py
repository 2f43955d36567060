from __future__ import annotations

import copy
import logging
import threading
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from adaptiveclick_med.clicks import Click, click_maps, points_tensor
from adaptiveclick_med.inference import (
    InteractiveSession,
    VolumeSession,
    accelerate,
    acceleration,
    acceleration_facts,
    click_together,
    reduced,
)
from adaptiveclick_med.inference.cuda_graphs import GraphedCalls
from adaptiveclick_med.networks import AdaptiveClick, ClickNetwork, SimpleClick, deformable_attention

SIZE = 64
SMALLEST: dict[str, Any] = {
    "image_size": 32,
    "embed_dim": 48,
    "depth": 1,
    "window_size": 2,
    "pyramid_channels": (32, 32, 32, 32),
}
SMALLEST_DECODERS = {"decoder_dim": 32, "pixel_decoder_layers": 1, "click_decoder_layers": 1}


def disks(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures with two bright disks, a click in one of them: input [B, 6, H, W], mask of that disk [B, 1, H, W]."""
    random = np.random.RandomState(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    images, targets, clicks = [], [], []
    for _ in range(count):
        places = np.array([[18, 18], [44, 46]]) + random.randint(-5, 6, (2, 2))
        found = [(rows - row) ** 2 + (columns - column) ** 2 <= random.randint(8, 13) ** 2 for row, column in places]
        wanted = random.randint(2)
        images.append(0.2 + 0.5 * (found[0] | found[1]) + random.normal(0, 0.05, (SIZE, SIZE)))
        targets.append(found[wanted])
        clicks.append([Click(float(places[wanted][0]), float(places[wanted][1]), True)])
    image = torch.tensor(np.array(images), dtype=torch.float32).clamp(0, 1)[:, None].expand(-1, 3, -1, -1)
    maps = click_maps(points_tensor(clicks), (SIZE, SIZE))
    x = torch.cat([image, torch.zeros(count, 1, SIZE, SIZE), maps], dim=1)
    return x, torch.tensor(np.array(targets), dtype=torch.float32)[:, None]


@pytest.fixture(scope="module")
def trained() -> AdaptiveClick:
    """A small network that has learnt to outline the clicked disk."""
    torch.manual_seed(0)
    network = AdaptiveClick.from_preset("nano", image_size=SIZE, depth=4, click_decoder_layers=3).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for step in range(60):
        x, target = disks(4, step)
        loss = F.binary_cross_entropy_with_logits(network(x).logits, target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    network.intensity = {"window": [-100.0, 200.0]}
    return network.eval()


def smallest(kind: type[ClickNetwork]) -> ClickNetwork:
    torch.manual_seed(0)
    return kind(**{"num_heads": 3, "patch_size": 8, **SMALLEST, **(SMALLEST_DECODERS if kind is AdaptiveClick else {})})


def overlap(a: Tensor, b: Tensor) -> float:
    """IoU of the masks of two logits."""
    first, second = a.sigmoid() > 0.49, b.sigmoid() > 0.49
    return float((first & second).sum() / (first | second).sum())


class TestAgreement:
    def test_the_network_has_learnt(self, trained: AdaptiveClick) -> None:
        x, target = disks(16, 1000)
        with torch.no_grad():
            assert overlap(trained(x), 20 * target - 10) > 0.8

    @pytest.mark.parametrize(
        ("options", "most", "usual"),
        [
            ({"precision": "bfloat16"}, 0.15, 0.005),
            ({"quantize": "int8"}, 0.25, 0.01),
            ({"precision": "bfloat16", "quantize": "int8"}, 0.25, 0.01),
        ],
    )
    def test_fewer_bits(self, trained: AdaptiveClick, options: dict[str, str], most: float, usual: float) -> None:
        x, _ = disks(16, 1000)
        with torch.no_grad():
            expected = trained.predict(x, auxiliary=False)
        found = accelerate(trained, **options).predict(x, auxiliary=False)
        difference = (found.logits.sigmoid() - expected.logits.sigmoid()).abs()
        assert 0 < float(difference.max()) < most
        assert float(difference.mean()) < usual
        assert overlap(found.logits, expected.logits) >= 0.98
        assert found.mask_logits is not None and found.click_logits is not None
        assert {found.logits.dtype, found.mask_logits.dtype, found.click_logits.dtype} == {torch.float32}
        assert found.mask_logits.shape == (16, 10, SIZE // 2, SIZE // 2)

    def test_float32_is_the_same(self, trained: AdaptiveClick) -> None:
        x, _ = disks(2, 0)
        fast = accelerate(trained)
        with torch.no_grad():
            assert torch.allclose(fast(x), trained(x), atol=1e-3)  # logits of tens

    @pytest.mark.parametrize("options", [{"precision": "bfloat16"}, {"quantize": "int8"}])
    def test_plain_head(self, options: dict[str, str]) -> None:
        network = smallest(SimpleClick).eval()
        x = torch.rand(2, 6, 32, 32, generator=torch.Generator().manual_seed(0))
        found = accelerate(network, **options).predict(x, auxiliary=False)
        with torch.no_grad():
            expected = network(x)
        assert found.mask_logits is None and found.logits.dtype == torch.float32
        assert 0 < float((found.logits - expected).abs().max()) < 0.05 * float(expected.abs().max())

    def test_everything_else_that_a_network_answers(self, trained: AdaptiveClick) -> None:
        x, _ = disks(1, 0)
        found = accelerate(trained, precision="bfloat16").predict(x, return_features=True)
        with torch.no_grad():
            expected = trained.predict(x, return_features=True)
        assert found.features is not None and expected.features is not None
        assert list(found.features) == list(expected.features)
        assert found.features["blocked_0"].dtype == torch.bool
        assert found.features["encoder"].dtype == torch.float32
        assert len(found.auxiliary) == 3 and found.auxiliary[0][0].dtype == torch.float32

    def test_other_sizes(self, trained: AdaptiveClick) -> None:
        fast = accelerate(trained, precision="bfloat16", quantize="int8")
        assert fast(torch.zeros(1, 6, 40, 72)).shape == (1, 1, 40, 72)


class TestTheCopy:
    def test_the_network_stays_as_it_is(self, trained: AdaptiveClick) -> None:
        before = copy.deepcopy(trained.state_dict())
        fast = accelerate(trained, precision="bfloat16", quantize="int8")
        assert {tensor.dtype for tensor in trained.state_dict().values()} == {torch.float32}
        assert all(torch.equal(tensor, before[name]) for name, tensor in trained.state_dict().items())
        assert not any("forward" in vars(module) for module in trained.modules())
        with torch.no_grad():
            trained.encoder.pos_embed.add_(1.0)
            assert not torch.equal(fast.network.encoder.pos_embed, trained.encoder.pos_embed)
            trained.encoder.pos_embed.sub_(1.0)

    def test_it_is_a_model(self, trained: AdaptiveClick) -> None:
        fast = accelerate(trained, precision="bfloat16")
        assert (fast.patch_size, fast.image_size, fast.device) == (8, (SIZE, SIZE), torch.device("cpu"))
        assert fast.intensity == {"window": [-100.0, 200.0]} and fast.intensity is not trained.intensity
        assert fast.training is False and fast.has_candidates
        assert fast.facts == {"precision": "bfloat16"}
        assert not any(parameter.requires_grad for parameter in fast.network.parameters())

    def test_which_parts_are_lower(self, trained: AdaptiveClick) -> None:
        def types(module: nn.Module) -> set[torch.dtype]:
            return {parameter.dtype for parameter in module.parameters()}

        network: Any = accelerate(trained, precision="bfloat16").network
        heavy = [network.encoder, network.pyramid, network.pixel_decoder.layers]
        assert [types(part) for part in heavy] == [{torch.bfloat16}] * 3
        assert types(network.click_decoder) == types(network.pixel_decoder.pixel_embed) == {torch.float32}
        assert network.image_mean.dtype == torch.float32
        plain: Any = accelerate(smallest(SimpleClick).eval(), precision="bfloat16").network
        assert types(plain.head.fusion) == {torch.bfloat16} and types(plain.head.classifier) == {torch.float32}

    def test_which_layers_are_int8(self, trained: AdaptiveClick) -> None:
        def quantised(network: nn.Module) -> set[str]:
            names = {name for name, each in network.named_modules() if isinstance(each, torch.ao.nn.quantized.Linear)}
            return {name.split(".")[0] + "." + name.split(".")[-1] for name in names}

        encoder = {"encoder.qkv", "encoder.proj", "encoder.fc1", "encoder.fc2"}
        pixel = {f"pixel_decoder.{name}" for name in ("value_proj", "output_proj", "linear1", "linear2")}
        assert quantised(accelerate(trained, quantize="int8").network) == encoder | pixel
        assert quantised(accelerate(trained, quantize="int8", precision="bfloat16").network) == encoder

    def test_facts(self) -> None:
        assert acceleration_facts() == {}
        assert acceleration_facts(quantize="int8", compile=True) == {"compile": True, "quantize": "int8"}


class TestAutocast:
    """What a GPU runs, on the CPU's autocast."""

    def test_the_click_decoder_stays_exact(self, trained: AdaptiveClick) -> None:
        seen: dict[str, torch.dtype] = {}
        twin = copy.deepcopy(trained)
        for name, entry in reduced._HEAVY.items():
            if name != "head":
                reduced._lower(getattr(twin, name), entry, torch.bfloat16, "cpu")
        for name, module in (("encoder", twin.encoder.blocks[0].mlp.fc1), ("clicks", twin.click_decoder.click_head)):
            module.register_forward_hook(lambda *call, name=name: seen.update({name: call[-1].dtype}))
        x, _ = disks(8, 1000)
        with torch.no_grad():
            found, expected = twin(x), trained(x)
        assert seen == {"encoder": torch.bfloat16, "clicks": torch.float32}
        assert found.dtype == torch.float32 and overlap(found, expected) >= 0.98
        assert not torch.is_autocast_enabled("cpu")


class TestSessions:
    @pytest.mark.parametrize(
        "options", [{"precision": "bfloat16"}, {"quantize": "int8"}, {"precision": "bfloat16", "quantize": "int8"}]
    )
    def test_pictures_and_lockstep(self, trained: AdaptiveClick, options: dict[str, str]) -> None:
        x, _ = disks(1, 1000)
        image, (row, column) = x[0, 0].numpy(), (x[0, 4] > 0).nonzero().float().mean(0).tolist()
        masks = []
        for network in (trained, accelerate(trained, **options)):
            session = InteractiveSession(network)
            session.set_image(image)
            masks.append(session.click(row, column).mask)
        assert (masks[0] & masks[1]).sum() >= 0.95 * (masks[0] | masks[1]).sum() > 0
        assert len(session.prediction.candidates) == 10
        twins = [session.sibling(keep_image=True) for _ in range(3)]
        together = click_together(twins, [Click(row, column, True)] * 3)
        assert (together[2].mask == masks[1]).mean() > 0.99

    def test_volumes_take_the_intensity(self, trained: AdaptiveClick) -> None:
        volume = np.full((32, 32, 3), -50.0)
        volume[10:20, 10:20] = 90
        masks = []
        for scale, network in ((1.0, trained), (1.0, accelerate(trained)), (20.0, accelerate(trained))):
            session = VolumeSession(network)
            session.set_volume(scale * volume, np.eye(4))
            masks.append(session.click((15, 15, 1)).probability)
        assert np.abs(masks[1] - masks[0]).max() < 1e-3  # with percentiles, the scale would make no difference
        assert np.abs(masks[2] - masks[0]).max() > 0.1

    def test_threads(self, trained: AdaptiveClick) -> None:
        fast, (x, _) = accelerate(trained, precision="bfloat16"), disks(1, 0)
        expected, found = fast(x), []
        threads = [threading.Thread(target=lambda: found.append(fast(x))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 3 and all(torch.allclose(each, expected, atol=1e-5) for each in found)


class TestCompile:
    @pytest.mark.parametrize("kind", [AdaptiveClick, SimpleClick])
    @pytest.mark.parametrize("training", [False, True])
    def test_no_graph_breaks(self, kind: type[ClickNetwork], training: bool) -> None:
        network = smallest(kind).train(training)
        x = torch.rand(2, 6, 32, 32, generator=torch.Generator().manual_seed(0))
        for call in (network, lambda x: network.predict(x, auxiliary=False).logits):
            torch._dynamo.reset()
            explained = torch._dynamo.explain(call)(x)
            assert (explained.graph_break_count, explained.graph_count) == (0, 1)

    def test_the_compiler_agrees(self) -> None:
        network = smallest(SimpleClick).eval()
        fast = accelerate(network, compile=True)
        random = torch.Generator().manual_seed(0)
        for batch in (2, 3):
            x = torch.rand(batch, 6, 32, 32, generator=random)
            with torch.no_grad():
                assert torch.allclose(fast(x), network(x), atol=1e-4)

    @pytest.mark.parametrize(("precision", "most"), [("float32", 1e-4), ("bfloat16", 0.2)])
    def test_batches_and_sizes(self, monkeypatch: pytest.MonkeyPatch, precision: str, most: float) -> None:
        from torch._dynamo.utils import counters

        monkeypatch.setattr(acceleration, "_BACKEND", "eager")
        monkeypatch.setattr(acceleration, "_COMPILED_SIZES", 1)
        torch._dynamo.reset()
        counters.clear()
        fast = accelerate(smallest(AdaptiveClick).eval(), compile=True, precision=precision)
        plain = accelerate(smallest(AdaptiveClick).eval(), precision=precision)
        for batch, size, graphs in [(2, 32, 1), (4, 32, 1), (3, 32, 1), (1, 32, 2), (2, 48, 2), (2, 32, 2)]:
            x = torch.rand(batch, 6, size, size, generator=torch.Generator().manual_seed(0))
            found, expected = (each.predict(x, auxiliary=False) for each in (fast, plain))
            assert max(float((a - b).abs().max()) for a, b in zip(found[:3], expected[:3], strict=True)) < most
            assert counters["stats"]["unique_graphs"] == graphs
        assert len(fast.predict(x).auxiliary) == 1 and counters["stats"]["unique_graphs"] == 2

    def test_many_networks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(acceleration, "_BACKEND", "eager")
        x = torch.zeros(2, 6, 32, 32)
        fast = [accelerate(smallest(SimpleClick).eval(), compile=True) for _ in range(3)]
        with torch._dynamo.config.patch(recompile_limit=1):
            assert len({float(each(x).sum()) for each in fast}) == 1

    def test_without_a_compiler(self, trained: AdaptiveClick, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CXX", "no-such-compiler -O2")
        with pytest.raises(ValueError, match=r"compile needs a C\+\+ compiler on a CPU: install g\+\+ or clang\+\+"):
            accelerate(trained, compile=True)


class _NothingFromTheHost(TorchFunctionMode):
    """Refuses what a CUDA graph cannot record: values that go to the device or come from it."""

    REFUSED = ("tensor", "as_tensor", "from_numpy", "new_tensor", "item", "tolist", "numpy", "cpu", "nonzero")

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        assert name not in (*self.REFUSED, "__bool__", "__float__", "__int__", "__index__"), name
        return function(*args, **(kwargs or {}))


class TestCudaGraphs:
    def test_not_on_a_cpu(self, trained: AdaptiveClick) -> None:
        with pytest.raises(ValueError, match="cuda_graphs may be true only on a CUDA device, the network is on cpu"):
            accelerate(trained, cuda_graphs=True)

    @pytest.mark.parametrize("kind", [AdaptiveClick, SimpleClick])
    def test_a_prediction_can_be_recorded(self, kind: type[ClickNetwork], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(deformable_attention, "eager_on_cpu", lambda query: False)  # as on a GPU
        network, x = smallest(kind).eval(), torch.zeros(2, 6, 32, 32)
        with torch.no_grad():
            network.predict(x, auxiliary=False)  # what depends on the size only may be made at the first call
            with _NothingFromTheHost():
                network.predict(x, auxiliary=False)

    def test_one_recording_a_shape(self) -> None:
        made: list[tuple[int, ...]] = []

        def record(function: Any, x: Tensor) -> Any:
            made.append(tuple(x.shape))
            return lambda x: tuple(output + 1 for output in function(x))

        calls = GraphedCalls(lambda x: (2 * x,), limit=2, record=record)
        for length in (1, 2, 1, 3, 1, 2):
            assert calls(torch.ones(length))[0].tolist() == [3.0] * length
        assert made == [(1,), (2,), (3,), (2,)]
        assert calls.shapes == [(1,), (2,)]

    def test_limit(self) -> None:
        with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
            GraphedCalls(lambda x: (x,), limit=0)


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"precision": "float16"}, r"precision must be one of float32, bfloat16 on a CPU, got 'float16'\."),
            ({"precision": "int4"}, r"precision must be one of float32, bfloat16 on a CPU, got 'int4'\."),
            ({"quantize": "int4"}, r"quantize must be None or 'int8', got 'int4'\."),
            ({"quantize": "int8", "compile": True}, "compile cannot go with quantize='int8'"),
        ],
    )
    def test_options(self, trained: AdaptiveClick, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            accelerate(trained, **options)

    def test_what_may_go_on_a_gpu(self) -> None:
        acceleration._check_precision("float16", "cuda")
        with pytest.raises(
            ValueError, match="precision must be one of float32, bfloat16, float16 on a cuda device, got 'half'"
        ):
            acceleration._check_precision("half", "cuda")

    def test_networks(self, trained: AdaptiveClick) -> None:
        with pytest.raises(ValueError, match=r"network must be in evaluation mode; call network\.eval\(\) first"):
            accelerate(copy.deepcopy(trained).train())
        with pytest.raises(TypeError, match="network must be an AdaptiveClick or SimpleClick, got AcceleratedNetwork"):
            accelerate(accelerate(trained))  # type: ignore[arg-type]

    @pytest.mark.parametrize("options", [{"precision": "bfloat16"}, {"quantize": "int8"}])
    def test_inputs(self, trained: AdaptiveClick, options: dict[str, str]) -> None:
        fast = accelerate(trained, **options)
        with pytest.raises(ValueError, match=r"The input must be of shape \[B, 6, H, W\], got \[1, 3, 64, 64\]"):
            fast(torch.zeros(1, 3, 64, 64))
        with pytest.raises(ValueError, match="patch_size is 8, the image is 60 x 64 pixels"):
            fast(torch.zeros(1, 6, 60, 64))

    def test_a_cpu_without_bfloat16(
        self, trained: AdaptiveClick, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(acceleration, "has_fast_bfloat16", lambda: False)
        with caplog.at_level(logging.WARNING):
            accelerate(trained, precision="bfloat16")
        assert "This CPU has no bfloat16 arithmetic" in caplog.text
