from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from adaptiveclick_med.clicks import click_maps
from adaptiveclick_med.networks.click_decoder import ClickDecoder, _DecoderLayer, click_gate
from adaptiveclick_med.networks.position import sine_positions

DIM, QUERIES = 16, 3
SIZES = [(2, 3), (4, 6), (8, 12)]


def make(num_layers=3, **options):
    torch.manual_seed(0)
    return ClickDecoder(
        dim=DIM, num_queries=QUERIES, num_layers=num_layers, num_heads=4, feedforward_dim=24, **options
    ).eval()


def inputs(batch=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    levels = [torch.randn(batch, DIM, *size, generator=generator) for size in SIZES]
    embedding = torch.randn(batch, DIM, 16, 24, generator=generator)
    positive = torch.zeros(batch, 1, 64, 96)
    return levels, embedding, positive


def with_constant_masks(decoder, value, click):
    """Every query's mask logit is ``value`` everywhere for an embedding of ones; every query is (un)clicked."""
    for head, bias in ((decoder.mask_head[-1], torch.full((DIM,), value / DIM)), (decoder.click_head, None)):
        torch.nn.init.zeros_(head.weight)
        with torch.no_grad():
            head.bias.copy_(torch.tensor([0.0, 1.0 if click else -1.0]) if bias is None else bias)
    return decoder


class TestClickGate:
    def test_by_hand(self):
        disk = torch.zeros(1, 1, 8, 8)
        disk[0, 0, 2, 5] = 1
        assert torch.equal(click_gate(disk, (8, 8)), disk.flatten(1).bool())
        half = click_gate(disk, (4, 4)).reshape(4, 4)
        assert half.nonzero().tolist() == [[1, 2], [1, 3]]
        quarter = click_gate(disk, (2, 2)).reshape(2, 2)
        assert quarter.tolist() == [[False, True], [False, True]]
        assert not click_gate(torch.zeros(2, 1, 8, 8), (2, 2)).any()

    @pytest.mark.parametrize(("width", "level", "pools"), [(448, 14, 5), (448, 28, 4), (448, 16, 4), (96, 9, 3)])
    def test_number_of_poolings_is_the_logarithm_of_the_width(self, width, level, pools):
        maps = click_maps(torch.tensor([[[30.0, 40.0, 0], [-1, -1, -1]]]), (64, width))[:, :1]
        pooled = maps
        for _ in range(pools):
            pooled = F.max_pool2d(pooled, 3, 2, 1)
        expected = F.interpolate(pooled, (5, level), mode="bilinear", align_corners=False) >= 0.5
        gate = click_gate(maps, (5, level))
        assert torch.equal(gate, expected.flatten(1))
        assert gate.any()

    def test_smaller_than_the_level(self):
        disk = torch.zeros(1, 1, 2, 2)
        disk[0, 0, 0, 0] = 1
        expected = torch.zeros(4, 4, dtype=torch.bool)
        expected[:2, :2] = True
        assert torch.equal(click_gate(disk, (4, 4)).reshape(4, 4), expected)


class TestClickDecoder:
    @torch.no_grad()
    def test_prediction_points(self):
        decoder = make(num_layers=7)
        output = decoder(*inputs(), all_masks=True)
        assert len(output.predictions) == 8
        assert {tuple(masks.shape) for masks, _ in output.predictions} == {(2, QUERIES, 16, 24)}
        assert {tuple(clicks.shape) for _, clicks in output.predictions} == {(2, QUERIES, 2)}
        turns = [2 * 3, 4 * 6, 8 * 12]
        assert [gate.shape[-1] for gate in output.blocked] == [turns[index % 3] for index in range(7)]
        last_only = decoder(*inputs(), all_masks=False)
        assert [masks is None for masks, _ in last_only.predictions] == [True] * 7 + [False]
        assert torch.equal(last_only.predictions[-1][0], output.predictions[-1][0])

    @torch.no_grad()
    def test_a_gate_is_the_querys_own_resized_mask(self):
        decoder, (levels, embedding, positive) = make(), inputs()
        output = decoder(levels, embedding, positive, all_masks=True)
        for index, gate in enumerate(output.blocked):
            masks = F.interpolate(output.predictions[index][0], SIZES[index], mode="bilinear", align_corners=False)
            assert torch.equal(gate, masks.sigmoid().flatten(2) < 0.5)
            assert gate.any()
            assert not gate.all()

    @torch.no_grad()
    def test_a_clicked_query_may_also_look_near_a_positive_click(self):
        levels, _, _ = inputs()
        embedding = torch.ones(2, DIM, 16, 24)
        positive = click_maps(torch.tensor([[[10.0, 20.0, 0], [-1, -1, -1]]]), (64, 96))[:, :1].repeat(2, 1, 1, 1)
        positive[1] = 0
        clicked = with_constant_masks(make(), -1.0, click=True)(levels, embedding, positive, all_masks=False)
        for gate, size in zip(clicked.blocked, SIZES, strict=True):
            near = click_gate(positive, size)
            assert near[0].any()
            assert torch.equal(gate, ~near[:, None].expand(-1, QUERIES, -1))
        unclicked = with_constant_masks(make(), -1.0, click=False)(levels, embedding, positive, all_masks=False)
        assert all(gate.all() for gate in unclicked.blocked)
        tied = with_constant_masks(make(), -1.0, click=True)
        torch.nn.init.zeros_(tied.click_head.bias)
        assert all(gate.all() for gate in tied(levels, embedding, positive, all_masks=False).blocked)

    @torch.no_grad()
    def test_a_mask_probability_of_exactly_one_half_lets_look(self):
        levels, _, positive = inputs()
        output = with_constant_masks(make(), 0.0, click=False)(
            levels, torch.ones(2, DIM, 16, 24), positive, all_masks=False
        )
        assert not any(gate.any() for gate in output.blocked)

    @torch.no_grad()
    def test_a_query_with_nothing_allowed_attends_everywhere(self):
        levels, _, positive = inputs()
        embedding = torch.ones(2, DIM, 16, 24)
        queries = []
        for value in (-1.0, 1.0):
            decoder, seen = with_constant_masks(make(), value, click=False), []
            decoder.norm.register_forward_hook(lambda module, given, result, seen=seen: seen.append(result))
            output = decoder(levels, embedding, positive, all_masks=False)
            assert all(gate.all() == (value < 0) for gate in output.blocked)
            queries.append(seen)
        for nothing, everything in zip(*queries, strict=True):
            torch.testing.assert_close(nothing, everything)
            assert nothing.isfinite().all()

    @torch.no_grad()
    def test_what_is_blocked_has_no_influence(self):
        decoder, (levels, embedding, positive) = make(num_layers=1), inputs()
        output = decoder(levels, embedding, positive, all_masks=False)
        blocked_for_all = output.blocked[0].all(1)
        partly = ~output.blocked[0].all(-1).any(-1)
        assert (blocked_for_all.any(-1) & partly).any()
        changed = levels[0].clone()
        changed += 100.0 * (blocked_for_all & partly[:, None]).reshape(2, 1, *SIZES[0])
        again = decoder([changed, *levels[1:]], embedding, positive, all_masks=False)
        torch.testing.assert_close(again.predictions[-1], output.predictions[-1])
        free = levels[0] + torch.randn(SIZES[0])
        other = decoder([free, *levels[1:]], embedding, positive, all_masks=False)
        assert not torch.allclose(other.predictions[-1][1], output.predictions[-1][1])

    @torch.no_grad()
    def test_one_layer_by_hand(self):
        """Positions join queries and keys, never values; the level embedding joins both."""
        decoder, (levels, embedding, positive) = make(num_layers=1), inputs(batch=1)
        layer = decoder.layers[0]
        output = decoder(levels, embedding, positive, all_masks=True)
        blocked = output.blocked[0]
        blocked = blocked & ~blocked.all(-1, keepdim=True)
        memory = levels[0].flatten(2).transpose(1, 2) + decoder.level_embed[0]
        keys = memory + sine_positions(SIZES[0], DIM, device=memory.device).flatten(1).T
        query, place = decoder.query_features[None], decoder.query_positions[None]

        def attend(module, q, k, v, mask=None):
            w, b = module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)
            q, k, v = (
                F.linear(x, *wb).unflatten(-1, (4, -1)).transpose(1, 2) for x, *wb in zip((q, k, v), w, b, strict=True)
            )
            scores = q @ k.transpose(-1, -2) / (DIM // 4) ** 0.5
            scores = scores if mask is None else scores.masked_fill(mask[:, None], -torch.inf)
            return module.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))

        query = layer.cross_norm(query + attend(layer.cross_attn, query + place, keys, memory, blocked))
        query = layer.self_norm(query + attend(layer.self_attn, query + place, query + place, query))
        query = layer.feedforward_norm(query + layer.linear2(layer.linear1(query).relu()))
        normed = decoder.norm(query)
        masks, clicks = output.predictions[-1]
        torch.testing.assert_close(clicks, decoder.click_head(normed))
        expected = torch.einsum("bqd,bdhw->bqhw", decoder.mask_head(normed), embedding)
        torch.testing.assert_close(masks, expected)

    def test_gates_carry_no_gradient(self):
        decoder, (levels, embedding, positive) = make(), inputs()
        positive.requires_grad_()
        output = decoder(levels, embedding.requires_grad_(), positive, all_masks=False)
        output.predictions[-1][1].sum().backward()
        assert positive.grad is None
        assert embedding.grad is None or not embedding.grad.any()

    def test_width_must_be_a_multiple_of_the_heads(self):
        with pytest.raises(ValueError, match="dim must be a multiple of num_heads, got 10 and 8"):
            ClickDecoder(dim=10)


