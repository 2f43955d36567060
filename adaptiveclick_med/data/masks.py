"""Masks out: label maps as NIfTI, NRRD, MHA and MHD files, and as DICOM segmentations."""

from __future__ import annotations

from adaptiveclick_med.data.dicom_seg import Segment, write_dicom_seg
from adaptiveclick_med.data.dicom_seg_reading import read_dicom_seg
from adaptiveclick_med.data.volume_writing import WRITABLE_SUFFIXES, write_volume

__all__ = ["WRITABLE_SUFFIXES", "Segment", "read_dicom_seg", "write_dicom_seg", "write_volume"]
