"""What the server was asked for, read from the key-value pairs of MONAI Label (``--conf``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptiveclick_med.networks import PRESETS

__all__ = ["MIB", "ServingOptions", "is_remote"]

MIB = 2**20
"""Bytes."""

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0", "")


def is_remote(studies: str) -> bool:
    """Tell whether studies come from a PACS and not from a folder."""
    return studies.startswith(("http://", "https://"))


@dataclass(frozen=True)
class ServingOptions:
    """Everything that can be chosen for a server.

    Args:
        work_dir: folder for weights, sessions, caches and logs.
        weights: weight file; ``None``: ``model/model.safetensors`` in ``work_dir``, which begins as a copy of the
            default weights.
        preset: in place of that copy, size of an untrained network to begin with.
        labels: names of what users segment.
        device: ``None``: the first GPU, or the CPU.
        precision: see :func:`adaptiveclick_med.inference.accelerate`.
        compile: see there.
        quantize: see there.
        window: name of a CT window or (low, high); ``None``: what the network was trained with.
        channels: channel of a volume with several, or three; ``None``: what the network was trained with.
        bundle: folder of the AdaptiveClick bundle, for training; ``None``: that of a source checkout.
        modalities: of the series of a PACS that are listed.
        max_body_mb: largest request without an upload.
        max_upload_mb: largest upload of an image or a label.
        max_voxels: largest volume that is decoded.
        max_requests: most clicks that are answered at once; more are turned away for the moment.
        max_clicks: most clicks in one request.
        cache_mb: memory for decoded volumes.
        cache_seconds: how long an unused volume stays decoded.
        allow_model_upload: whether viewers may replace and remove the weights.
        allow_proxy: whether the PACS can be read through the server, which OHIF needs.
        auto_scoring: measure the weights on all labels at the start, with each next image and after a training.
    """

    work_dir: Path
    weights: Path | None = None
    preset: str | None = None
    labels: tuple[str, ...] = ("object",)
    device: str | None = None
    precision: str = "float32"
    compile: bool = False
    quantize: str | None = None
    window: str | tuple[float, float] | None = None
    channels: int | tuple[int, ...] | None = None
    bundle: Path | None = None
    modalities: tuple[str, ...] = ("CT", "MR", "PT", "NM", "US", "CR", "DX", "MG", "XA")
    max_body_mb: int = 16
    max_upload_mb: int = 4096
    max_voxels: int = 2_000_000_000
    max_requests: int = 8
    max_clicks: int = 100
    cache_mb: int = 2048
    cache_seconds: int = 1800
    allow_model_upload: bool = False
    allow_proxy: bool = False
    auto_scoring: bool = False

    @property
    def weight_file(self) -> Path:
        """The file that the network is read from."""
        return self.weights or self.work_dir / "model" / "model.safetensors"

    @classmethod
    def from_conf(cls, conf: Mapping[str, Any], studies: str) -> ServingOptions:
        """Read the options.

        Args:
            conf: texts by key, as MONAI Label passes them; keys that are not known are MONAI Label's own.
            studies: the folder or address of the studies.

        Raises:
            ValueError: when a value cannot be used; the message names the key.
        """

        def read(key: str, convert: Callable[[str], Any], default: Any) -> Any:
            text = str(conf.get(key, "") or "").strip()
            return convert(text) if text else default

        def whole(key: str, least: int) -> int:
            text = str(conf.get(key, getattr(cls, key))).strip()
            if not text.isdigit() or int(text) < least:
                raise ValueError(f"{key} must be a whole number of at least {least}, got {text!r}.")
            return int(text)

        def flag(key: str, default: bool) -> bool:
            text = str(conf.get(key, default)).strip().lower()
            if text not in (*_TRUE, *_FALSE):
                raise ValueError(f"{key} must be true or false, got {text!r}.")
            return text in _TRUE

        preset = read("preset", str, None)
        if preset is not None and preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}.")
        return cls(
            work_dir=read("work_dir", lambda text: Path(text).expanduser().resolve(), default_work_dir(studies)),
            weights=read("weights", lambda text: Path(text).expanduser().resolve(), None),
            preset=preset,
            labels=_label_names(read("labels", str, "object")),
            device=read("device", str, None),
            precision=read("precision", str, cls.precision),
            compile=flag("compile", False),
            quantize=read("quantize", str, None),
            window=read("window", _window, None),
            channels=read("channels", _channels, None),
            bundle=read("bundle", lambda text: Path(text).expanduser().resolve(), None),
            modalities=read("modalities", _names, cls.modalities),
            max_body_mb=whole("max_body_mb", 1),
            max_upload_mb=whole("max_upload_mb", 1),
            max_voxels=whole("max_voxels", 1),
            max_requests=whole("max_requests", 1),
            max_clicks=whole("max_clicks", 1),
            cache_mb=whole("cache_mb", 0),
            cache_seconds=whole("cache_seconds", 1),
            allow_model_upload=flag("allow_model_upload", False),
            allow_proxy=flag("allow_proxy", is_remote(studies)),
            auto_scoring=flag("auto_scoring", False),
        )


def default_work_dir(studies: str) -> Path:
    """Return the folder beside the studies, or in the current folder for a PACS."""
    if is_remote(studies):
        return Path.cwd() / "adaptiveclick-server"
    folder = Path(os.path.realpath(studies))
    return folder.with_name(f"{folder.name}-server")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


def _label_names(text: str) -> tuple[str, ...]:
    names = _names(text)
    if not names or len(set(names)) < len(names) or "background" in names:
        raise ValueError(f"labels must be different names, separated by commas and none 'background', got {text!r}.")
    return names


def _window(text: str) -> str | tuple[float, float]:
    if "," not in text:
        return text
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"window must be a name or LOW,HIGH, got {text!r}.") from error
    return low, high


def _channels(text: str) -> int | tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"channels must be a whole number, or three such as 0,1,2, got {text!r}.") from error
    return numbers[0] if len(numbers) == 1 else numbers
