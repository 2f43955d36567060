"""New weights in place of old ones, without a moment in which there are none."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from adaptiveclick_med._files import replacing
from adaptiveclick_med.networks import ClickNetwork
from adaptiveclick_med.weights import load_weights, save_weights

__all__ = ["check_publishable", "publish_weights", "remove_leftovers"]

_UNFINISHED = ".unpublished-"


def publish_weights(
    weights: str | Path, network: ClickNetwork, *, training: Mapping[str, Any], licence: str | None = None
) -> Path | None:
    """Write a network's weights and let them take the place of a weight file.

    The new file is written beside the old one, read back, flushed to the disk, and renamed. Whoever reads ``weights``
    sees the old file or the new one, whole. The old file stays as ``model_20240131T154500.safetensors`` (the name of
    the file, and the time in UTC at which it was replaced); nothing is ever thrown away.

    Args:
        weights: the file to replace, ending in ``.safetensors``; it may be missing. A link is replaced, not what it
            points to.
        network: the new network, with its ``intensity``.
        training: facts about the training for the header, plain JSON values.
        licence: licence of the weights, for the header.

    Returns:
        where the old file is now, ``None`` when there was none.

    Raises:
        ValueError: when ``training`` is not plain JSON.
        OSError: when the folder or the disk does not take the file. The old weights are as they were.
    """
    weights = Path(weights)
    unpublished = weights.with_name(f"{_UNFINISHED}{uuid.uuid4().hex}.safetensors")
    kept: Path | None = None
    try:
        save_weights(unpublished, network, training=training, licence=licence)
        load_weights(unpublished)
        _flush(unpublished)
        if weights.exists():
            kept = _keep(weights)
        unpublished.replace(weights)
    except BaseException:
        unpublished.unlink(missing_ok=True)
        if kept is not None:
            kept.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # some file systems do not flush folders, and the new weights are in place
        _flush(weights.parent)
    return kept


def check_publishable(weights: str | Path) -> None:
    """Check before a long training that its weights could be published.

    Raises:
        PermissionError: when the folder of the weights takes no file.
        ValueError: when the suffix is not ``.safetensors``.
    """
    weights = Path(weights)
    if weights.suffix != ".safetensors":
        raise ValueError(
            f"weights must end in .safetensors to be trained further, got {weights.name!r}: convert them with "
            "`adaptiveclick-med convert-weights`."
        )
    if not os.access(weights.parent, os.W_OK):
        raise PermissionError(f"New weights cannot be written to {weights.parent}: it is read-only for the server.")


def remove_leftovers(weights: str | Path) -> None:
    """Remove what a training that was killed while it wrote has left beside the weights."""
    for path in Path(weights).parent.glob(f"*{_UNFINISHED}*.safetensors"):
        path.unlink(missing_ok=True)


def _keep(weights: Path) -> Path:
    """Give the old weights a second name, and return that."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    number = 0
    while True:
        kept = weights.with_name(f"{weights.stem}_{stamp}{f'-{number}' if number else ''}{weights.suffix}")
        try:
            os.link(weights.resolve(), kept)
            return kept
        except FileExistsError:
            number += 1
        except OSError:  # a file system without hard links, or a link to another one
            with replacing(kept) as temporary:
                shutil.copyfile(weights, temporary)
            return kept


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":  # Windows has no such call for folders
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
