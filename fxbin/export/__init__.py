"""Writes a binarized model as one ONNX file that onnxruntime and OpenVINO both run."""

from fxbin.export.pipeline import export_onnx
from fxbin.export.report import ExportMode, ExportReport, SiteExport

__all__ = ["ExportMode", "ExportReport", "SiteExport", "export_onnx"]
