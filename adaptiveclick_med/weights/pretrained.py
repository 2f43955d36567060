"""Start the encoder from masked-autoencoder (MAE) weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from adaptiveclick_med import _torchvision  # noqa: F401
from adaptiveclick_med.networks import ClickNetwork
from adaptiveclick_med.weights.files import read_state

from timm.layers.pos_embed import resample_abs_pos_embed  # isort: skip

__all__ = ["MAE_MODELS", "initialise_encoder"]

MAE_MODELS: dict[tuple[int, int], str] = {
    (768, 16): "vit_base_patch16_224.mae",
    (1024, 16): "vit_large_patch16_224.mae",
    (1280, 14): "vit_huge_patch14_224.mae",
}


def initialise_encoder(network: ClickNetwork, source: str | Path | None) -> ClickNetwork:
    """Copy pre-trained ViT weights into a network's encoder. The click embedding keeps its fresh weights.

    Args:
        network: the network to start.
        source: ``"mae"``: timm's MAE weights of the encoder's size (downloads them); the name of another timm model;
            a local file (safetensors or PyTorch) with the state dict of a ViT, plain or under ``model``; or ``None``:
            nothing is done.

    Returns:
        The same network.

    Raises:
        FileNotFoundError: when a path is given and there is no such file.
        ValueError: when there are no MAE weights of that size, or tensors are missing, unknown or of another shape.
    """
    if source is None:
        return network
    state = _read(network, source)
    if not isinstance(state, Mapping):
        raise ValueError(f"{source} must hold a state dict, it holds a {type(state).__name__}.")
    state = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    encoder = network.encoder
    own = encoder.state_dict()
    wanted = {name: name for name in own if name.startswith("blocks.")}
    wanted.update({f"patch_embed.{part}": f"patch_embed.proj.{part}" for part in ("weight", "bias")})
    missing = [theirs for theirs in [*wanted.values(), "pos_embed"] if theirs not in state]
    if missing:
        raise ValueError(f"{source} is no plain ViT of this size: it lacks {missing[:5]} ({len(missing)} in all).")
    unknown = [name for name in state if name.startswith("blocks.") and name not in own]
    if unknown:
        raise ValueError(f"{source} is no plain ViT of this size: it also has {unknown[:5]} ({len(unknown)} in all).")
    chosen = {ours: state[theirs] for ours, theirs in wanted.items()}
    position = state["pos_embed"]
    if position.ndim == 3 and math.isqrt(position.shape[1]) ** 2 != position.shape[1]:
        position = position[:, 1:]
    side = math.isqrt(position.shape[1]) if position.ndim == 3 else 0
    if side < 1 or side * side != position.shape[1]:
        raise ValueError(
            f"pos_embed of {source} must be of a square grid, with or without a class token, "
            f"got shape {list(state['pos_embed'].shape)}."
        )
    chosen["pos_embed"] = resample_abs_pos_embed(
        position, list(encoder.grid_size), [side, side], num_prefix_tokens=0, antialias=False
    )
    wrong = [
        f"{name} {list(t.shape)} != {list(own[name].shape)}" for name, t in chosen.items() if t.shape != own[name].shape
    ]
    if wrong:
        raise ValueError(f"{source} does not fit the encoder: {'; '.join(wrong[:5])} ({len(wrong)} in all).")
    encoder.load_state_dict(chosen, strict=False)
    return network


def _read(network: ClickNetwork, source: str | Path) -> Any:
    path = Path(source)
    if path.suffix in (".pth", ".pt", ".bin", ".safetensors", ".ckpt") or path.is_file():
        content: dict[str, Any] = read_state(path)
        return content.get("model", content)
    name = str(source)
    if name == "mae":
        weight = network.encoder.patch_embed.weight
        size = (int(weight.shape[0]), int(weight.shape[-1]))
        if size not in MAE_MODELS:
            raise ValueError(
                f"There are no MAE weights for width {size[0]} and patch {size[1]}; there are for "
                f"{', '.join(f'{width}/{patch}' for width, patch in MAE_MODELS)}."
            )
        name = MAE_MODELS[size]
    import timm

    if not timm.is_model(name.split(".")[0]):
        raise ValueError(f"source must be 'mae', a timm model or a file, got {name!r}.")
    try:
        return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except RuntimeError as error:
        raise ValueError(f"timm has no weights {name!r}: {error}") from error
