"""Pictures of images, clicks, masks and candidates, and charts of IoUs, drawn the same way everywhere."""

from __future__ import annotations

from adaptiveclick_med.visualize.charts import draw_curve_panels, draw_curves, draw_histogram
from adaptiveclick_med.visualize.figures import save_figure
from adaptiveclick_med.visualize.pictures import draw_image, draw_object, draw_prediction, draw_sessions
from adaptiveclick_med.visualize.volumes import draw_volume

__all__ = [
    "draw_curve_panels",
    "draw_curves",
    "draw_histogram",
    "draw_image",
    "draw_object",
    "draw_prediction",
    "draw_sessions",
    "draw_volume",
    "save_figure",
]
