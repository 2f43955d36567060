"""The libraries of the extra ``export``, brought in only where they are used."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

__all__ = ["need", "need_onnxruntime", "need_openvino"]

_TELEMETRY = "openvino_telemetry"


def need(name: str, task: str) -> ModuleType:
    """Import a library of the extra ``export``.

    Args:
        name: of the library.
        task: what needs it, for the error.

    Raises:
        ValueError: when it is not installed; the error names the extra.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f'{task} needs {name} ({error}): pip install "adaptiveclick-med[export]".') from error


def need_onnxruntime(task: str) -> ModuleType:
    """Import ONNX Runtime with its usage reports off; see :func:`need`."""
    library = need("onnxruntime", task)
    library.disable_telemetry_events()
    return library


def need_openvino(task: str) -> ModuleType:
    """Import OpenVINO without its usage reports; see :func:`need`.

    OpenVINO reports its import and each conversion to its makers over the network unless the user opted out. It does
    without where its package for that cannot be imported.
    """
    if "openvino" in sys.modules:
        return need("openvino", task)
    hidden = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        return need("openvino", task)
    finally:
        del sys.modules[_TELEMETRY]
        if hidden is not None:
            sys.modules[_TELEMETRY] = hidden
