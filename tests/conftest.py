"""Shared fixtures: parity tests run where ADAPTIVECLICK_SHARED names the folder of reference vectors and data."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import absl.logging
import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image

VARIABLE = "ADAPTIVECLICK_SHARED"

# OpenVINO imports absl, whose handler closes its stream when logging is set up anew. That shall not be pytest's.
absl.logging.get_absl_handler().python_handler.setStream(sys.__stderr__)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get(VARIABLE):
        return
    parity = [item for item in items if item.get_closest_marker("parity")]
    if parity:
        config.hook.pytest_deselected(items=parity)
        items[:] = [item for item in items if not item.get_closest_marker("parity")]
        config.stash[_MESSAGE] = f"{len(parity)} parity tests deselected: {VARIABLE} is not set."


_MESSAGE = pytest.StashKey[str]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if _MESSAGE in config.stash:
        terminalreporter.write_line(config.stash[_MESSAGE])


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference vectors and data; parity tests only."""
    return Path(os.environ[VARIABLE])


@pytest.fixture(scope="session")
def golden(shared: Path) -> Any:
    """Read one item of the reference vectors: its description and its tensors."""

    def read(name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        folder = shared / "golden"
        return json.loads((folder / f"{name}.json").read_text()), safetensors.torch.load_file(
            folder / f"{name}.safetensors"
        )

    return read


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set "folder": three pictures of 64 x 72 pixels, each with a rectangle and a disk."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.RandomState(0)
    rows, columns = np.ogrid[:64, :72]
    for number in range(3):
        label = np.zeros((64, 72), np.uint8)
        label[8:30, 6 + 4 * number : 30] = 1
        label[(rows - 44) ** 2 + (columns - 50 + 4 * number) ** 2 <= 12**2] = 2
        image = np.clip(60 + 70.0 * label + random.normal(0, 10, label.shape), 0, 255).astype(np.uint8)
        for kind, array in (("images", image), ("labels", label)):
            (folder / kind).mkdir(exist_ok=True)
            Image.fromarray(array).save(folder / kind / f"case_{number}.png")
    return folder


TO_RELEASED = (
    (r"encoder\.click_embed\.", "patch_embed_coords.proj."),
    (r"encoder\.patch_embed\.", "backbone.patch_embed.proj."),
    (r"encoder\.", "backbone."),
    (r"pyramid\.stride", "NECKneck.down_"),
    (r"pixel_decoder\.level_embed", "pixel_decoder.transformer.level_embed"),
    (r"pixel_decoder\.layers\.", "pixel_decoder.transformer.encoder.layers."),
    (r"pixel_decoder\.lateral\.", "pixel_decoder.adapter_1."),
    (r"pixel_decoder\.output\.", "pixel_decoder.layer_1."),
    (r"pixel_decoder\.pixel_embed\.", "pixel_decoder.mask_features."),
    (r"click_decoder\.query_features", "click_aware_decoder.query_feat.weight"),
    (r"click_decoder\.query_positions", "click_aware_decoder.query_embed.weight"),
    (r"click_decoder\.level_embed", "click_aware_decoder.level_embed.weight"),
    (r"click_decoder\.norm\.", "click_aware_decoder.decoder_norm."),
    (r"click_decoder\.click_head\.", "click_aware_decoder.class_embed."),
    (r"click_decoder\.mask_head\.0\.", "click_aware_decoder.mask_embed.layers.0."),
    (r"click_decoder\.mask_head\.2\.", "click_aware_decoder.mask_embed.layers.1."),
    (r"click_decoder\.mask_head\.4\.", "click_aware_decoder.mask_embed.layers.2."),
    (
        r"click_decoder\.layers\.(\d)\.cross_attn\.",
        r"click_aware_decoder.transformer_cross_attention_layers.\1.multihead_attn.",
    ),
    (r"click_decoder\.layers\.(\d)\.cross_norm\.", r"click_aware_decoder.transformer_cross_attention_layers.\1.norm."),
    (
        r"click_decoder\.layers\.(\d)\.self_attn\.",
        r"click_aware_decoder.transformer_self_attention_layers.\1.self_attn.",
    ),
    (r"click_decoder\.layers\.(\d)\.self_norm\.", r"click_aware_decoder.transformer_self_attention_layers.\1.norm."),
    (r"click_decoder\.layers\.(\d)\.feedforward_norm\.", r"click_aware_decoder.transformer_ffn_layers.\1.norm."),
    (r"click_decoder\.layers\.(\d)\.linear", r"click_aware_decoder.transformer_ffn_layers.\1.linear"),
    (r"head\.projections\.(\d)\.", r"head.convs.\1.conv."),
    (r"head\.fusion\.", "head.fusion_conv.conv."),
    (r"head\.classifier\.", "head.conv_seg."),
)
ALIASES = (
    ("pixel_decoder.adapter_1.", "pixel_decoder.lateral_convs.0."),
    ("pixel_decoder.layer_1.", "pixel_decoder.output_convs.0."),
)


def _released(network: Any) -> dict[str, torch.Tensor]:
    """The state of one of our networks under the names of the released checkpoints."""
    adaptive = type(network).__name__ == "AdaptiveClick"
    state = {}
    for name, tensor in network.state_dict().items():
        for pattern, replacement in TO_RELEASED:
            renamed, count = re.subn(f"^{pattern}", replacement, name)
            if count:
                name = renamed
                break
        state[name.replace("NECK", "pixel_decoder." if adaptive else "")] = tensor
    state["backbone.pos_embed"] = F.pad(state["backbone.pos_embed"], (0, 0, 1, 0), value=9.0)
    if adaptive:
        for theirs, alias in ALIASES:
            state.update({key.replace(theirs, alias): value for key, value in state.items() if key.startswith(theirs)})
    state["backbone.cls_token"] = torch.ones(1, 1, state["backbone.pos_embed"].shape[2])
    state["backbone.head.weight"] = torch.ones(10, state["backbone.pos_embed"].shape[2])
    return state


@pytest.fixture(scope="session")
def released() -> Callable[[Any], dict[str, torch.Tensor]]:
    """Names of the released checkpoints for one of our networks: network -> state."""
    return _released
