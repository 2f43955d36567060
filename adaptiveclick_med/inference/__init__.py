"""Sessions: clicks go in, a mask and its alternatives come out."""

from __future__ import annotations

from adaptiveclick_med.inference.acceleration import AcceleratedNetwork, accelerate, acceleration_facts
from adaptiveclick_med.inference.crop import CropBox, ZoomIn
from adaptiveclick_med.inference.lockstep import click_together
from adaptiveclick_med.inference.prediction import Candidate, Prediction
from adaptiveclick_med.inference.predictor import ClickPredictor
from adaptiveclick_med.inference.propagation import Propagation, PropagationRule, Stop
from adaptiveclick_med.inference.session import InteractiveSession
from adaptiveclick_med.inference.state import SessionState
from adaptiveclick_med.inference.volume import VolumeSession
from adaptiveclick_med.inference.volume_object import SlicePrediction, VolumeClick

__all__ = [
    "AcceleratedNetwork",
    "Candidate",
    "ClickPredictor",
    "CropBox",
    "InteractiveSession",
    "Prediction",
    "Propagation",
    "PropagationRule",
    "SessionState",
    "SlicePrediction",
    "Stop",
    "VolumeClick",
    "VolumeSession",
    "ZoomIn",
    "accelerate",
    "acceleration_facts",
    "click_together",
]