@torch.no_grad()
def test_moved_projections_equal_multi_head_attention():
    torch.manual_seed(2)
    layer = _DecoderLayer(16, 4, 24).eval()
    torch.nn.init.normal_(layer.cross_attn.in_proj_bias)
    query, keys, values = torch.randn(2, 3, 16), torch.randn(2, 24, 16), torch.randn(2, 24, 16)
    blocked = torch.rand(2, 3, 24) < 0.5
    mask = blocked.repeat_interleave(4, 0)
    expected = layer.cross_attn(query, keys, values, attn_mask=mask, need_weights=False)[0]
    torch.testing.assert_close(layer._look(query, keys, values, blocked), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_many_queries_use_the_usual_order_of_products():
    torch.manual_seed(3)
    layer = _DecoderLayer(16, 4, 24).eval()
    query, keys = torch.randn(1, 8, 16), torch.randn(1, 24, 16)
    blocked = torch.zeros(1, 8, 24, dtype=torch.bool)
    expected = torch.cat([layer._look(part, keys, keys, blocked[:, :2]) for part in query.split(2, dim=1)], dim=1)
    torch.testing.assert_close(layer._look(query, keys, keys, blocked), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_projection_of_the_pixels_may_come_later():
    decoder, projection = make(), torch.nn.Conv2d(DIM, DIM, 1)
    levels, features, positive = inputs()
    later = decoder(levels, features, positive, all_masks=False, projection=projection)
    sooner = decoder(levels, projection(features), positive, all_masks=False)
    for found, expected in zip(later.blocked, sooner.blocked, strict=True):
        assert torch.equal(found, expected)
    for found, expected in zip(later.predictions[-1], sooner.predictions[-1], strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
