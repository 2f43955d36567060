from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from adaptiveclick_med.networks import pixel_decoder
from adaptiveclick_med.networks.pixel_decoder import PixelDecoder
from adaptiveclick_med.profiling.meters import LiveTensors

CHANNELS = (8, 12, 16, 20)


def pyramid(height=4, width=6, batch=2):
    torch.manual_seed(0)
    sizes = [(4 * height, 4 * width), (2 * height, 2 * width), (height, width), (-(-height // 2), -(-width // 2))]
    return [torch.randn(batch, channels, *size) for channels, size in zip(CHANNELS, sizes, strict=True)]


def decoder(**options):
    torch.manual_seed(1)
    return PixelDecoder(CHANNELS, **{"dim": 64, "num_layers": 2, "num_heads": 4, "feedforward_dim": 32, **options})


@pytest.mark.parametrize("grid", [(4, 6), (3, 5), (1, 1)])
@torch.no_grad()
def test_sizes(grid):
    maps = pyramid(*grid)
    levels, embedding = decoder()(maps)
    assert [tuple(level.shape[-2:]) for level in levels] == [tuple(maps[i].shape[-2:]) for i in (3, 2, 1)]
    assert {level.shape[:2] for level in [*levels, embedding]} == {(2, 64)}
    assert embedding.shape[-2:] == maps[0].shape[-2:]


@torch.no_grad()
def test_without_layers_the_levels_are_the_projections():
    module, maps = decoder(num_layers=0), pyramid()
    levels, embedding = module(maps)
    for level, project, source in zip(levels, module.input_proj, (maps[3], maps[2], maps[1]), strict=True):
        torch.testing.assert_close(level, project(source))
    up = F.interpolate(levels[2], maps[0].shape[-2:], mode="bilinear", align_corners=False)
    expected = module.pixel_embed(module.output(module.lateral(maps[0]) + up))
    torch.testing.assert_close(embedding, expected)


@torch.no_grad()
def test_positions_are_for_the_query_only():
    """With fresh attention the offsets and weights do not depend on the query, so positions change nothing."""
    module, maps = decoder(), pyramid()
    before = module(maps)[1]
    module.level_embed.normal_()
    torch.testing.assert_close(module(maps)[1], before)
    module.layers[0].self_attn.attention_weights.weight.normal_()
    after = module(maps)[1]
    module.level_embed.normal_()
    assert not torch.allclose(module(maps)[1], after)


@torch.no_grad()
def test_samples_are_independent():
    module, maps = decoder(), pyramid()
    levels, embedding = module(maps)
    alone_levels, alone = module([each[1:] for each in maps])
    torch.testing.assert_close(embedding[1:], alone)
    for level, other in zip(levels, alone_levels, strict=True):
        torch.testing.assert_close(level[1:], other)


@pytest.mark.parametrize(("dim", "heads", "message"), [(48, 8, "dim must be a multiple of 32"), (64, 7, "num_heads")])
def test_width(dim, heads, message):
    with pytest.raises(ValueError, match=message):
        decoder(dim=dim, num_heads=heads)


def test_tokens_a_few_at_a_time(monkeypatch):
    module, maps = decoder(), pyramid()
    expected = module(maps)
    monkeypatch.setattr(pixel_decoder, "_TOKENS_AT_ONCE", 7)
    with torch.no_grad():
        found = module(maps)
    torch.testing.assert_close(found[1], expected[1])
    for level, other in zip(found[0], expected[0], strict=True):
        torch.testing.assert_close(level, other)


@torch.no_grad()
def test_memory_of_a_few_stride_4_maps():
    module, maps = decoder(dim=256, num_heads=8, num_layers=1), pyramid(16, 16)
    with LiveTensors([*module.parameters(), *maps]) as live:
        before = live.read()
        fine = module.features(maps)[1]
        assert live.read() - before < 3.3 * fine.nbytes
