"""Let timm be imported where torchvision's compiled operators cannot be loaded.

timm imports torchvision. A torchvision built for CUDA beside a CPU build of torch fails at import, since its own
operators are missing. Their schemas are all that the import needs; the operators stay unavailable when called.
"""

from __future__ import annotations

import importlib
import sys

import torch

__all__ = ["ensure_torchvision"]

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries: list[torch.library.Library] = []


def ensure_torchvision() -> None:
    """Import torchvision, and define the schemas of its missing operators where that is what fails.

    Call it before timm is imported. Any other failure is left to whoever imports torchvision next.
    """
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            return
        for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in _SCHEMAS.values():
            library.define(schema)
        _libraries.append(library)
        importlib.import_module("torchvision")


ensure_torchvision()
