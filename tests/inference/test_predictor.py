from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F

from adaptiveclick_med.clicks import click_maps
from adaptiveclick_med.inference import ClickPredictor
from adaptiveclick_med.inference.predictor import mirrored_points
from adaptiveclick_med.networks import AdaptiveClick, SimpleClick

POINTS = torch.tensor([[[3.0, 4.0, 0], [20.5, 11.25, 2], [9.0, 30.0, 1], [-1, -1, -1]]])


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return AdaptiveClick.from_preset("nano", image_size=32, num_queries=4, click_decoder_layers=3).eval()


def frames(height=32, width=40, batch=1):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, 3, height, width, generator=generator), torch.rand(
        batch, 1, height, width, generator=generator
    )


class Unpadded(ClickPredictor):
    """Gives the network crops that it refuses."""

    patch_size = 1


class TestMirroredPoints:
    def test_columns_are_counted_from_the_other_side(self):
        mirrored = mirrored_points(POINTS, 40)
        assert mirrored[0].tolist() == [[3, 35, 0], [20.5, 27.75, 2], [9, 9, 1], [-1, -1, -1]]
        assert torch.equal(mirrored_points(mirrored, 40), POINTS)
        assert POINTS[0, 0, 1] == 4

    def test_maps_are_mirrored_too(self):
        maps = click_maps(POINTS, (32, 40))
        assert torch.equal(click_maps(mirrored_points(POINTS, 40), (32, 40)), maps.flip(-1))


class TestOurNetworks:
    @torch.no_grad()
    def test_without_mirror_image(self, network):
        image, previous = frames()
        logits, candidates = ClickPredictor(network, flip=False)(image, previous, POINTS)
        output = network.predict(torch.cat([image, previous, click_maps(POINTS, (32, 40))], dim=1), auxiliary=False)
        assert torch.equal(logits, output.logits)
        assert torch.equal(candidates.mask_logits, output.mask_logits)
        assert torch.equal(candidates.click_logits, output.click_logits)

    @torch.no_grad()
    def test_averaged_with_the_mirror_image_by_hand(self, network):
        image, previous = frames()
        logits, candidates = ClickPredictor(network)(image, previous, POINTS)
        x = torch.cat([image, previous, click_maps(POINTS, (32, 40))], dim=1)
        expected = 0.5 * (network(x) + network(x.flip(-1)).flip(-1))
        torch.testing.assert_close(logits, expected)
        torch.testing.assert_close(candidates.mask_logits, network.predict(x).mask_logits)

    @torch.no_grad()
    def test_mirrored_input_gives_the_mirrored_answer(self, network):
        image, previous = frames(30, 37)
        predictor = ClickPredictor(network)
        logits, _ = predictor(image, previous, POINTS)
        mirrored, _ = predictor(image.flip(-1), previous.flip(-1), mirrored_points(POINTS, 37))
        torch.testing.assert_close(mirrored.flip(-1), logits)

    @torch.no_grad()
    def test_sizes_that_are_no_multiple_of_the_patch_are_padded_with_zeros(self, network):
        image, previous = frames(30, 37)
        logits, candidates = ClickPredictor(network, flip=False)(image, previous, POINTS)
        x = F.pad(torch.cat([image, previous, click_maps(POINTS, (30, 37))], dim=1), (0, 3, 0, 2))
        output = network.predict(x, auxiliary=False)
        assert logits.shape == (1, 1, 30, 37)
        assert torch.equal(logits, output.logits[..., :30, :37])
        masks = ClickPredictor(network).resized_masks(candidates, (30, 37))
        confidence = candidates.click_logits[..., 1].sigmoid()
        torch.testing.assert_close((masks * confidence[..., None, None]).sum(1, keepdim=True), logits)

    @torch.no_grad()
    def test_samples_of_a_batch_are_independent(self, network):
        image, previous = frames(batch=2)
        points = torch.cat([POINTS, POINTS.flip(1)])
        points[1, :, 1] += 3
        predictor = ClickPredictor(network)
        logits, candidates = predictor(image, previous, points)
        for index in range(2):
            alone, other = predictor(image[index, None], previous[index, None], points[index, None])
            torch.testing.assert_close(logits[index, None], alone)
            torch.testing.assert_close(candidates.mask_logits[index, None], other.mask_logits)

    @pytest.mark.parametrize("make", [AdaptiveClick, SimpleClick])
    def test_cores_with_crops_of_their_own(self, make):
        torch.manual_seed(0)
        network = make.from_preset("nano", image_size=32).eval()
        image, previous = frames(batch=3)
        points = POINTS + torch.tensor([0.0, 1.5, 3.0])[:, None, None] * (POINTS >= 0)
        predictor, calls, before = ClickPredictor(network), [], torch.get_num_threads()
        network.encoder.register_forward_hook(
            lambda *_: calls.append((threading.current_thread(), torch.get_num_threads(), torch.is_grad_enabled()))
        )
        try:
            torch.set_num_threads(1)
            expected, masks = predictor(image, previous, points)
            assert [thread for thread, *_ in calls] == [threading.main_thread()]
            calls.clear()
            torch.set_num_threads(2)
            logits, candidates = predictor(image, previous, points)
            assert len(calls) == 3
            assert all(thread is not threading.main_thread() for thread, *_ in calls)
            assert {(threads, grad) for _, threads, grad in calls} == {(1, False)}
            assert torch.get_num_threads() == 2
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(torch.get_num_threads).result() == 2
            calls.clear()
            with torch.autocast("cpu"):
                predictor(image, previous, points)
            predictor(image[:1], previous[:1], points[:1])
            assert [thread for thread, *_ in calls] == [threading.main_thread()] * 2
        finally:
            torch.set_num_threads(before)
        torch.testing.assert_close(logits, expected)
        assert (candidates is None) == (masks is None) == (make is SimpleClick)
        if masks is not None:
            torch.testing.assert_close(candidates.logits, masks.logits)
            torch.testing.assert_close(candidates.mask_logits, masks.mask_logits)
            torch.testing.assert_close(candidates.click_logits, masks.click_logits)

    def test_an_error_on_a_core_is_raised(self, network):
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(2)
            with pytest.raises(ValueError, match="multiple"):
                Unpadded(network)(*frames(30, 32, batch=2), POINTS.repeat(2, 1, 1))
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)

    def test_no_candidates_from_a_plain_head(self):
        network = SimpleClick.from_preset("nano", image_size=32).eval()
        logits, candidates = ClickPredictor(network)(*frames(), POINTS)
        assert logits.shape == (1, 1, 32, 40)
        assert candidates is None
        assert not logits.requires_grad

    def test_training_mode_is_refused(self, network):
        predictor = ClickPredictor(network)
        try:
            network.train()
            with pytest.raises(RuntimeError, match=r"training mode; call network\.eval\(\)"):
                predictor(*frames(), POINTS)
        finally:
            network.eval()

    def test_masks_of_nothing(self, network):
        from adaptiveclick_med.networks import AdaptiveClickOutput

        with pytest.raises(ValueError, match="candidates must have mask logits"):
            ClickPredictor(network).resized_masks(AdaptiveClickOutput(torch.zeros(1, 1, 4, 4)), (4, 4))

    def test_facts(self, network):
        assert ClickPredictor(network).patch_size == 8
        assert ClickPredictor(network).device == torch.device("cpu")


