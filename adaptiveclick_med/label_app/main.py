"""What MONAI Label loads: it looks in this file for the app's class."""

from __future__ import annotations

from adaptiveclick_med.label_app.app import AdaptiveClickApp

__all__ = ["AdaptiveClickApp"]
