"""Diagnostics for training: firing rates, flipped signs, levels, gradient norms, non-finite values."""

from fxbin.diagnostics.recorder import Diagnostics
from fxbin.diagnostics.report import DiagnosticsReport, SiteDiagnostics

__all__ = ["Diagnostics", "DiagnosticsReport", "SiteDiagnostics"]
