from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from adaptiveclick_med.clicks import Click, click_maps, points_tensor
from adaptiveclick_med.networks import AdaptiveClick, geodesic
from adaptiveclick_med.networks.geodesic import GEODESIC_CHANNELS, geodesic_distances, geodesic_maps
from adaptiveclick_med.weights import load_weights, save_weights

SMALL = {
    "image_size": 32,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "pyramid_channels": (8, 8, 8, 8),
    "decoder_dim": 32,
    "decoder_heads": 4,
    "pixel_decoder_layers": 1,
    "pixel_feedforward_dim": 16,
    "click_decoder_layers": 2,
    "click_feedforward_dim": 16,
}


def disks(*clicks: Click, size: tuple[int, int]) -> torch.Tensor:
    return click_maps(points_tensor([clicks]), size)


def shortest_paths(image: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths and steps of the shortest paths by Dijkstra's algorithm; image [3, h, w], starts [h, w]."""
    height, width = starts.shape
    number = np.arange(height * width).reshape(height, width)
    entries = []
    for row in range(height):
        for column in range(width):
            for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                r, c = row + down, column + right
                if r < height and 0 <= c < width:
                    cost = np.abs(image[:, row, column] - image[:, r, c]).mean() + 0.001
                    entries.append((number[row, column], number[r, c], cost * np.hypot(down, right)))
    rows, columns, costs = zip(*entries, strict=True)
    graph = csr_matrix((costs, (rows, columns)), shape=(height * width, height * width))
    lengths, before, _ = dijkstra(
        graph, directed=False, indices=number[starts], min_only=True, return_predecessors=True
    )
    steps = np.zeros(height * width, dtype=int)
    for position in np.argsort(lengths):
        if before[position] >= 0:
            steps[position] = steps[before[position]] + 1
    return lengths.reshape(height, width), steps.reshape(height, width)


class TestDistances:
    def test_on_one_grey_they_count_steps(self):
        distances = geodesic_distances(torch.full((1, 3, 41, 41), 0.3), disks(Click(20, 20), size=(41, 41)), 1)
        starts = distances[0, 0] == 0
        # the disk of radius 5 less a border of three pixels: a plus of five pixels
        assert starts.nonzero().tolist() == [[19, 20], [20, 19], [20, 20], [20, 21], [21, 20]]
        assert float(distances[0, 0, 20, 31]) == pytest.approx(10 * 0.001, rel=1e-5)
        assert float(distances[0, 0, 25, 26]) == pytest.approx(5 * 2**0.5 * 0.001, rel=1e-5)
        assert (distances[0, 1] == 100).all()  # no negative click
        assert float(distances[0, 2, 20, 20]) == pytest.approx(20 * 0.001, rel=1e-5)  # from the frame

    def test_an_edge_costs_its_height(self):
        image = torch.zeros(1, 3, 24, 60)
        image[..., 30:] = 0.6
        distances = geodesic_distances(image, disks(Click(12, 10), Click(12, 50, positive=False), size=(24, 60)), 1)
        assert float(distances[0, 0, 12, 49]) == pytest.approx(0.6 + 38 * 0.001, abs=1e-5)
        assert float(distances[0, 1, 12, 11]) == pytest.approx(0.6 + 38 * 0.001, abs=1e-5)
        assert float(distances[0, 0, 12, 20]) < float(distances[0, 1, 12, 20])

    @pytest.mark.parametrize("stride", [1, 2])
    def test_they_are_shortest_paths(self, stride):
        image = torch.rand(2, 3, 40, 48, generator=torch.Generator().manual_seed(0))
        image = torch.nn.functional.avg_pool2d(image, 9, 1, 4)  # smooth, so that no path winds through all positions
        clicks = torch.cat(
            [
                disks(Click(8, 30), Click(30, 9), Click(33, 40, positive=False), size=(40, 48)),
                disks(Click(20, 1), size=(40, 48)),
            ]
        )
        distances = geodesic_distances(image, clicks, stride)
        assert distances.shape == (2, 3, 40 // stride, 48 // stride)
        small = torch.nn.functional.avg_pool2d(image, stride)
        small = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(small, (1,) * 4, mode="replicate"), 3, 1)
        for sample, sign in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2)):
            starts = distances[sample, sign] == 0
            assert starts.any()
            lengths, steps = shortest_paths(small[sample].numpy(), starts.numpy())
            found, reached = distances[sample, sign].numpy(), steps <= 48 // stride
            assert reached.mean() > 0.8
            np.testing.assert_allclose(found[reached], lengths[reached], atol=2e-6)
            assert (found >= lengths - 2e-6).all()

    def test_the_frame_is_background_but_where_the_object_was_clicked(self):
        distances = geodesic_distances(torch.zeros(1, 3, 32, 32), disks(Click(0, 16), size=(32, 32)), 2)
        zero = distances[0, 2] == 0
        assert zero[-1].all() and zero[:, 0].all() and zero[:, -1].all() and not zero[1:-1, 1:-1].any()
        assert not zero[0, 8] and bool(distances[0, 0, 0, 8] == 0)

    def test_the_way_of_exporters_gives_the_same(self, monkeypatch):
        image = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(2))
        clicks = disks(Click(9, 11), Click(25, 20, positive=False), size=(32, 40)).repeat(2, 1, 1, 1)
        right = geodesic_distances(image, clicks, 2)
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        torch.testing.assert_close(geodesic_distances(image, clicks, 2), right, atol=1e-6, rtol=0)

    def test_the_mirror_image_has_the_mirrored_distances(self):
        image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        clicks = disks(Click(9, 11), Click(25, 20, positive=False), size=(32, 32))
        mirrored = geodesic_distances(image.flip(-1), clicks.flip(-1), 2).flip(-1)
        torch.testing.assert_close(mirrored, geodesic_distances(image, clicks, 2), atol=1e-6, rtol=0)


