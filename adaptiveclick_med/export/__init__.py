"""Networks as files that run without their Python code: TorchScript, ONNX and OpenVINO."""

from __future__ import annotations

from adaptiveclick_med.export.facts import ExportFacts
from adaptiveclick_med.export.formats import FORMATS, is_exported
from adaptiveclick_med.export.model import ExportedModel, load_exported, load_model
from adaptiveclick_med.export.writing import Exported, export_network

__all__ = [
    "FORMATS",
    "ExportFacts",
    "Exported",
    "ExportedModel",
    "export_network",
    "is_exported",
    "load_exported",
    "load_model",
]
