"""Writes a binarized model to a file: ONNX for onnxruntime and OpenVINO, or a program for PyTorch."""

from fxbin.export.pipeline import export_onnx
from fxbin.export.program import export_program
from fxbin.export.report import ExportMode, ExportReport, SiteExport

__all__ = ["ExportMode", "ExportReport", "SiteExport", "export_onnx", "export_program"]
