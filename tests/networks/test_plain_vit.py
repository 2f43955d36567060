from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from adaptiveclick_med.networks.plain_vit import PlainViT, global_block_indices

PATCH = 4


def make(grid=(4, 4), **options):
    torch.manual_seed(0)
    options = {"patch_size": PATCH, "embed_dim": 16, "depth": 4, "num_heads": 2, "window_size": 2, **options}
    size = tuple(side * options["patch_size"] for side in grid)
    network = PlainViT(size, **options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return network.eval()


def picture(grid, batch=2, patch=PATCH):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, batch, 3, grid[0] * patch, grid[1] * patch, generator=generator).unbind()


def cut(length, window):
    """Equal parts of one side: floor(length / window), at least one, the last shorter where it does not divide."""
    count = max(1, length // window)
    size = -(-length // count)
    return [range(start, min(start + size, length)) for start in range(0, count * size, size)]


def brute_force(network, image, prompts, window):
    """Blocks without timm, one window at a time, without padding."""
    patch = network.patch_size
    height, width = image.shape[-2] // patch, image.shape[-1] // patch
    tokens = network.patch_embed(image) + network.click_embed(prompts)
    position = network.pos_embed.reshape(1, *network.grid_size, -1).permute(0, 3, 1, 2)
    if (height, width) != network.grid_size:
        position = F.interpolate(position, (height, width), mode="bicubic", align_corners=False)
    x = (tokens + position).permute(0, 2, 3, 1)
    for index, block in enumerate(network.blocks):
        whole = index in network.global_blocks
        rows = [range(height)] if whole else cut(height, window)
        columns = [range(width)] if whole else cut(width, window)
        result = torch.zeros_like(x)
        for r in (part for part in rows if len(part)):
            for c in (part for part in columns if len(part)):
                part = x[:, r.start : r.stop, c.start : c.stop]
                result[:, r.start : r.stop, c.start : c.stop] = run_block(block, part.flatten(1, 2)).reshape(part.shape)
        x = result
    return x.permute(0, 3, 1, 2)


def run_block(block, x):
    heads = block.attn.num_heads
    normed = F.layer_norm(x, x.shape[-1:], block.norm1.weight, block.norm1.bias, 1e-6)
    q, k, v = block.attn.qkv(normed).reshape(*x.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    x = x + block.attn.proj((weights @ v).transpose(1, 2).flatten(2))
    normed = F.layer_norm(x, x.shape[-1:], block.norm2.weight, block.norm2.bias, 1e-6)
    return x + block.mlp.fc2(F.gelu(block.mlp.fc1(normed)))


class TestWindows:
    @pytest.mark.parametrize(
        ("grid", "window"),
        [
            ((4, 4), 2),
            ((4, 8), 2),
            ((5, 7), 2),
            ((7, 4), 3),
            ((6, 6), 4),
            ((3, 9), 4),
            ((5, 5), 5),
            ((1, 1), 2),
            ((1, 5), 2),
            ((9, 9), 2),
            ((11, 4), 3),
        ],
    )
    @torch.no_grad()
    def test_equal_windows_one_by_one(self, grid, window):
        network = make(grid, window_size=window, depth=5)
        assert network.global_blocks == (0, 1, 2, 3, 4)
        network.global_blocks = (1, 4)
        image, prompts = picture(grid)
        result = network(image, prompts)
        assert result.shape == (2, 16, *grid)
        torch.testing.assert_close(result, brute_force(network, image, prompts, window), atol=1e-5, rtol=1e-5)

    @torch.no_grad()
    def test_a_window_larger_than_the_grid_is_one_window(self):
        image, prompts = picture((3, 5))
        results = []
        for window in (5, 6, 100):
            network = make((3, 5), window_size=window)
            network.global_blocks = ()
            results.append(network(image, prompts))
            assert torch.equal(results[0], results[-1])
        network.global_blocks = (0, 1, 2, 3)
        torch.testing.assert_close(network(image, prompts), results[0])

    @torch.no_grad()
    def test_windows_do_not_see_each_other_but_global_blocks_do(self):
        network, (image, prompts) = make((4, 4), depth=4), picture((4, 4), batch=1)
        changed = image.clone()
        changed[..., :PATCH, :PATCH] += 1
        network.global_blocks = ()
        difference = (network(changed, prompts) - network(image, prompts)).abs().amax((0, 1)) > 0
        assert difference[:2, :2].all()
        assert difference.sum() == 4
        network.global_blocks = (3,)
        assert ((network(changed, prompts) - network(image, prompts)).abs().amax((0, 1)) > 0).all()

    def test_gradients_are_finite_where_a_window_is_padding_only(self):
        network, (image, prompts) = make((9, 9), depth=8, window_size=2), picture((9, 9), batch=1)
        network(image, prompts).square().sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in network.parameters())

    @torch.no_grad()
    def test_padding_of_one_sample_does_not_reach_another(self):
        network, (image, prompts) = make((5, 7), window_size=3, depth=8), picture((5, 7), batch=3)
        together = network(image, prompts)
        for index in range(3):
            torch.testing.assert_close(together[index], network(image[index, None], prompts[index, None])[0])

    @pytest.mark.parametrize(
        ("depth", "expected"),
        [
            (12, (5, 11)),
            (24, (5, 11, 17, 23)),
            (32, (7, 15, 23, 31)),
            (8, (1, 3, 5, 7)),
            (4, (0, 1, 2, 3)),
            (2, (0, 1)),
        ],
    )
    def test_global_blocks(self, depth, expected):
        assert global_block_indices(depth) == expected

    @pytest.mark.parametrize(("patch", "window"), [(16, 14), (14, 16), (8, 28), (300, 1)])
    def test_default_window_is_224_pixels(self, patch, window):
        with torch.device("meta"):
            assert PlainViT((600, 600) if patch == 300 else (448, 448), patch_size=patch).window_size == window


class TestPositions:
    @pytest.mark.parametrize("grid", [(4, 4), (8, 8), (3, 5), (2, 2), (1, 16), (16, 1), (2, 8), (8, 2)])
    @pytest.mark.parametrize("kept", [(4, 4), (2, 8), (3, 3)])
    @torch.no_grad()
    def test_resampled_to_another_grid(self, kept, grid):
        """Also where both grids have as many tokens."""
        network, (image, prompts) = make(kept), picture(grid, batch=1)
        expected = brute_force(network, image, prompts, 2)
        torch.testing.assert_close(network(image, prompts), expected, atol=1e-5, rtol=1e-5)

    @torch.no_grad()
    def test_the_kept_grid_is_used_as_it_is(self):
        network = make((2, 3), depth=0)
        zeros = torch.zeros(1, 3, 2 * PATCH, 3 * PATCH)
        bias = network.patch_embed.bias + network.click_embed.bias
        expected = network.pos_embed.reshape(2, 3, 16) + bias
        torch.testing.assert_close(network(zeros, zeros)[0].permute(1, 2, 0), expected)


class TestTokens:
    @torch.no_grad()
    def test_image_and_prompts_have_an_embedding_each(self):
        network, (image, prompts) = make((2, 2), depth=0), picture((2, 2))
        expected = (
            network.patch_embed(image)
            + network.click_embed(prompts)
            + network.pos_embed.transpose(1, 2).reshape(1, 16, 2, 2)
        )
        torch.testing.assert_close(network(image, prompts), expected)
        assert not torch.allclose(network(prompts, image), expected)

    @torch.no_grad()
    def test_patch_14(self):
        network, (image, prompts) = make((4, 2), patch_size=14), picture((4, 2), patch=14)
        assert network(image, prompts).shape == (2, 16, 4, 2)

    @pytest.mark.parametrize("size", [(3, 8), (8, 0), (8, 10), (6, 8)])
    def test_size(self, size):
        with pytest.raises(ValueError, match=f"patch_size is 4, the image is {size[0]} x {size[1]} pixels"):
            make()(torch.zeros(1, 3, *size), torch.zeros(1, 3, *size))

    def test_arguments(self):
        with pytest.raises(ValueError, match="embed_dim must be a multiple of num_heads, got 16 and 3"):
            make(num_heads=3)
        with pytest.raises(ValueError, match="the image is 30 x 32 pixels"):
            PlainViT((30, 32), patch_size=4, embed_dim=16, depth=1, num_heads=1)


class TestActivationCheckpointing:
    @staticmethod
    def gradients(network, grid, *, checkpointing, dtype=None):
        network.activation_checkpointing = checkpointing
        network.zero_grad(set_to_none=True)
        image, prompts = picture(grid)
        prompts.requires_grad_()
        with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            result = network(image, prompts)
        result.float().square().mean().backward()
        return result.detach(), [prompts.grad, *(parameter.grad for parameter in network.parameters())]

    @pytest.mark.parametrize("grid", [(4, 4), (5, 7)])
    @pytest.mark.parametrize("dtype", [None, torch.bfloat16])
    def test_results_and_gradients_are_the_same(self, grid, dtype):
        network = make(grid, window_size=3, depth=8).train()
        plain, expected = self.gradients(network, grid, checkpointing=False, dtype=dtype)
        result, found = self.gradients(network, grid, checkpointing=True, dtype=dtype)
        assert torch.equal(result, plain)
        assert len(found) == len(expected) == 1 + len(list(network.parameters()))
        for gradient, other in zip(found, expected, strict=True):
            torch.testing.assert_close(gradient, other, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize(
        ("checkpointing", "training", "gradient", "calls"),
        [(True, True, True, 2), (False, True, True, 1), (True, False, True, 1), (True, True, False, 1)],
    )
    def test_blocks_are_computed_again_in_training_only(self, checkpointing, training, gradient, calls):
        network = make().train(training)
        network.activation_checkpointing = checkpointing
        seen = []
        network.blocks[1].norm1.register_forward_hook(lambda *_: seen.append(1))
        with torch.set_grad_enabled(gradient):
            result = network(*picture((4, 4)))
        if gradient:
            result.sum().backward()
        assert len(seen) == calls

    def test_it_is_no_part_of_the_weights(self):
        network, other = make(), make()
        network.activation_checkpointing = True
        assert list(network.state_dict()) == list(other.state_dict())
        assert not other.activation_checkpointing

    def test_under_torch_compile(self):
        network = make().train()
        _, expected = self.gradients(network, (4, 4), checkpointing=False)
        network.compile(backend="aot_eager")
        _, found = self.gradients(network, (4, 4), checkpointing=True)
        for gradient, other in zip(found, expected, strict=True):
            torch.testing.assert_close(gradient, other, rtol=1e-6, atol=1e-6)
