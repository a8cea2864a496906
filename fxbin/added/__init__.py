"""Layers that rewrites add to a network: shortcuts, activations and norms."""

from fxbin.added.hardtanh import Hardtanh
from fxbin.added.layer import AddedLayer
from fxbin.added.norm import AddedNorm
from fxbin.added.projection import Projection
from fxbin.added.quicknet_stem import QuickNetStem
from fxbin.added.rprelu import RPReLU

__all__ = ["AddedLayer", "AddedNorm", "Hardtanh", "Projection", "QuickNetStem", "RPReLU"]
