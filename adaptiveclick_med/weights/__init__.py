"""Weights as data: our safetensors files, the default one, released checkpoints, encoders pre-trained with MAE."""

from __future__ import annotations

from adaptiveclick_med.weights.default import default, default_path
from adaptiveclick_med.weights.files import load_weights, read_header, read_intensity, read_state, save_weights
from adaptiveclick_med.weights.network import load_network, network_for, start_image_size, start_network
from adaptiveclick_med.weights.pretrained import MAE_MODELS, initialise_encoder
from adaptiveclick_med.weights.released import Conversion, convert_released, load_released, network_of

__all__ = [
    "MAE_MODELS",
    "Conversion",
    "convert_released",
    "default",
    "default_path",
    "initialise_encoder",
    "load_network",
    "load_released",
    "load_weights",
    "network_for",
    "network_of",
    "read_header",
    "read_intensity",
    "read_state",
    "save_weights",
    "start_image_size",
    "start_network",
]
