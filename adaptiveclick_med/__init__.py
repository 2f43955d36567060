"""Click-based interactive segmentation of medical images, as a MONAI extension."""

from __future__ import annotations

__version__ = "0.1.0"