class TestCallable:
    def test_gets_crop_previous_mask_and_points(self):
        calls = []

        def network(image, previous, points):
            calls.append((image, previous, points))
            return image.mean(1, keepdim=True)

        image, previous = frames()
        logits, candidates = ClickPredictor(network)(image, previous, POINTS)
        assert candidates is None
        torch.testing.assert_close(logits, image.mean(1, keepdim=True))
        (given_image, given_previous, given_points) = calls[0]
        assert torch.equal(given_image, torch.cat([image, image.flip(-1)]))
        assert torch.equal(given_previous, torch.cat([previous, previous.flip(-1)]))
        assert torch.equal(given_points, torch.cat([POINTS, mirrored_points(POINTS, 40)]))

    def test_smaller_logits_are_resized_before_they_are_flipped_back(self):
        def network(image, previous, points):
            return F.interpolate(image[:, :1], scale_factor=0.5, mode="bilinear", align_corners=True)

        image, previous = frames()
        expected = F.interpolate(
            F.interpolate(image[:, :1], scale_factor=0.5, mode="bilinear", align_corners=True),
            (32, 40),
            mode="bilinear",
            align_corners=True,
        )
        for flip in (True, False):
            logits, _ = ClickPredictor(network, flip=flip)(image, previous, POINTS)
            torch.testing.assert_close(logits, expected)

    def test_the_two_answers_are_averaged(self):
        def network(image, previous, points):
            return torch.arange(len(image)).reshape(-1, 1, 1, 1).expand(-1, 1, 32, 40) * 3.0

        assert (ClickPredictor(network)(*frames(), POINTS)[0] == 1.5).all()

    def test_facts(self):
        assert ClickPredictor(print).patch_size == 1
        assert ClickPredictor(print).device == torch.device("cpu")
        assert ClickPredictor(torch.nn.Linear(1, 1)).device == torch.device("cpu")
        assert ClickPredictor(torch.nn.ReLU()).device == torch.device("cpu")