def test_maps():
    distances = torch.tensor([[0.0, 100.0, 0.3], [0.1, 0.1, 0.1]]).reshape(2, 3, 1, 1)
    maps = geodesic_maps(distances)[..., 0, 0]
    assert maps.shape == (2, GEODESIC_CHANNELS) and maps.abs().max() <= 1
    assert maps[0, 0:10:2].tolist() == [1.0] * 5 and maps[0, 1:10:2].tolist() == [0.0] * 5
    assert float(maps[0, 10]) == pytest.approx(1, abs=1e-4) and float(maps[0, 11]) == pytest.approx(1)
    expected = [np.exp(-0.1 / scale) for scale in (0.02, 0.05, 0.1, 0.2, 0.5)]
    np.testing.assert_allclose(maps[1, 0:10:2], expected, rtol=1e-5)
    np.testing.assert_allclose(maps[1, 10:], [0.5, 0], atol=1e-4)


class TestNetwork:
    @pytest.fixture(scope="class")
    def network(self) -> AdaptiveClick:
        torch.manual_seed(0)
        return AdaptiveClick(**SMALL, geodesic=True).eval()

    def test_off_by_default(self):
        plain = AdaptiveClick(**SMALL)
        assert plain.prompt_embed is None and "geodesic" not in plain.arguments
        assert not any(name.startswith("prompt_embed") for name in plain.state_dict())
        assert plain.encoder.click_embed.in_channels == 3

    @torch.no_grad()
    def test_both_ways_see_the_maps(self, network, monkeypatch):
        x = torch.rand(1, 6, 32, 48, generator=torch.Generator().manual_seed(0))
        x[:, 4:] = disks(Click(15, 20), size=(32, 48))
        whole = network.predict(x, return_features=True)
        maps = geodesic.geodesic_maps
        monkeypatch.setattr(
            "adaptiveclick_med.networks.adaptive_click.geodesic_maps",
            lambda distances: torch.zeros_like(maps(distances)),
        )
        without = network.predict(x, return_features=True)
        for name in ("encoder", "pixel_embedding"):
            assert float((whole.features[name] - without.features[name]).abs().max()) > 1e-3
        assert whole.logits.shape == (1, 1, 32, 48) and whole.features["pixel_embedding"].shape == (1, 32, 16, 24)

    @torch.no_grad()
    def test_one_answer_by_all_ways(self, network):
        x = torch.rand(2, 6, 64, 32, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(network(x), network.predict(x).logits)
        assert network.predict(x).mask_logits.shape == (2, 10, 32, 16)

    def test_it_learns(self, network):
        network.train()
        x = torch.rand(1, 6, 32, 32, generator=torch.Generator().manual_seed(0))
        network(x).logits.sum().backward()
        assert all(float(p.grad.abs().sum()) > 0 for p in network.prompt_embed.parameters())
        network.zero_grad()
        network.eval()

    def test_saved_and_read(self, network, tmp_path):
        path = tmp_path / "weights.safetensors"
        save_weights(path, network, training={})
        again = load_weights(path)
        assert again.arguments["geodesic"] is True
        x = torch.rand(1, 6, 32, 32, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            torch.testing.assert_close(again(x), network(x), atol=0, rtol=0)

    @pytest.mark.parametrize("shape", [(1, 5, 32, 32), (6, 32, 32)])
    def test_what_is_no_input(self, network, shape):
        with pytest.raises(ValueError, match=r"The input must be of shape \[B, 6, H, W\], got"):
            network(torch.zeros(shape))

    def test_the_patch_must_be_a_multiple_of_four(self):
        with pytest.raises(ValueError, match="geodesic needs a patch_size that is a multiple of 4, got 14"):
            AdaptiveClick.from_preset("huge", geodesic=True)
