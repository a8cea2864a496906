"""What a user needs to see when training goes wrong: firing, flipped signs, levels, gradients."""

from fxbin.diagnostics.recorder import Diagnostics
from fxbin.diagnostics.report import DiagnosticsReport, SiteDiagnostics

__all__ = ["Diagnostics", "DiagnosticsReport", "SiteDiagnostics"]
