"""A small network that learns the phantoms' bodies and organs by heart, so that clicks in a viewer have an answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from adaptiveclick_med.clicks import Click, click_maps, points_tensor
from adaptiveclick_med.networks import AdaptiveClick
from adaptiveclick_med.transforms.intensity import intensity_range, to_unit_rgb
from adaptiveclick_med.weights import save_weights

__all__ = ["train_quickly"]


def train_quickly(
    path: Path, image: NDArray[np.int16], label: NDArray[np.uint8], steps: int = 45, side: int = 64
) -> list[float]:
    """Train on the slices of one volume with one click each, and save the weights.

    Args:
        path: the weight file to write.
        image: [I, J, K].
        label: [I, J, K], one number for each object.
        steps: of the training.
        side: height and width that the network sees.

    Returns:
        The loss of each step.
    """
    torch.manual_seed(0)
    random = np.random.RandomState(0)
    network = AdaptiveClick.from_preset("nano", image_size=side, num_queries=4, click_decoder_layers=3).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    window = intensity_range(image)
    places = [(k, number) for k in range(image.shape[2]) for number in np.unique(label[..., k]) if number]
    losses = []
    for _ in range(steps):
        chosen = [places[index] for index in random.randint(len(places), size=4)]
        samples = [_sample(image[..., k].T, (label[..., k] == number).T, window, side, random) for k, number in chosen]
        target = torch.stack([sample[1] for sample in samples])
        logits = network(torch.stack([sample[0] for sample in samples])).logits
        probability = logits.sigmoid()
        overlap = 2 * (probability * target).sum((1, 2, 3)) / (probability + target).sum((1, 2, 3))
        loss = F.binary_cross_entropy_with_logits(logits, target) + (1 - overlap).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    save_weights(path, network.eval(), licence="Apache-2.0")
    return losses


def _sample(
    image: NDArray[np.int16],
    target: NDArray[np.bool_],
    window: tuple[float, float],
    side: int,
    random: np.random.RandomState,
) -> tuple[Tensor, Tensor]:
    """Return the network's input [6, side, side] with a random click on the target, and the target [1, side, side]."""
    rgb = torch.as_tensor(to_unit_rgb(image[None], window=window)).float()
    pair = torch.cat([rgb, torch.from_numpy(np.ascontiguousarray(target))[None].float()])
    pair = F.interpolate(pair[None], (side, side), mode="bilinear")[0]
    if random.rand() < 0.5:
        pair = pair.flip(-1)
    inside = np.argwhere(pair[3].numpy() > 0.5)
    row, column = inside[random.randint(len(inside))] if len(inside) else (side // 2, side // 2)
    maps = click_maps(points_tensor([[Click(float(row), float(column), True)]]), (side, side))[0]
    return torch.cat([pair[:3], torch.zeros(1, side, side), maps]), (pair[3:] > 0.5).float()
